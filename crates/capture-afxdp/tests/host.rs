//! What becomes of the host: its own traffic, its interface after a kill, other programs on the interface.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use capture::{CaptureDirection, CaptureError, RxQueue};
use capture_afxdp::{Attach, Options, Queues, open, usable};
use common::{VethLab, compile, finish, has_program, open_on, single, try_open};
use testkit::net::{NetNs, VethOptions};
use testkit::send::{FrameShape, numbered};

const BOTH: [Attach; 2] = [Attach::Native, Attach::Generic];

fn with_addresses() -> VethLab {
    let addresses = Some(([10, 77, 0, 1].into(), [10, 77, 0, 2].into()));
    VethLab::new(&VethOptions { addresses, ..VethOptions::default() })
}

/// Whether the host at the other end answers.
fn answers(from: &NetNs) -> bool {
    let mut command = Command::new("ping");
    command.args(["-c", "2", "-i", "0.2", "-W", "1", "10.77.0.2"]).stdin(Stdio::null()).stdout(Stdio::null());
    from.spawn(command).wait().expect("ping ends").success()
}

fn twenty() -> Vec<Vec<u8>> {
    (0..20).map(|n| numbered(&FrameShape::default(), n)).collect()
}

#[test]
fn what_the_filter_does_not_select_goes_on_to_the_host_if_asked() {
    for attach in BOTH {
        let lab = with_addresses();
        assert!(answers(&lab.a));
        let queue = single(open_on(&lab, attach, |o| (o.filter, o.host) = (Some(compile("udp")), true)));
        assert!(answers(&lab.a), "{attach:?}");
        lab.send(&twenty());
        assert!(answers(&lab.a), "{attach:?}");
        let harvest = lab.b.enter(|| finish(queue));
        harvest.assert_closed();
        assert_eq!(harvest.numbers(), (0..20).collect::<Vec<_>>(), "and nothing but UDP");
        assert_eq!(harvest.frames.len(), 20);
    }
}

#[test]
fn without_being_asked_the_host_gets_nothing_until_the_stop() {
    for attach in BOTH {
        for filter in [None, Some(compile("udp"))] {
            let lab = with_addresses();
            assert!(answers(&lab.a));
            let mut queue = single(open_on(&lab, attach, |o| o.filter = filter));
            assert!(!answers(&lab.a), "{attach:?}");
            queue.stop().unwrap();
            assert!(answers(&lab.a), "{attach:?}");
            drop(queue);
            assert!(answers(&lab.a));
            assert!(!has_program(&lab.b));
        }
    }
}

/// Of two receive queues one is taken; what comes to the other the host has.
#[test]
fn queues_that_are_not_taken_belong_to_the_host() {
    for attach in BOTH {
        for filter in [None, Some(compile("udp"))] {
            let lab = VethLab::new(&VethOptions { queues: 2, ..VethOptions::default() });
            let queue = single(open_on(&lab, attach, |o| (o.filter, o.queues) = (filter, Queues::These(vec![1]))));
            assert_eq!(queue.number(), 1);
            let shape = FrameShape { flows: 50, ..FrameShape::default() };
            let mut on_the_host = capture_on_the_host(&lab);
            lab.send(&(0..1000).map(|n| numbered(&shape, n)).collect::<Vec<_>>());
            let harvest = lab.b.enter(|| finish(queue));
            harvest.assert_closed();
            let mut all = harvest.numbers();
            let ours = all.len();
            all.append(&mut on_the_host());
            all.sort_unstable();
            match attach {
                // veth does not tell the stack which queue a frame came by, and the generic program takes it for queue 0.
                Attach::Generic => assert_eq!(ours, 0),
                _ => assert!(ours > 100 && ours < 900, "{ours}"),
            }
            assert!(all.into_iter().eq(0..1000), "{attach:?}: each frame once");
        }
    }
}

/// Numbers of what the stack shows to packet sockets.
fn capture_on_the_host(lab: &VethLab) -> impl FnMut() -> Vec<u64> {
    let mut options = capture_afpacket::Options::new(VethLab::INTERFACE);
    options.direction = CaptureDirection::In;
    let mut queues = lab.b.enter(|| capture_afpacket::open(&options).expect("the interface can be opened"));
    move || finish(queues.pop().expect("there is one")).numbers()
}

#[test]
fn the_interface_is_promiscuous_as_long_as_asked() {
    let lab = VethLab::new(&VethOptions::default());
    let promiscuous = || {
        let shown = lab.b.run("ip", &["-d", "link", "show", "dev", VethLab::INTERFACE]);
        String::from_utf8_lossy(&shown.stdout).contains("promiscuity 1 ")
    };
    for (direction, expected) in [(CaptureDirection::In, false), (CaptureDirection::Promisc, true)] {
        let queues = open_on(&lab, Attach::Auto, |o| o.direction = direction);
        assert_eq!(promiscuous(), expected, "{direction:?}");
        drop(queues);
        assert!(!promiscuous());
    }
}

#[test]
fn the_program_goes_with_the_process_also_after_a_kill() {
    const MARK: &str = "RINGTAP_TEST_CAPTURES";
    if let Ok(attach) = std::env::var(MARK) {
        let mut options = Options::new(VethLab::INTERFACE);
        options.attach = attach.parse().unwrap();
        let _queues = open(&options).unwrap();
        println!("\ncapturing");
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    for attach in ["native", "generic"] {
        let lab = VethLab::new(&VethOptions::default());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "the_program_goes_with_the_process_also_after_a_kill", "--nocapture"]);
        command.env(MARK, attach).stdout(Stdio::piped());
        let mut child = lab.b.spawn(command);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while line.trim() != "capturing" {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "the child ended");
        }
        assert!(has_program(&lab.b), "{attach}");
        child.kill().unwrap();
        child.wait().unwrap();
        let _ = output.read_to_string(&mut line);
        let begin = Instant::now();
        while has_program(&lab.b) {
            assert!(begin.elapsed() < Duration::from_secs(5), "{attach}: the program is still there");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn another_program_on_the_interface_is_named() {
    for (first, second) in [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(a, b): (usize, usize)| (BOTH[a], BOTH[b])) {
        let lab = VethLab::new(&VethOptions::default());
        let queue = single(open_on(&lab, first, |_| {}));
        let error = try_open(&lab, second, |_| {}).err().unwrap();
        let text = error.to_string();
        assert!(matches!(error, CaptureError::Unsupported(_)), "{first:?}, {second:?}: {error:?}");
        assert!(text.contains("b0 has another XDP program ") && text.contains("bpftool prog show id"), "{text}");
        assert!(text.contains("ip link set dev b0 xdp off"), "{text}");
        drop(queue);
        drop(try_open(&lab, second, |_| {}).unwrap());
    }
}

#[test]
fn what_cannot_be_had_is_refused_in_words() {
    let lab = VethLab::new(&VethOptions::default());
    let refused =
        |change: &(dyn Fn(&mut Options) + Sync)| try_open(&lab, Attach::Auto, change).err().unwrap().to_string();
    assert!(refused(&|o| o.mode = capture_afxdp::Mode::ZeroCopy).contains("without a copy"), "veth has none");
    assert!(refused(&|o| o.queues = Queues::First(3)).contains("b0 has 1 receive queue(s)"));
    let live = capture::BpfInstruction { code: 0x30, jt: 0, jf: 0, k: 0xffff_f000 + 44 };
    let ret = capture::BpfInstruction { code: 6, jt: 0, jf: 0, k: 1 };
    let live = capture::FilterProgram::new(vec![live, ret]).unwrap();
    assert!(refused(&move |o| o.filter = Some(live.clone())).contains("without a live handle"));
    assert!(!has_program(&lab.b));
    // Huge pages are not set aside in such numbers.
    let text = refused(&|o| (o.huge_pages, o.frame_count) = (true, 1 << 20));
    assert!(text.contains("vm.nr_hugepages"), "{text}");
    // The loopback interface has no driver for it, and auto finds the other way.
    lab.b.enter(|| {
        let mut options = Options::new("lo");
        options.attach = Attach::Native;
        let text = open(&options).err().unwrap().to_string();
        assert!(text.contains("attach = generic"), "{text}");
        options.attach = Attach::Auto;
        drop(open(&options).unwrap());
    });
}

/// Runs itself again without capabilities.
#[test]
fn without_capabilities_the_errors_say_what_to_do() {
    const MARK: &str = "RINGTAP_TEST_WITHOUT_CAPABILITY";
    if std::env::var_os(MARK).is_some() {
        println!("<{}>", usable().err().map_or("it is".into(), |e| e.to_string()));
        println!("<{}>", open(&Options::new("lo")).err().unwrap());
        return;
    }
    assert!(usable().is_ok());
    let program = std::env::current_exe().unwrap();
    let setcap = format!("sudo setcap cap_net_raw,cap_net_admin,cap_bpf+ep {}>", program.display());
    let bpf = "needs CAP_BPF and CAP_NET_ADMIN";
    for (dropped, [first, second], advice) in [
        (
            "-net_raw",
            ["opening an AF_XDP socket needs CAP_NET_RAW", "opening an AF_XDP socket needs CAP_NET_RAW"],
            &*setcap,
        ),
        ("-all,+net_raw", [bpf, bpf], &setcap),
        ("-all,+net_raw,+net_admin", [bpf, bpf], &setcap),
        ("-all,+net_raw,+net_admin,+bpf", ["it is", "locking 32 MiB of memory (raise the limit, ulimit -l"], ""),
    ] {
        let output = Command::new("prlimit")
            .args(["--memlock=8388608", "setpriv"])
            .args([format!("--bounding-set={dropped}"), format!("--inh-caps={dropped}")])
            .arg(&program)
            .args(["--exact", "without_capabilities_the_errors_say_what_to_do", "--nocapture"])
            .env(MARK, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        for (line, expected) in text.lines().filter(|l| l.starts_with('<')).zip([first, second]) {
            assert!(line.contains(expected) && line.ends_with(advice), "{dropped}: {line}");
        }
        assert_eq!(text.lines().filter(|l| l.starts_with('<')).count(), 2, "{dropped}: {text}");
    }
}
