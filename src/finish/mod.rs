//! Two legs -> one stereo file and recording.json.
