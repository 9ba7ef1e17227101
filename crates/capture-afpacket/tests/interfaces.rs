//! What is said about interfaces, and about those that cannot be opened.

mod common;

use std::process::Command;

use capture::{CaptureError, LinkType};
use capture_afpacket::{Options, interfaces, open};
use common::{Lab, wait_for_carrier};
use testkit::net::{NetNs, VethOptions};

#[test]
fn the_list_is_that_of_the_namespace() {
    let addresses = Some(("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()));
    let lab = Lab::new(&VethOptions { queues: 4, mtu: 4000, addresses });
    lab.b.ip("route add default via 192.0.2.1");
    wait_for_carrier(&lab.b, "b0");
    let (list, default, queues, none) = lab.b.enter(|| {
        (
            interfaces::list().unwrap(),
            interfaces::default_route(),
            interfaces::rss_queues("b0"),
            interfaces::rss_queues("a0"),
        )
    });
    let names: Vec<&str> = list.iter().map(|i| i.name.as_str()).collect();
    assert!(names.contains(&"lo") && names.contains(&"b0") && !names.contains(&"a0"), "{names:?}");
    let b0 = list.iter().find(|i| i.name == "b0").unwrap();
    assert_eq!((b0.driver.as_deref(), b0.mtu, b0.rx_queues), (Some("veth"), 4000, 4));
    assert_eq!((b0.up, b0.running, b0.loopback, b0.default_route), (true, true, false, true));
    assert_eq!((b0.hardware_type, b0.link_type), (1, Some(LinkType::ETHERNET)));
    assert_eq!(b0.speed, Some(10_000)); // what veth claims
    assert!(b0.mac.is_some());
    let lo = list.iter().find(|i| i.name == "lo").unwrap();
    assert!(lo.loopback && !lo.default_route);
    assert_eq!(default.as_deref(), Some("b0"));
    assert_eq!(queues.unwrap(), 4);
    assert!(matches!(none, Err(CaptureError::NoSuchInterface { .. })));
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(lab.b.enter(|| interfaces::default_queues("b0")).unwrap(), cores.min(4));
}

#[test]
fn a_missing_interface_is_named() {
    let error = NetNs::new().enter(|| open(&Options::new("nosuch0")).err().unwrap());
    assert!(matches!(error, CaptureError::NoSuchInterface { ref name } if name == "nosuch0"), "{error}");
}

/// Runs itself again without the capability.
#[test]
fn without_the_capability_the_error_says_what_to_do() {
    const MARK: &str = "RINGTAP_TEST_WITHOUT_CAPABILITY";
    if std::env::var_os(MARK).is_some() {
        let error = open(&Options::new("lo")).err().unwrap();
        println!("<{error}>");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new("setpriv")
        .args(["--bounding-set=-net_raw", "--inh-caps=-net_raw"])
        .arg(&program)
        .args(["--exact", "without_the_capability_the_error_says_what_to_do", "--nocapture"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let expected = format!("sudo setcap cap_net_raw+ep {}>", program.display());
    assert!(text.contains("opening an AF_PACKET socket needs CAP_NET_RAW") && text.contains(&expected), "{text}");
}
