//! Receives the audio and places it on the time line.
