//! Flows that end with the capture only.

use std::time::Duration;

use pipeline::flow::Timeouts;

/// Nothing is over before the end, whatever the packets' times.
pub(crate) const NEVER: Timeouts = Timeouts {
    active: Duration::MAX,
    tcp: Duration::MAX,
    tcp_opening: Duration::MAX,
    tcp_closing: Duration::MAX,
    udp: Duration::MAX,
    other: Duration::MAX,
};
