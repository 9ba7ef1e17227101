//! Programs that only count: netmap's pkt-gen and ntop's pfcount. They write no file, so which frames they saw nobody knows, only how many.

/// What such a program says when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub received: u64,
    /// `None`: it does not know.
    pub dropped: Option<u64>,
}

/// Name, command, how to count, what it writes when it is ready, its figures.
pub(super) type Counting =
    (&'static str, &'static str, &'static str, Option<&'static str>, fn(&str) -> Option<Counted>);

/// pfcount says that it is ready only when its output is flushed, at its end.
pub(super) const COUNTING: [Counting; 2] = [
    ("pkt-gen", "pkt-gen -f rx -i {iface} -w 0", "-n {count}", Some("reading from"), by_pkt_gen),
    ("pfcount", "pfcount -i {iface}", "", None, by_pfcount),
];

/// "Received 1927 packets 115620 bytes ..." or "Received nothing."; netmap's rings do not say what they dropped.
fn by_pkt_gen(text: &str) -> Option<Counted> {
    let rest = text.lines().rev().find_map(|line| line.strip_prefix("Received "))?;
    let received = if rest == "nothing." { 0 } else { rest.split_once(" packets")?.0.parse().ok()? };
    Some(Counted { received, dropped: None })
}

/// The last "Absolute Stats: [5'004 pkts total][0 pkts dropped][0.0% dropped]": all that came, and how many of them the ring did not take.
fn by_pfcount(text: &str) -> Option<Counted> {
    let rest = text.rsplit_once("Absolute Stats: [")?.1;
    let number = |text: &str| text.replace('\'', "").parse::<u64>().ok();
    let (total, rest) = rest.split_once(" pkts total][")?;
    let (total, dropped) = (number(total)?, number(rest.split_once(" pkts dropped]")?.0)?);
    Some(Counted { received: total.checked_sub(dropped)?, dropped: Some(dropped) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkt_gens_figures_are_read() {
        let text = "623.000072 receiver_body [1939] reading from vale0:2 fd 3 main_fd 3\n\
            624.005804 main_thread [2781] 1.912 Kpps (1.927 Kpkts 917.568 Kbps in 1008056 usec) 481.75 avg_batch 0 min_space\n\
            625.419026 sigint_h [574] received control-C on thread 0x7f0a36d2b740\n\
            Receiving from vale0:2: 1 queues, 1 threads and 1 cpus.\n\
            Received 1927 packets 115620 bytes 4 events 60 bytes each in 2.04 seconds.\n\
            Speed: 942.528 pps Bandwidth: 452.414 Kbps (raw 452.414 Kbps). Average batch: 481.75 pkts\n";
        assert_eq!(by_pkt_gen(text), Some(Counted { received: 1927, dropped: None }));
        let nothing = "Receiving from vale0:2: 1 queues, 1 threads and 1 cpus.\nReceived nothing.\n";
        assert_eq!(by_pkt_gen(nothing), Some(Counted { received: 0, dropped: None }));
        assert_eq!(by_pkt_gen("Ready...\n"), None);
    }

    #[test]
    fn pfcounts_figures_are_read() {
        let text = "=========================\nAbsolute Stats: [1'768 pkts total][0 pkts dropped][0.0% dropped]\n\
            [1'768 pkts rcvd][148'612 bytes rcvd]\n=========================\n\nLeaving...\n=========================\n\
            Absolute Stats: [1'505'004 pkts total][1'004 pkts dropped][0.1% dropped]\n\
            [1'504'000 pkts rcvd][420'436 bytes rcvd][5'186.92 pkt/sec][3.49 Mbit/sec]\n=========================\n";
        assert_eq!(by_pfcount(text), Some(Counted { received: 1_504_000, dropped: Some(1004) }));
        assert_eq!(by_pfcount("Using PF_RING kernel module v.8.9.0\n"), None);
    }
}
