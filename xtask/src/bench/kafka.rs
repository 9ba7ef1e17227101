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

pub(super) fn run(rate: u32, seconds: u64, codec: &str, stall: bool, pool_memory: Option<&str>) -> Result<()> {
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
    let (mut warmed, mut sent) = (0, None);
    let mut arguments = vec!["--to", sink.as_str(), "--drain-timeout", "60s"];
    arguments.extend(pool_memory.iter().flat_map(|size| ["--pool-memory", *size]));
    let (run, cpu, ()) = wire.capture(traffic::ringtap_anywhere(&program, &arguments), "capturing on", || {
        warmed = wire.send(warm, Some(rate / 2)).frames;
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
            sent = Some(wire.send(count, Some(rate)));
        });
    })?;
    ensure!(run.usage.code == Some(0), "ringtap failed: {}", run.stderr);
    let ledger = traffic::ledger(&run)?;
    let sink = &ledger["sinks"][0];
    let delivered = sink["delivered"].as_u64().context("nothing known of deliveries")?;
    let sent = sent.context("nothing was sent")?;
    let lost = (warmed + sent.frames).saturating_sub(delivered);
    println!(
        "{codec}{}: delivered {delivered} of {}; dropped by the ring {}; {:.0} octets a record; {:.3} CPU s per million",
        if stall { ", broker frozen for 2 s" } else { "" },
        warmed + sent.frames,
        ledger["frames"]["ring_dropped"],
        sink["octets"].as_f64().unwrap_or_default() / delivered as f64,
        cpu.as_secs_f64() * 1e6 / delivered as f64,
    );
    let wanted = f64::from(rate) / 1e6;
    println!(
        "{codec}: the generator made {:.3} M frames/s for {:.1} s, {:.0} ns of CPU a frame, after {} s at half of it{}",
        sent.mpps(),
        sent.took.as_secs_f64(),
        sent.cost(),
        WARM_UP.as_secs(),
        if sent.mpps() < wanted * 0.99 { ": it was the limit, not ringtap, which got no more" } else { "" },
    );
    verdict(&format!("{codec}: records lost"), lost as f64, false, 0.0);
    // What is not lost was delivered as fast as it came, but for what the buffers held: that is why a run is long.
    verdict(
        &format!("{codec}: million records a second, sent and not lost"),
        (sent.frames - lost.min(sent.frames)) as f64 / sent.took.as_secs_f64() / 1e6,
        true,
        wanted * 0.99,
    );
    Ok(())
}
