//! `ringtap bench expect`: the receiving end, and what it makes of a sender that is not as it should be.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;

use common::*;
use serde_json::Value;

#[test]
fn two_ends_find_each_other() {
    let lan = Lan::silent();
    let receiver = start(Some(&lan.sensor), &["bench", "expect", "-i", "tap0", "--streams", "2", "--summary", "json"]);
    receiver.wait_for("receiving on tap0");
    let sender = ["gen", "-i", "far0", "--stream", "7", "-p", "2", "-n", "5001", "-R", "20k"];
    start(Some(&lan.station), &sender).finish().expect(0).says(&[]);
    let done = receiver.finish().expect(0);
    let found = done.json();
    let figures = ["sent", "received", "missing", "doubled", "reordered", "other_frames", "dropped_said"]
        .map(|name| found[name].as_u64());
    assert_eq!(figures, [Some(5001), Some(5001), Some(0), Some(0), Some(0), Some(0), Some(0)], "{found}");
}

/// What `ringtap bench expect` found, as JSON; `send` sends what `gen` is told.
fn expected(arguments: &[&str], send: impl FnOnce(&Running, &dyn Fn(&[&str]))) -> Done {
    let lan = Lan::silent();
    let all = [&["bench", "expect", "-i", "tap0", "--summary", "json"], arguments].concat();
    let receiver = start(Some(&lan.sensor), &all);
    receiver.wait_for("receiving on tap0");
    send(&receiver, &|arguments| {
        let all = [&["gen", "-i", "far0", "-R", "20k"], arguments].concat();
        start(Some(&lan.station), &all).finish().expect(0);
    });
    receiver.finish()
}

#[test]
fn an_end_that_frames_contradict_is_not_believed() {
    // As somebody else's end would come: of the same stream, and too small.
    let done = expected(&["--streams", "2"], |_, send| {
        send(&["--stream", "7", "-n", "10"]);
        send(&["--stream", "7", "-n", "1000"]);
        send(&["--stream", "8", "-n", "5"]);
    });
    let found = done.expect(0).json();
    let figures = ["sent", "received", "missing", "doubled"].map(|name| found[name].as_u64());
    assert_eq!(figures, [Some(1005), Some(1005), Some(0), Some(10)], "{found}");
    let notes = found["notes"].to_string();
    assert!(notes.contains("an end of stream 7 that says 10 frames is not believed, for frame 999 came"), "{notes}");
    assert!(notes.contains("10 frames came again"), "{notes}");
    assert!(found["rate"].as_f64().unwrap() > 0.0 && found["cpu_seconds_per_million"].as_f64().unwrap() > 0.0);
}

#[test]
fn only_streams_that_are_named_count_and_several_runs_give_medians() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("report.json");
    let arguments = ["--stream", "7", "--repeats", "2", "--json", json.to_str().unwrap()];
    let done = expected(&arguments, |receiver, send| {
        send(&["--stream", "9", "-n", "50"]);
        send(&["--stream", "7", "-n", "1000"]);
        receiver.wait_for("run 2 of 2");
        send(&["--stream", "7", "-n", "3000"]);
    });
    let found = done.expect(0).json();
    let figures = ["runs", "sent", "received", "missing", "doubled"].map(|name| found[name].as_u64());
    assert_eq!(figures, [Some(2), Some(2000), Some(2000), Some(0), Some(0)], "{found}");
    let report: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert_eq!((&report["measure"], &report["rows"][0]["sent"]), (&"expect".into(), &2000.into()));
    assert!(report["environment"]["sender"].is_null(), "{report}");
}

#[test]
fn nothing_received_is_a_failure_with_a_reason() {
    expected(&["--time", "300ms"], |_, _| {}).expect(1);
    let done = expected(&["--stream", "7", "--time", "2s"], |_, send| send(&["--stream", "9", "-n", "100"]));
    let done = done.expect(1);
    let found = done.json();
    assert!(found["received"].is_null() && found["missing"].is_null(), "{found}");
    let error = found["error"].as_str().unwrap();
    assert!(
        error.contains("nothing was received: 103 frames came, none of them of a stream that is waited for"),
        "{error}"
    );
}

#[test]
fn a_link_that_goes_down_between_two_machines_is_told() {
    let lan = Lan::silent();
    let receiver = start(Some(&lan.sensor), &["bench", "expect", "-i", "tap0"]);
    receiver.wait_for("receiving on tap0");
    lan.station.ip("link set far0 down");
    lan.station.ip("link set far0 up");
    wait_for_carrier(&lan.station, "far0");
    start(Some(&lan.station), &["gen", "-i", "far0", "--stream", "1", "-n", "100"]).finish().expect(0);
    let done = receiver.finish().expect(1);
    assert!(done.text().contains("the link of tap0 went down"), "{}", done.text());
}

/// Whether the mechanism waits for another interface of that name or ends: what was counted is there.
#[test]
fn an_interface_that_is_deleted_leaves_what_was_counted() {
    for backend in ["afpacket", "packet"] {
        let lan = Lan::silent();
        let folder = tempfile::tempdir().unwrap();
        let json = folder.path().join("report.json");
        let arguments = ["bench", "expect", "-i", "tap0", "--repeats", "2", "--backend", backend, "--json"];
        let receiver = start(Some(&lan.sensor), &[&arguments[..], &[json.to_str().unwrap()]].concat());
        receiver.wait_for("receiving on tap0");
        let sender = start(Some(&lan.station), &["gen", "-i", "far0", "--stream", "1", "-R", "2000"]);
        // Its second column is frames.
        let frames = |line: &str| line.trim().strip_prefix("tap0:")?.split_whitespace().nth(1)?.parse().ok();
        let received = || -> u64 {
            let text = lan.sensor.enter(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap());
            text.lines().find_map(frames).unwrap()
        };
        receiver.wait_until("frames", || received() > 500);
        lan.sensor.ip("link delete tap0");
        let done = receiver.finish().expect(1);
        drop(sender);
        let last = done.stderr.lines().last().unwrap();
        assert_eq!(last, format!("ringtap: not measured: {backend}: tap0 was deleted"));
        let text = done.text();
        assert!(text.contains("sent unknown, received ") && text.contains("missing unknown"), "{text}");
        assert!(text.contains("interrupted: tap0 was deleted"), "{text}");
        let report: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
        let row = &report["rows"][0];
        assert!(row["received"].as_u64().unwrap() > 400, "{row}");
        assert!(row["sent"].is_null() && row["missing"].is_null() && row["missing_percent"].is_null(), "{row}");
        assert_eq!((&row["interrupted"], &row["interrupted_by"]), (&true.into(), &"tap0 was deleted".into()));
    }
}

#[test]
fn an_interface_that_is_deleted_before_anything_came_is_named() {
    let lan = Lan::silent();
    let receiver = start(Some(&lan.sensor), &["bench", "expect", "-i", "tap0", "--summary", "json"]);
    receiver.wait_for("receiving on tap0");
    lan.sensor.ip("link delete tap0");
    let done = receiver.finish().expect(1);
    let found = done.json();
    assert_eq!((&found["received"], &found["error"]), (&Value::Null, &"nothing was received: tap0 was deleted".into()));
}

/// An end that did not come leaves the number unknown.
#[test]
fn a_sender_that_did_not_end_leaves_the_loss_unknown() {
    let lan = Lan::silent();
    let receiver = start(Some(&lan.sensor), &["bench", "expect", "-i", "tap0", "--time", "2s"]);
    receiver.wait_for("receiving on tap0");
    let sender = start(Some(&lan.station), &["gen", "-i", "far0", "--stream", "1", "-R", "2000"]);
    let done = receiver.finish().expect(1).says(&["ringtap: not measured: afpacket: what is missing is not known"]);
    drop(sender);
    assert!(done.text().contains("missing unknown"), "{}", done.text());
}
