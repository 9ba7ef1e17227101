//! Without the capability.

use std::process::Command;

use capture_afpacket::{Options, open};

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
