//! The checks on machines that are made up.

use netdev::ethtool::{Channels, Offload, Pause, Rings, Rss};

use super::change::Target;
use super::facts::made_up::{machine, nic};
use super::facts::{Clock, Irq, Machine, Module, Nic};
use super::finding::{Finding, Topic, Verdict};
use super::{interface, machine as of_machine, print};

/// The finding of a topic that is not good.
#[track_caller]
fn bad(findings: &[Finding], topic: Topic) -> Finding {
    let mut all = findings.iter().filter(|finding| finding.topic == topic && finding.verdict != Verdict::Good);
    let found = all.next().unwrap_or_else(|| panic!("nothing wrong with {topic:?}: {findings:?}"));
    assert_eq!(all.next(), None);
    found.clone()
}

/// What is wrong with an interface after this change, on the machine that is well.
#[track_caller]
fn wrong(topic: Topic, change: impl FnOnce(&mut Nic)) -> Finding {
    let mut nic = nic();
    change(&mut nic);
    bad(&interface::check(&nic, &machine()), topic)
}

#[track_caller]
fn wrong_machine(topic: Topic, change: impl FnOnce(&mut Machine)) -> Finding {
    let mut machine = machine();
    change(&mut machine);
    bad(&of_machine::check(&machine, 4), topic)
}

fn command(finding: &Finding) -> &str {
    finding.command.as_deref().unwrap_or_default()
}

#[test]
fn where_all_is_well_nothing_is_wrong() {
    let mut all = interface::check(&nic(), &machine());
    all.extend(of_machine::check(&machine(), 4));
    assert!(all.iter().all(|finding| finding.verdict == Verdict::Good && finding.fix.is_empty()), "{all:#?}");
    let text = print::text(&all);
    assert!(text.starts_with("Good\n") && text.contains("gro off, lro off, tso off, gso off, rxvlan off\n"), "{text}");
    assert!(text.ends_with("0 problem(s), 0 advice, 0 unknown, 18 good; --fix can change 0\n"), "{text}");
}

#[test]
fn a_driver_without_a_module_is_part_of_the_kernel() {
    let mut machine = machine();
    machine.modules = ["netmap", "veth"].map(|name| (name.to_owned(), Module::Absent)).to_vec();
    let found = of_machine::check(&machine, 4).into_iter().find(|finding| finding.topic == Topic::Modules).unwrap();
    assert!(found.present.ends_with(", netmap not loaded, veth built in"), "{found:?}");
}

#[test]
fn merged_frames_are_a_problem_and_cut_ones_are_not() {
    let on = |which: usize| wrong(Topic::Offloads, |nic| nic.offloads[which].1 = Ok(Some(true)));
    let lro = on(1);
    assert_eq!(
        (lro.verdict.clone(), lro.present.as_str(), lro.wanted.as_str()),
        (Verdict::Problem, "lro on", "lro off")
    );
    assert_eq!(command(&lro), "ethtool -K eth2 lro off");
    assert!(matches!(&lro.fix[0].target, Target::Offload { offload, index: 4, .. } if offload == "lro"));
    assert_eq!(on(0).verdict, Verdict::Problem);
    let tso = on(2);
    assert!(tso.verdict == Verdict::Advice && tso.fix.len() == 1 && tso.means.contains("What this machine sends"));
    let fixed = wrong(Topic::Offloads, |nic| {
        nic.offloads = vec![(Offload::GroHw, Ok(Some(true)))];
        nic.fixed = vec![Offload::GroHw];
    });
    assert!(fixed.verdict == Verdict::Problem && fixed.command.is_none() && fixed.fix.is_empty());
    assert_eq!(fixed.wanted, "rx-gro-hw off, but the driver does not let it be changed");
    // The tag is where other mechanisms look for it.
    let tags = on(4);
    assert!(tags.verdict == Verdict::Advice && tags.fix.is_empty() && tags.means.contains("afxdp"));
}

#[test]
fn what_a_driver_does_not_have_is_no_finding_and_what_it_does_not_tell_is_unknown() {
    let mut nic = nic();
    nic.offloads = vec![(Offload::Lro, Ok(None))];
    (nic.pause, nic.rings, nic.channels, nic.rss, nic.irqs, nic.node) =
        (Ok(None), Ok(None), Ok(None), Ok(None), vec![], None);
    assert_eq!(interface::check(&nic, &machine()), []);
    let unknown = wrong(Topic::Rings, |nic| nic.rings = Err("no permission".to_owned()));
    assert_eq!(unknown.verdict, Verdict::Unknown("no permission".to_owned()));
    assert!(print::text(&[unknown]).contains("no permission"));
}

#[test]
fn pause_frames_that_are_sent_hide_losses() {
    let pause = |autoneg, rx, tx| wrong(Topic::Pause, |nic| nic.pause = Ok(Some(Pause { autoneg, rx, tx })));
    let both = pause(true, true, true);
    assert_eq!(both.verdict, Verdict::Problem);
    assert!(command(&both).starts_with("ethtool -A eth2 autoneg off rx off tx off ") && both.fix.is_empty());
    assert_eq!(pause(false, true, false).verdict, Verdict::Advice);
}

#[test]
fn a_short_ring_is_a_problem_at_high_speed() {
    let ring = |rx, speed| {
        wrong(Topic::Rings, |nic| {
            nic.rings = Ok(Some(Rings { rx, rx_max: 4096, tx: 512, tx_max: 4096 }));
            nic.speed = speed;
        })
    };
    let short = ring(512, Some(10_000));
    assert_eq!((short.verdict.clone(), short.wanted.as_str()), (Verdict::Problem, "rx 4096"));
    assert_eq!(short.present, "rx 512 of 4096, 34 us of smallest frames at line rate");
    assert!(command(&short).starts_with("ethtool -G eth2 rx 4096 ") && short.fix.is_empty());
    assert_eq!(ring(2048, Some(10_000)).verdict, Verdict::Advice);
    assert_eq!(ring(256, Some(1000)).verdict, Verdict::Advice);
    assert_eq!(ring(256, None).present, "rx 256 of 4096");
}

#[test]
fn one_queue_for_each_near_core() {
    let queues = |combined, rx| {
        wrong(Topic::Queues, |nic| nic.channels = Ok(Some(Channels { rx, combined, rx_max: 2, combined_max: 63 })))
    };
    assert!(command(&queues(1, 0)).starts_with("ethtool -L eth2 combined 4 "));
    assert!(command(&queues(0, 1)).starts_with("ethtool -L eth2 rx 2 "));
}

#[test]
fn directions_meet_by_a_key_with_a_period_of_16_bits() {
    // Microsoft's, which drivers have by default.
    let key: Vec<u8> = vec![0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2];
    let with = |key: &[u8], table: &[u32], symmetric| Some(Rss { key: key.to_vec(), table: table.to_vec(), symmetric });
    let found = wrong(Topic::Rss, |nic| nic.rss = Ok(with(&key, &[0, 1, 2, 3], false)));
    assert_eq!(
        (found.verdict.clone(), command(&found)),
        (Verdict::Advice, "ethtool -X eth2 hkey 6D:5A:6D:5A:6D:5A:6D:5A")
    );
    assert_eq!(found.present, "asymmetric key 6d:5a:56:da:...");
    let zeros = wrong(Topic::Rss, |nic| nic.rss = Ok(with(&[0; 40], &[0, 1, 2, 3], false)));
    assert!(command(&zeros).ends_with(&"6D:5A:".repeat(20)[..119]));
    let half = wrong(Topic::Rss, |nic| nic.rss = Ok(with(&[0x6d, 0x5a, 0x6d, 0x5a], &[0, 1, 0, 1], false)));
    assert_eq!(command(&half), "ethtool -X eth2 equal 4");
    let none = wrong(Topic::Rss, |nic| nic.rss = Ok(with(&[], &[0, 1, 2, 3], false)));
    assert!(matches!(none.verdict, Verdict::Unknown(_)));
    for (key, queues, by_nic) in [(&key, 4, true), (&key, 1, false), (&vec![0x12, 0x34, 0x12], 4, false)] {
        let mut nic = nic();
        (nic.queues, nic.rss) = (queues, Ok(with(key, &[0, 1, 2, 3], by_nic)));
        let all = interface::check(&nic, &machine());
        assert!(all.iter().any(|finding| finding.topic == Topic::Rss && finding.verdict == Verdict::Good), "{all:?}");
    }
}

#[test]
fn interrupts_go_to_near_cores_one_each() {
    let with = |cores: [&[u32]; 4]| {
        let irq = |(n, cores): (u32, &[u32])| Irq { number: 40 + n, cores: Ok(cores.to_vec()) };
        (0..).zip(cores).map(irq).collect::<Vec<_>>()
    };
    for cores in [[&[0][..], &[1], &[2], &[3]], [&[4], &[4], &[5], &[6]], [&[4, 5, 6, 7], &[5], &[6], &[7]]] {
        let found = wrong(Topic::Irq, |nic| nic.irqs = with(cores));
        let to: Vec<_> = found.fix.iter().map(|change| (change.target.name(), change.to.as_str())).collect();
        assert_eq!(to[0], ("cores of interrupt 40".to_owned(), "4"));
        assert_eq!(to[3], ("cores of interrupt 43".to_owned(), "7"));
        assert_eq!(command(&found), "ringtap doctor -i eth2 --only irq --fix");
    }
    let mut nic = nic();
    nic.irqs = with([&[0], &[0], &[0], &[0]]);
    let found = bad(&interface::check(&nic, &Machine { irqbalance: true, ..machine() }), Topic::Irq);
    assert!(found.fix.is_empty() && command(&found).contains("disable --now irqbalance"));
    // As many as cores, and again.
    nic.irqs = with([&[0], &[1], &[1], &[0]]);
    let small = Machine { nodes: vec![(0, vec![0, 1])], cores: vec![0, 1], ..machine() };
    let all = interface::check(&nic, &small);
    assert!(all.iter().all(|finding| finding.topic != Topic::Irq || finding.verdict == Verdict::Good), "{all:?}");
}

#[test]
fn ringtap_runs_where_the_nic_is() {
    let found = bad(&interface::check(&nic(), &Machine { allowed: (0..8).collect(), ..machine() }), Topic::Numa);
    assert_eq!(found.present, "NIC on node 1, ringtap on cores 0-7");
    assert!(command(&found).starts_with("numactl --cpunodebind=1 --membind=1 "));
    let unknown = wrong(Topic::Numa, |nic| nic.node = None);
    assert!(matches!(unknown.verdict, Verdict::Unknown(_)));
}

#[test]
fn capabilities_and_locked_memory() {
    let none = wrong_machine(Topic::Capabilities, |machine| machine.capabilities = Ok(vec![]));
    assert!(
        none.verdict == Verdict::Problem && none.present == "none" && command(&none).contains("setcap cap_net_raw")
    );
    let raw = |machine: &mut Machine| machine.capabilities = Ok(vec!["CAP_NET_RAW".to_owned()]);
    assert_eq!(wrong_machine(Topic::Capabilities, raw).wanted, "CAP_NET_ADMIN, CAP_BPF, CAP_IPC_LOCK, too");
    let locked = wrong_machine(Topic::Memlock, raw);
    assert_eq!((locked.present.as_str(), locked.wanted.as_str()), ("8192 KiB", "128 MiB"));
}

#[test]
fn memory_frequency_and_clock() {
    let rmem = wrong_machine(Topic::Rmem, |machine| machine.rmem_max = Ok(212_992));
    assert_eq!((command(&rmem), rmem.fix[0].to.as_str()), ("sysctl -w net.core.rmem_max=16777216", "16777216"));
    let pages = wrong_machine(Topic::Hugepages, |machine| machine.hugepages = Ok(Some((100, 10))));
    assert!(pages.fix.is_empty());
    assert_eq!(command(&pages), "sysctl -w vm.nr_hugepages=154"); // 90 are in use, 4 queues take 64
    let slow = wrong_machine(Topic::Governor, |machine| machine.governors[3].1 = "powersave".to_owned());
    assert_eq!((slow.present.as_str(), slow.fix.len()), ("performance, powersave", 1));
    assert_eq!(slow.fix[0].target, Target::Governor { core: 3 });
    let clock = |current: &str, available: &[&str]| {
        let available = available.iter().map(|&name| name.to_owned()).collect();
        wrong_machine(Topic::Clock, |machine| machine.clock = Ok(Clock { current: current.to_owned(), available }))
    };
    let hpet = clock("hpet", &["tsc", "hpet"]);
    assert!(hpet.verdict == Verdict::Problem && command(&hpet).starts_with("echo tsc > "));
    let guest = clock("kvm-clock", &["kvm-clock"]);
    assert!(guest.verdict == Verdict::Advice && guest.command.is_none() && guest.present.contains("does not offer"));
}

#[test]
fn the_bad_things_are_shown_first() {
    let mut nic = nic();
    nic.offloads[0].1 = Ok(Some(true));
    nic.rings = Ok(Some(Rings { rx: 2048, rx_max: 4096, tx: 512, tx_max: 4096 }));
    let text = print::text(&interface::check(&nic, &machine()));
    let places = ["Problems\n", "--fix does it", "\nAdvice\n", "ethtool -G", "\nGood\n"].map(|part| text.find(part));
    assert!(places.is_sorted() && places[0] == Some(0), "{text}");
}
