//! One call as a recording.
