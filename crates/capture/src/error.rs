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

impl CaptureError {
    /// The system refused `action`, for no reason that has an error of its own.
    #[must_use]
    pub fn system(action: impl Into<String>, source: io::Error) -> Self {
        Self::System { action: action.into(), source }
    }

    /// The system refused `action` on the interface `name`, perhaps because it is gone.
    #[must_use]
    pub fn on_interface(name: &str, action: impl Into<String>, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(ENODEV | ENXIO) => Self::NoSuchInterface { name: name.into() },
            _ => Self::system(action, source),
        }
    }

    /// The system refused `action`, perhaps for want of `CAP_NET_RAW`.
    #[must_use]
    pub fn refused(action: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(EPERM | EACCES) => Self::no_permission(action, "CAP_NET_RAW", "cap_net_raw"),
            _ => Self::system(action, source),
        }
    }

    /// `action` needs `capability`; `setcap` is the argument of that program that grants all that the action needs, without `+ep`.
    #[must_use]
    pub fn no_permission(action: &'static str, capability: &'static str, setcap: &'static str) -> Self {
        let program = std::env::current_exe().map_or_else(|_| "the program".into(), |path| path.display().to_string());
        Self::Permission { action, capability, setcap, program }
    }
}

// Of asm-generic/errno-base.h: the same on all architectures that Linux still has.
const EPERM: i32 = 1;
const ENXIO: i32 = 6;
const EACCES: i32 = 13;
const ENODEV: i32 = 19;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_permission_error_says_what_to_do() {
        let text =
            CaptureError::refused("opening an AF_PACKET socket", io::Error::from_raw_os_error(EPERM)).to_string();
        assert!(text.contains("needs CAP_NET_RAW") && text.contains("sudo setcap cap_net_raw+ep /"), "{text}");
    }

    #[test]
    fn an_interface_that_is_gone_is_named() {
        let error = CaptureError::on_interface("eth9", "binding", io::Error::from_raw_os_error(ENODEV));
        assert!(error.to_string().contains("\"eth9\" does not exist"), "{error}");
    }
}
