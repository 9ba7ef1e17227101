//! `ringtap doctor` on a veth pair. Changes of nothing but that pair: the machine's own settings are looked at, never fixed.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::*;
use serde_json::Value;
use tempfile::TempDir;
use testkit::net::NetNs;

/// A sensor whose `tap0` merges what it receives, and a journal of its own.
struct Patient {
    lan: Lan,
    dir: TempDir,
}

impl Patient {
    fn new() -> Self {
        let patient = Self { lan: Lan::silent(), dir: tempfile::tempdir().unwrap() };
        patient.set("gro", "on");
        patient
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("new/doctor.json")
    }

    fn set(&self, offload: &str, to: &str) {
        self.lan.sensor.run("ethtool", &["-K", "tap0", offload, to]);
    }

    #[track_caller]
    fn gro_is(&self, wanted: &str) {
        let text = String::from_utf8(self.lan.sensor.run("ethtool", &["-k", "tap0"]).stdout).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("generic-receive-offload: ")).unwrap();
        assert_eq!(line, wanted);
    }

    fn doctor(&self, arguments: &[&str]) -> Done {
        let journal = self.journal();
        let mut all = vec!["doctor", "--journal", journal.to_str().unwrap()];
        all.extend(arguments);
        start(Some(&self.lan.sensor), &all).finish()
    }

    fn offloads(&self, arguments: &[&str]) -> Done {
        let mut all = vec!["-i", "tap0", "--only", "offloads,pause"];
        all.extend(arguments);
        self.doctor(&all)
    }
}

#[test]
fn merged_frames_are_found_mended_and_restored() {
    let patient = Patient::new();
    let text = patient.offloads(&[]).expect(1).text();
    let line = text.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.starts_with("Problems\n") && line == "tap0 offloads gro on; wanted: gro off", "{text}");
    assert!(text.contains("$ ethtool -K tap0 gro off   # --fix does it\n"), "{text}");
    patient.gro_is("on");
    assert!(!patient.journal().exists());

    let text = patient.offloads(&["--fix"]).expect(0).text();
    assert!(text.starts_with("did: gro of tap0: on -> off\n"), "{text}");
    assert!(text.contains("0 problem"), "as it is now: {text}");
    patient.gro_is("off");
    assert_eq!(fs::metadata(patient.journal()).unwrap().permissions().mode() & 0o777, 0o600);
    let again = patient.offloads(&["--fix"]).expect(0).text();
    assert!(again.starts_with("nothing to fix"), "{again}");

    // It is the same interface, whatever its name.
    patient.lan.sensor.ip("link set tap0 down");
    patient.lan.sensor.ip("link set tap0 name tap1");
    let text = patient.doctor(&["--undo"]).expect(0).text();
    assert_eq!(text, "undid: gro of tap0: off -> on\n");
    patient.lan.sensor.ip("link set tap1 name tap0");
    patient.gro_is("on");
    assert!(!patient.journal().exists());
    assert_eq!(patient.doctor(&["--undo"]).expect(0).text(), "nothing to undo\n");
    patient.gro_is("on");
}

#[test]
fn what_others_changed_is_left_alone() {
    let patient = Patient::new();
    patient.offloads(&["--fix"]).expect(0);
    patient.set("gro", "on");
    // A second fix: the first old value stays.
    patient.offloads(&["--fix"]).expect(0);
    patient.set("gro", "on");
    let text = patient.doctor(&["--undo"]).expect(0).text();
    assert_eq!(text, "left alone: gro of tap0: is on again already\n");

    patient.offloads(&["--fix"]).expect(0);
    patient.lan.sensor.ip("link delete tap0");
    let text = patient.doctor(&["--undo"]).expect(0).text();
    assert_eq!(text, "left alone: gro of tap0: gone, nothing to restore\n");
    assert!(!patient.journal().exists());
}

/// The index of one namespace means nothing in another.
#[test]
fn an_interface_of_another_namespace_is_not_touched() {
    let patient = Patient::new();
    patient.offloads(&["--fix"]).expect(0);
    let journal = patient.journal();
    let undo = ["doctor", "--undo", "--journal", journal.to_str().unwrap()];
    let done = start(Some(&patient.lan.station), &undo).finish().expect(1);
    assert!(done.text().contains("FAILED: gro of tap0: belongs to another network namespace"), "{}", done.text());
    patient.gro_is("off");
    patient.doctor(&["--undo"]).expect(0);
    patient.gro_is("on");
}

#[test]
fn json_has_every_finding() {
    let patient = Patient::new();
    let done = patient.doctor(&["--summary", "json"]);
    assert_eq!(done.stdout.iter().filter(|&&octet| octet == b'\n').count(), 1);
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert_eq!((&report["interfaces"], &report["done"]), (&serde_json::json!(["tap0"]), &serde_json::json!([])));
    let of = |topic: &str| findings.iter().filter(move |finding| finding["topic"] == topic).collect::<Vec<_>>();
    let gro = of("offloads").into_iter().find(|finding| finding["present"] == "gro on").unwrap();
    assert_eq!((&gro["interface"], &gro["verdict"]), (&Value::from("tap0"), &Value::from("problem")));
    assert_eq!(gro["command"], "ethtool -K tap0 gro off");
    assert_eq!(gro["fix"][0]["to"], "off");
    for topic in ["capabilities", "memlock", "rmem", "governor", "clock", "modules"] {
        let found = of(topic);
        assert!(found.len() == 1 && found[0]["interface"].is_null(), "{topic}: {found:?}");
    }
    // The pair has neither rings nor interrupts, and loopback is nobody's interface to capture on.
    assert!(of("rings").is_empty() && of("irq").is_empty());
    assert!(findings.iter().all(|finding| finding["interface"] != "lo"));
}

/// Without privileges it looks, says what it lacks, and changes nothing.
#[test]
fn without_root_it_looks_only() {
    let patient = Patient::new();
    // The folder of the build may be root's.
    let program = patient.dir.path().join("ringtap");
    fs::copy(env!("CARGO_BIN_EXE_ringtap"), &program).unwrap();
    fs::set_permissions(patient.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let unprivileged = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", "-all"]);
        command.arg(&program).args(["doctor", "-i", "tap0", "--journal"]).arg(patient.journal()).args(arguments);
        start_command(Some(&patient.lan.sensor), {
            command.stdin(Stdio::null());
            command
        })
        .finish()
    };
    let text = unprivileged(&[]).expect(1).text();
    assert!(text.contains("none; wanted: CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF, CAP_IPC_LOCK, too"), "{text}");
    assert!(text.contains("gro on; wanted: gro off"), "{text}");
    let done = unprivileged(&["--only", "offloads", "--fix"]).expect(1);
    done.says(&["nothing was changed: cannot write the journal", "run as root"]);
    patient.gro_is("on");
    // One that may write the journal cannot change anything, either; and there is nothing to undo.
    fs::create_dir(patient.dir.path().join("new")).unwrap();
    fs::set_permissions(patient.dir.path().join("new"), fs::Permissions::from_mode(0o777)).unwrap();
    let text = unprivileged(&["--only", "offloads", "--fix"]).expect(1).text();
    assert!(text.starts_with("FAILED: gro of tap0: "), "{text}");
    assert!(text.contains("\nnothing was changed, for --fix needs root: sudo ringtap doctor --fix\n"), "{text}");
    assert!(!text.contains("--undo"), "{text}");
    patient.gro_is("on");
}

/// Each says what it means, also where two stand together.
#[test]
fn every_finding_that_is_not_good_has_its_meaning() {
    let patient = Patient::new();
    for offload in ["tx", "sg", "tso", "gso"] {
        patient.set(offload, "on");
    }
    let text = patient.doctor(&["-i", "tap0", "--only", "offloads"]).expect(1).text();
    for (offload, who) in [("tso", "the NIC"), ("gso", "the kernel")] {
        let meaning = format!("What this machine sends is captured before {who} cuts it into segments.");
        let mut lines = text.lines().skip_while(|line| !line.contains(&format!("{offload} on; wanted: {offload} off")));
        assert!(lines.nth(1).unwrap().contains(&meaning), "{text}");
    }
}

#[test]
fn a_machine_without_an_interface_that_is_up_is_told_so() {
    let namespace = NetNs::new();
    let doctor =
        |arguments: &[&str]| start(Some(&namespace), &[&["doctor", "--only", "memlock,offloads"], arguments].concat());
    let text = doctor(&[]).finish().expect(0).text();
    assert!(text.starts_with("no interface is up, loopback aside: only the machine was looked at"), "{text}");
    assert!(text.contains("machine  memlock"), "{text}");
    let report: Value = serde_json::from_slice(&doctor(&["--summary", "json"]).finish().expect(0).stdout).unwrap();
    assert_eq!(report["interfaces"], Value::Array(Vec::new()));
}

#[test]
fn wrong_usage_is_said() {
    let patient = Patient::new();
    patient.doctor(&["-i", "no-such-if"]).expect(2).says(&["\"no-such-if\" does not exist"]);
    patient.doctor(&["--only", "weather"]).expect(2).says(&["offloads", "clock"]);
    patient.doctor(&["--fix", "--undo"]).expect(2);
    fs::create_dir(patient.dir.path().join("new")).unwrap();
    fs::write(patient.journal(), "nonsense").unwrap();
    for command in ["--fix", "--undo"] {
        patient
            .doctor(&if command == "--fix" { vec![command, "--only", "offloads"] } else { vec![command] })
            .expect(1)
            .says(&["is damaged"]);
    }
    patient.gro_is("on");
}
