//! What is said about interfaces.

use capture::{CaptureError, LinkType};
use netdev::interfaces;
use testkit::conformance::{VethLab, wait_for_carrier};
use testkit::net::VethOptions;

#[test]
fn the_list_is_that_of_the_namespace() {
    let addresses = Some(("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()));
    let lab = VethLab::new(&VethOptions { queues: 4, mtu: 4000, addresses });
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
