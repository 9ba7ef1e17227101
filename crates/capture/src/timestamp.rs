//! When a frame was seen.

/// Nanoseconds since 1970-01-01T00:00:00Z, UTC without leap seconds (the clock of `CLOCK_REALTIME` and of pcap files).
///
/// Holds times up to the year 2554. A source whose resolution is coarser fills the low digits with zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z; also what a frame without a time carries, together with
    /// [`FrameFlags::NO_TIME`](crate::FrameFlags::NO_TIME).
    pub const EPOCH: Self = Self(0);

    /// From nanoseconds since the epoch.
    #[inline]
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From the two halves that kernels and files store. `nanos` above 999,999,999 carries into the seconds;
    /// what does not fit into the type is the type's last moment.
    #[inline]
    #[must_use]
    pub const fn from_parts(seconds: u64, nanos: u32) -> Self {
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(nanos as u64))
    }

    /// Nanoseconds since the epoch.
    #[inline]
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[inline]
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Nanoseconds within the second, 0 to 999,999,999.
    #[inline]
    #[must_use]
    pub const fn subsec_nanos(self) -> u32 {
        (self.0 % 1_000_000_000) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_round_trip() {
        let t = Timestamp::from_parts(1_700_000_000, 123_456_789);
        assert_eq!((t.seconds(), t.subsec_nanos()), (1_700_000_000, 123_456_789));
        assert_eq!(Timestamp::from_parts(1, 2_000_000_001), Timestamp::from_parts(3, 1));
    }

    #[test]
    fn a_time_beyond_the_type_saturates() {
        assert_eq!(Timestamp::from_parts(u64::MAX, u32::MAX).as_nanos(), u64::MAX);
    }
}
