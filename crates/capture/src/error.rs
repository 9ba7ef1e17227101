//! What can go wrong at a queue.

use std::io;

/// Why a queue could not be opened, or could not go on. The text is meant for the user: it says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// There is no such interface (now).
    #[error("interface {name:?} does not exist; `ringtap list` shows those that do")]
    NoSuchInterface {
        /// As the user wrote it.
        name: String,
    },
    /// The process lacks a capability.
    #[error("{action} needs {capability}: run as root, or grant it once: sudo setcap {setcap}+ep {program}")]
    Permission {
        /// What was tried, for example "opening an AF_PACKET socket".
        action: &'static str,
        /// The kernel's name, for example `CAP_NET_RAW`.
        capability: &'static str,
        /// The argument of `setcap` that grants all that capturing needs, without `+ep`.
        setcap: &'static str,
        /// The path of this program.
        program: String,
    },
    /// An option is outside of what the mechanism takes.
    #[error("{option} = {value}: {allowed}")]
    BadOption {
        /// The option's name as the user writes it.
        option: &'static str,
        /// The value given.
        value: String,
        /// What would be right.
        allowed: String,
    },
    /// The kernel or library refused something else.
    #[error("{action}: {source}")]
    System {
        /// What was tried, and on what.
        action: String,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// A file that is damaged or of a kind we do not read. All whole packets before `offset` have been delivered.
    #[error("{file}: {reason} at offset {offset} (every whole packet before it was read)")]
    Damaged {
        /// Path, or "standard input".
        file: String,
        /// Octets from the start of the (uncompressed) file to the block or packet that could not be read.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The mechanism does not do what was asked, or a piece of it is missing on this machine.
    #[error("{0}")]
    Unsupported(String),
}
