//! What a veth pair has of what ethtool shows, and that what is set is set.

use capture::CaptureError;
use netdev::ethtool::{self, Channels, Offload};
use testkit::conformance::VethLab;
use testkit::net::VethOptions;

/// What the program `ethtool` says.
fn shown(lab: &VethLab, feature: &str) -> String {
    let text = String::from_utf8(lab.b.run("ethtool", &["-k", "b0"]).stdout).expect("UTF-8");
    let line = text.lines().find_map(|line| line.trim().strip_prefix(feature)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("{feature}: {text}")).to_owned()
}

#[test]
fn offloads_are_switched() {
    let lab = VethLab::new(&VethOptions::default());
    for (offload, name) in [
        (Offload::Gro, "generic-receive-offload"),
        (Offload::Gso, "generic-segmentation-offload"),
        (Offload::RxVlan, "rx-vlan-offload"),
        (Offload::TxVlan, "tx-vlan-offload"),
    ] {
        for (on, word) in [(true, "on"), (false, "off")] {
            lab.b.enter(|| ethtool::set_offload("b0", offload, on)).unwrap();
            assert_eq!(lab.b.enter(|| ethtool::offload("b0", offload)).unwrap(), Some(on));
            assert_eq!(shown(&lab, name), word, "{name}");
        }
        assert!(!lab.b.enter(|| ethtool::is_fixed("b0", offload)).unwrap());
    }
    for (offload, name) in [(Offload::Lro, "large-receive-offload"), (Offload::GroHw, "rx-gro-hw")] {
        assert_eq!(lab.b.enter(|| ethtool::offload("b0", offload)).unwrap(), Some(false));
        assert_eq!(shown(&lab, name), "off [fixed]");
        assert!(lab.b.enter(|| ethtool::is_fixed("b0", offload)).unwrap());
        let refused = lab.b.enter(|| ethtool::set_offload("b0", offload, true)).unwrap_err();
        assert!(matches!(&refused, CaptureError::Unsupported(text) if text.contains("b0")), "{refused}");
    }
}

#[test]
fn queues_are_counted_and_hardware_is_not_made_up() {
    let lab = VethLab::new(&VethOptions { queues: 4, ..VethOptions::default() });
    lab.b.enter(|| {
        let Channels { rx, combined, rx_max, combined_max } = ethtool::channels("b0").unwrap().unwrap();
        assert_eq!((rx + combined, rx_max.max(combined_max)), (4, 4));
        assert_eq!(ethtool::rings("b0").unwrap(), None);
        assert_eq!(ethtool::pause("b0").unwrap(), None);
        assert_eq!(ethtool::rss("b0").unwrap(), None);
    });
}
