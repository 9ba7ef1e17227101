//! The names under which records are given up.

/// Why a record did not reach a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The sink takes no message of this size (Kafka `MSG_SIZE_TOO_LARGE`).
    TooLarge,
    /// The topic does not exist.
    UnknownTopic,
    /// The sink refused our credentials, or what they may do.
    NotAuthorized,
    /// The sink refused for another reason, which was logged.
    Refused,
    /// A file could not be written (full disk, no permission), or the reader of a pipe is gone.
    WriteFailed,
    /// No acknowledgement came in the time that the sink is given, and the records were never sent.
    TimedOut,
    /// Sent, but no acknowledgement came: the sink may have them or not.
    Unacknowledged,
    /// `--drain-timeout` ran out at the end.
    DrainTimeout,
    /// A second signal stopped the process at once.
    Aborted,
}

/// To which part of the ledger's line a loss belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossClass {
    /// The sink said no.
    Rejected,
    /// A stated limit of time ran out.
    Expired,
}

impl Loss {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::TooLarge,
        Self::UnknownTopic,
        Self::NotAuthorized,
        Self::Refused,
        Self::WriteFailed,
        Self::TimedOut,
        Self::Unacknowledged,
        Self::DrainTimeout,
        Self::Aborted,
    ];

    /// As ledger and logs print it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::UnknownTopic => "unknown_topic",
            Self::NotAuthorized => "not_authorized",
            Self::Refused => "refused",
            Self::WriteFailed => "write_failed",
            Self::TimedOut => "timed_out",
            Self::Unacknowledged => "unacknowledged",
            Self::DrainTimeout => "drain_timeout",
            Self::Aborted => "aborted",
        }
    }

    /// Rejected or expired.
    #[must_use]
    pub const fn class(self) -> LossClass {
        match self {
            Self::TooLarge | Self::UnknownTopic | Self::NotAuthorized | Self::Refused | Self::WriteFailed => {
                LossClass::Rejected
            }
            Self::TimedOut | Self::Unacknowledged | Self::DrainTimeout | Self::Aborted => LossClass::Expired,
        }
    }
}

const _: () = {
    let mut n = 0;
    while n < Loss::ALL.len() {
        assert!(Loss::ALL[n] as usize == n, "Loss::ALL is indexed by the number of a loss");
        n += 1;
    }
};
