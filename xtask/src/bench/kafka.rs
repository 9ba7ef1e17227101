//! `bench kafka`: live capture into a real broker on the same machine.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::kafka::{Kafka, KafkaOptions};

use super::program::ringtap;
use super::traffic::{self, Wire};
use super::verdict;

/// A cold broker compiles; runs shorter than this only measure buffers.
const WARM_UP: Duration = Duration::from_secs(20);

pub(super) fn run(rate: u32, seconds: u64, codec: &str, stall: bool) -> Result<()> {
    let program = ringtap()?;
    // Fetches the broker's files, which a namespace without a network could not.
    drop(Kafka::start(KafkaOptions::default()));
    let wire = Wire::new(&[60]);
    let mut broker = None;
    wire.receiver.enter(|| broker = Some(Kafka::start(KafkaOptions::default())));
    let broker = broker.context("no broker")?;
    wire.receiver.enter(|| {
        broker.create_topic("packets", 1, &[("retention.bytes", "1073741824"), ("segment.bytes", "268435456")]);
    });
    let sink = format!("kafka://{}/packets?compression.type={codec}", broker.address());
    let count = u64::from(rate) * seconds;
    let warm = WARM_UP.as_secs() * u64::from(rate / 2);
    let mut took = Duration::ZERO;
    let (run, cpu) =
        wire.capture(traffic::ringtap(&program, &["--to", &sink, "--drain-timeout", "60s"]), "capturing on", || {
            wire.send(warm, Some(rate / 2));
            thread::scope(|scope| {
                if stall {
                    let broker = &broker;
                    scope.spawn(move || {
                        thread::sleep(Duration::from_secs(seconds / 2));
                        broker.freeze();
                        thread::sleep(Duration::from_secs(2));
                        broker.thaw();
                    });
                }
                took = wire.send(count, Some(rate));
            });
        })?;
    ensure!(run.usage.code == Some(0), "ringtap failed: {}", run.stderr);
    let ledger = traffic::ledger(&run)?;
    let sink = &ledger["sinks"][0];
    let delivered = sink["delivered"].as_u64().context("nothing known of deliveries")?;
    let sent = warm + count;
    println!(
        "{codec}{}: {:.3} Mpps for {:.1} s after {} s at half of it; delivered {delivered} of {sent}; dropped {}; {:.0} octets a record; {:.3} CPU s per million",
        if stall { ", broker frozen for 2 s" } else { "" },
        count as f64 / took.as_secs_f64() / 1e6,
        took.as_secs_f64(),
        WARM_UP.as_secs(),
        ledger["frames"]["ring_dropped"],
        sink["octets"].as_f64().unwrap_or_default() / delivered as f64,
        cpu.as_secs_f64() * 1e6 / delivered as f64,
    );
    verdict(&format!("{codec}: lost"), sent as f64 - delivered as f64, false, 0.0);
    verdict(
        &format!("{codec}: million records a second"),
        count as f64 / took.as_secs_f64() / 1e6,
        true,
        f64::from(rate) * 0.99 / 1e6,
    );
    Ok(())
}
