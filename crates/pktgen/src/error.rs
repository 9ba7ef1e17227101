//! What can be wrong with what is to be sent.

use capture::CaptureError;

/// Why frames cannot be made or sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenError {
    /// What the user wrote cannot be read.
    #[error("{what} {value:?}: {allowed}")]
    BadValue {
        /// What it is, for example "address range".
        what: &'static str,
        /// As the user wrote it.
        value: String,
        /// What would be right.
        allowed: &'static str,
    },
    /// The frame would be too short for its headers, or for the stamp.
    #[error("frames of {length} octets are too short: {what} at least {least} (without the frame check sequence)")]
    TooShort {
        /// Octets asked for.
        length: usize,
        /// What has to go in, with its verb.
        what: &'static str,
        /// Octets that it takes.
        least: usize,
    },
    /// The frame does not fit into the slots.
    #[error("frames of {length} octets do not fit: the mechanism's slots take {most}")]
    TooLong {
        /// Octets of the longest frame.
        length: usize,
        /// Octets of a slot.
        most: usize,
    },
    /// There is nothing to replay.
    #[error("there is no frame to send in {0}")]
    Nothing(String),
    /// The mechanism cannot go on.
    #[error(transparent)]
    Capture(#[from] CaptureError),
}
