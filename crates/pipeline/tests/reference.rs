//! Our records are those that etherparse and serde_json make, octet by octet.

mod common;

use common::{HOSTNAME, INTERFACE, NAME, QUEUE, RUN, encoder, write};
use pipeline::dissect::Layers;
use testkit::frames;
use testkit::queues::OwnedFrame;
use testkit::random::Random;
use testkit::reference::{Observer, idiomatic, preformatted};

/// Compares records of frames that follow each other.
fn compare(frames: &[OwnedFrame]) {
    let observer = Observer { name: NAME, hostname: HOSTNAME, interface: INTERFACE, run: RUN };
    let (mut encoder, mut layers) = (encoder(), Layers::default());
    for (sequence, frame) in frames.iter().enumerate() {
        let ours = write(&mut encoder, &mut layers, &frame.lend());
        for judge in [idiomatic, preformatted] {
            let mut theirs = Vec::new();
            judge(&frame.lend(), &observer, QUEUE, sequence as u64, &mut theirs);
            assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs), "{:02x?}", frame.data);
        }
    }
}

#[test]
fn records_of_plain_frames_are_the_reference_s() {
    let mut random = Random::new(11);
    let frames: Vec<_> = (0..100_000).map(|_| frames::plain_frame(&mut random)).collect();
    compare(&frames);
}

#[test]
fn records_of_the_bench_s_mix_are_the_reference_s() {
    compare(&frames::mix(7, 4_096));
}

#[test]
fn the_mix_is_what_its_documentation_says() {
    let mix = frames::mix(1, 4_096);
    let share = |at: usize, value: &[u8]| {
        let n = mix.iter().filter(|frame| frame.data.get(at..at + value.len()) == Some(value)).count();
        n * 100 / mix.len()
    };
    assert!((73..=80).contains(&share(12, &[8, 0])));
    assert!((13..=17).contains(&share(12, &[0x86, 0xdd])));
    assert!((3..=6).contains(&share(12, &[0x81, 0])));
    assert!((13..=17).contains(&share(23, &[17])));
    assert!(mix.iter().all(|frame| frame.data.len() <= 96 && frame.data.len() <= frame.wire_len as usize));
    assert!(frames::mix(1, 100).iter().zip(&mix).all(|(a, b)| a.data == b.data), "the same for the same seed");
}
