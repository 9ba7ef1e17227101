//! Which libpcap is used, and what it is asked for.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use capture::{CaptureError, FrameFlags, RxQueue};
use capture_pcap::{Libpcap, LiveOptions, open_live};
use testkit::conformance::{VethLab, finish};
use testkit::net::VethOptions;
use testkit::send::{FrameShape, numbered};

/// One binary, several libpcaps: the second is another release that somebody else built.
#[test]
fn two_libpcaps_in_one_process_capture_the_same() {
    let other = common::other_libpcap();
    let version = |path: Option<&Path>| Libpcap::load(path).expect("it is a libpcap").libpcap_version();
    assert_ne!(version(None), version(Some(&other)), "the second libpcap has to be another than the system's");
    let lab = VethLab::new(&VethOptions::default());
    let open = |libpcap| {
        let mut options = LiveOptions::new(VethLab::INTERFACE);
        options.libpcap = libpcap;
        options.immediate = true;
        lab.b.enter(|| open_live(&options)).expect("the interface can be opened").pop().expect("one queue")
    };
    let (first, second) = (open(None), open(Some(other.clone())));
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
    assert!(maps.contains(other.to_str().expect("a path of text")), "the second library is loaded");
    let frames: Vec<_> = (0..100).map(|n| numbered(&FrameShape::default(), n)).collect();
    lab.send(&frames);
    for queue in [first, second] {
        let harvest = lab.b.enter(|| finish(queue));
        harvest.assert_closed();
        assert!(harvest.frames.iter().map(|frame| &frame.data).eq(&frames));
        // Nanoseconds: not all are whole microseconds.
        assert!(harvest.frames.iter().any(|frame| frame.timestamp.as_nanos() % 1000 != 0));
    }
}

#[test]
fn what_libpcap_refuses_is_said_in_its_words() {
    let lab = VethLab::new(&VethOptions::default());
    let open = |change: &(dyn Fn(&mut LiveOptions) + Sync)| {
        let mut options = LiveOptions::new(VethLab::INTERFACE);
        change(&mut options);
        lab.b
            .enter(|| open_live(&options).map(|queues| queues[0].interfaces().len()))
            .expect_err("it is refused")
            .to_string()
    };
    let error = open(&|o| o.time_stamp_type = Some("sundial".into()));
    assert!(error.contains("sundial") && error.contains("adapter_unsynced"), "{error}");
    let error = open(&|o| o.libpcap = Some("/nonexistent/libpcap.so".into()));
    assert!(error.contains("/nonexistent/libpcap.so cannot be used as libpcap"), "{error}");
    let error = open(&|o| o.snaplen = 0);
    assert!(error.contains("1 to 262144"), "{error}");
    lab.b.ip("link set b0 down");
    let error = open(&|_| {});
    assert!(error.contains("b0 is down") && error.contains("ip link set b0 up"), "{error}");
    let mut options = LiveOptions::new(VethLab::INTERFACE);
    options.queues = 2;
    assert!(matches!(open_live(&options).err(), Some(CaptureError::BadOption { option: "queues", .. })));
}

#[test]
fn segments_that_are_not_yet_split_are_recognised() {
    let addresses = Some(("192.0.2.1".parse().expect("an address"), "192.0.2.2".parse().expect("an address")));
    let lab = VethLab::new(&VethOptions { addresses, ..VethOptions::default() });
    lab.a.run("ethtool", &["-K", "a0", "tx", "on", "sg", "on", "gso", "on", "tso", "on"]);
    let queue = lab.b.enter(|| open_live(&LiveOptions::new(VethLab::INTERFACE))).expect("it opens").pop();
    let mut command = Command::new("iperf3");
    command.args(["-s", "-1"]).stdout(Stdio::null());
    let mut server = lab.b.spawn(command);
    thread::sleep(Duration::from_millis(500));
    lab.a.run("iperf3", &["-c", "192.0.2.2", "-n", "5M"]);
    assert!(server.wait().expect("it ends").success());
    let harvest = lab.b.enter(|| finish(queue.expect("one queue")));
    harvest.assert_closed();
    let flagged = harvest.frames.iter().filter(|f| f.flags.contains(FrameFlags::SUPER_FRAME)).count() as u64;
    let long = harvest.frames.iter().filter(|f| f.wire_len > 1522).count() as u64;
    assert!(long > 10, "{long}");
    assert_eq!((flagged, harvest.stats.super_frames), (long, long));
}
