//! Names of ports: those that users know, those that are refused, and any text at all.

use proptest::prelude::*;

use super::*;

fn port(text: &str) -> Port {
    text.parse().unwrap_or_else(|e: CaptureError| panic!("{e}"))
}

fn refused(text: &str) -> String {
    match text.parse::<Port>() {
        Err(CaptureError::BadOption { option: "port", value, allowed }) => {
            assert_eq!(value, text);
            allowed
        }
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn the_names_that_users_of_netmap_know() {
    assert_eq!(port("eth1"), Port::new("eth1"));
    assert_eq!(port("netmap:eth1"), Port::new("eth1"));
    assert_eq!(port("netmap:eth1-3"), Port { rings: Rings::One(3), ..Port::new("eth1") });
    assert_eq!(port("eth1-0"), Port { rings: Rings::One(0), ..Port::new("eth1") });
    assert_eq!(port("netmap:eth1^"), Port { rings: Rings::Host(0), ..Port::new("eth1") });
    assert_eq!(port("netmap:eth1^2"), Port { rings: Rings::Host(2), ..Port::new("eth1") });
    assert_eq!(port("vale0:1"), Port::new("vale0:1"));
    assert_eq!(port("vale:x"), Port::new("vale:x"));
    assert_eq!(port("netmap:x{1"), Port::new("x{1"));
    assert_eq!(port("netmap:x}1"), Port::new("x}1"));
    assert_eq!(port("vale1:a{7"), Port::new("vale1:a{7"));
    assert_eq!(port("eth1/r"), Port { monitor_rx: true, ..Port::new("eth1") });
    assert_eq!(port("vale0:1/t"), Port { monitor_tx: true, ..Port::new("vale0:1") });
    assert_eq!(
        port("netmap:eth1-2/rtz"),
        Port { rings: Rings::One(2), monitor_rx: true, monitor_tx: true, zero_copy: true, ..Port::new("eth1") }
    );
    assert_eq!(port("netmap:eth1/xR"), Port { exclusive: true, ..Port::new("eth1") });
    assert_eq!(port("vale0:1@3"), Port { memory: 3, ..Port::new("vale0:1") });
    assert_eq!(port("eth1-1/x@9"), Port { rings: Rings::One(1), exclusive: true, memory: 9, ..Port::new("eth1") });
}

#[test]
fn a_hyphen_in_a_name_stays_there() {
    assert_eq!(port("br-lan"), Port::new("br-lan"));
    assert_eq!(port("br-lan-2"), Port { rings: Rings::One(2), ..Port::new("br-lan") });
    assert_eq!(port("br-lan/r").name, "br-lan");
    assert_eq!(port("br-lan^").name, "br-lan");
}

#[test]
fn only_interfaces_are_interfaces() {
    assert_eq!(port("eth1-3").interface(), Some("eth1"));
    assert_eq!(port("vale0").interface(), Some("vale0"), "nothing says that no interface is named so");
    for name in ["vale0:1", "netmap:x{1", "x}1"] {
        assert_eq!(port(name).interface(), None, "{name}");
    }
}

#[test]
fn what_is_no_name_is_refused_with_what_would_be_one() {
    assert!(refused("").contains("the name of"));
    assert!(refused("netmap:").contains("the name of"));
    assert!(refused("a b").contains("the name of"));
    assert!(refused("eth1:2").contains("vale0:1"));
    assert!(refused("vale0:").contains("vale0:1"));
    assert!(refused("vale-x:1").contains("vale0:1"));
    assert!(refused("x{").contains("two ends"));
    assert!(refused("{1").contains("two ends"));
    assert!(refused("x{1{2").contains("two ends"));
    assert!(refused("an-interface-name").contains("at most 15"));
    assert!(refused(&format!("vale0:{}", "x".repeat(60))).contains("at most 63"));
    assert!(refused("eth1-4095").contains("0 to 4094"));
    assert!(refused("eth1^x").contains("no ring"));
    assert!(refused("eth1*").contains("two ports"));
    assert!(refused("vale0:1^").contains("only interfaces"));
    assert!(refused("eth1/").contains("r, t, z, x"));
    assert!(refused("eth1/q").contains("/q"));
    assert!(refused("eth1/T").contains("transmit rings only"));
    assert!(refused("eth1/z").contains("for monitors"));
    assert!(refused("eth1@0").contains("1 to 65535"));
    assert!(refused("eth1@+1").contains("1 to 65535"));
    assert!(refused("eth1@conf:rings=2").contains("1 to 65535"));
}

fn ports() -> impl Strategy<Value = Port> {
    let name = prop_oneof![
        "[a-z][a-z0-9.]{0,8}",
        "[a-z]{2}-[a-z]{3}",
        "vale[a-z0-9_]{0,5}:[a-z0-9]{1,8}",
        "[a-z]{1,6}[{}][a-z0-9_]{1,8}"
    ];
    let rings = prop_oneof![Just(Rings::All), (0..RINGS).prop_map(Rings::One), (0..RINGS).prop_map(Rings::Host)];
    (name, rings, any::<[bool; 4]>(), any::<u16>()).prop_map(
        |(name, rings, [monitor_rx, monitor_tx, zero_copy, exclusive], memory)| {
            let mut port = Port { rings, monitor_rx, monitor_tx, zero_copy, exclusive, memory, ..Port::new(name) };
            port.zero_copy &= port.is_monitor();
            if matches!(rings, Rings::Host(_)) && port.interface().is_none() {
                port.rings = Rings::All;
            }
            port
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(port in ports()) {
        prop_assert_eq!(port.to_string().parse::<Port>().unwrap(), port);
    }

    #[test]
    fn any_text_is_a_port_or_refused(text in "[a-z0-9:{}^*/@ -]{0,24}|\\PC{0,80}") {
        match text.parse::<Port>() {
            Ok(port) => {
                prop_assert!(!port.name.is_empty() && port.name.len() <= LONGEST);
                prop_assert_eq!(port.to_string().parse::<Port>().unwrap(), port);
            }
            Err(CaptureError::BadOption { option, value, .. }) => prop_assert_eq!((option, value), ("port", text)),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
