//! Filters for live interfaces. Needs `CAP_NET_RAW`: where it is missing, that is what the tests look at.

use capture::{CaptureError, LinkType};
use capture_pcap::{CompileError, Filter, Libpcap};

fn libpcap() -> Libpcap {
    Libpcap::load(None).expect("libpcap is installed where tests run")
}

/// `SKF_AD_OFF` of linux/filter.h: loads from there are the kernel's extensions.
const EXTENSIONS: u32 = 0xffff_f000;

#[test]
fn a_live_program_sees_tags_that_the_kernel_took() {
    let libpcap = libpcap();
    let loads_extension = |k: u32| k >= EXTENSIONS;
    match libpcap.compile_live("lo", LinkType::ETHERNET, &["vlan 5"], 0) {
        Ok(program) => {
            assert!(program.instructions().iter().any(|i| i.code & 7 == 0 && loads_extension(i.k)), "{program:?}");
            let refused = Filter::new(&program).expect_err("user space has no extensions").to_string();
            assert!(refused.contains("only the kernel knows"), "{refused}");
            libpcap
                .compile_live("lo", LinkType::ETHERNET, &["inbound and tcp"], 96)
                .expect("the socket knows directions");
            let error =
                libpcap.compile_live("lo", LinkType::ETHERNET, &["tcp prot 80"], 0).expect_err("wrong").to_string();
            assert_eq!(error, r#"filter "tcp prot 80": syntax error near "prot" (column 5)"#);
        }
        Err(CompileError::Capture(CaptureError::Permission { capability, .. })) => {
            assert_eq!(capability, "CAP_NET_RAW");
        }
        Err(other) => panic!("{other}"),
    }
    let dead = libpcap.compile(&["vlan 5"], LinkType::ETHERNET, 0).expect("right");
    assert!(!dead.instructions().iter().any(|i| i.code & 7 == 0 && loads_extension(i.k)), "{dead:?}");
}

#[test]
fn an_interface_that_is_not_there() {
    for name in ["no-such-if0", "a\0b"] {
        let error = libpcap().compile_live(name, LinkType::ETHERNET, &["tcp"], 0).expect_err("there is none");
        assert!(
            matches!(
                error,
                CompileError::Capture(CaptureError::NoSuchInterface { .. } | CaptureError::Permission { .. })
            ),
            "{error:?}"
        );
    }
}

#[test]
fn the_snaplen_is_what_the_program_returns() {
    for (snaplen, returned) in [(0, 262_144), (96, 96), (u32::MAX, i32::MAX as u32)] {
        let program = libpcap().compile(&[""], LinkType::ETHERNET, snaplen).expect("right");
        assert_eq!(program.instructions().last().map(|i| (i.code, i.k)), Some((6, returned)));
    }
}

#[test]
fn a_library_that_is_not_there_is_named() {
    assert!(libpcap().libpcap_version().contains("libpcap"));
    let error = Libpcap::load(Some("/no/such/libpcap.so".as_ref())).map(|_| ()).expect_err("there is none");
    assert!(matches!(&error, CaptureError::Unsupported(text) if text.contains("/no/such/libpcap.so")), "{error}");
    // A library that is something else lacks the functions.
    let error = Libpcap::load(Some("libc.so.6".as_ref())).map(|_| ()).expect_err("not libpcap").to_string();
    assert!(error.contains("pcap_lib_version"), "{error}");
}

#[test]
fn threads_may_compile_at_once() {
    let libpcap = libpcap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for port in 1..200 {
                    libpcap.compile(&[format!("tcp port {port} or vlan")], LinkType::ETHERNET, 0).expect("right");
                }
            });
        }
    });
}
