//! Frames to records.
