//! `bench kafka-delivery`: what the shipper's bench `delivery` measures, as medians and ratios.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{median, verdict};
use crate::root;

pub(super) fn run(rounds: u32, seconds: u32) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["bench", "--quiet", "--package", "shipper", "--bench", "delivery", "--"])
        .args(["--rounds", &rounds.to_string(), "--seconds", &seconds.to_string()])
        .current_dir(root())
        .stderr(std::process::Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the shipper's bench failed");
    // Codec and way: megabytes a second, CPU seconds a gigabyte.
    let mut all: BTreeMap<(String, String), (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for line in String::from_utf8(output.stdout)?.lines().filter(|line| line.starts_with('{')) {
        let run: Value = serde_json::from_str(line)?;
        let text = |name: &str| run[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in {line}"));
        let number = |name: &str| run[name].as_f64().with_context(|| format!("no {name} in {line}"));
        let (rates, costs) = all.entry((text("codec")?, text("how")?)).or_default();
        rates.push(number("octets")? / 1e6 / number("seconds")?);
        costs.push(number("cpu")? * 1e9 / number("octets")?);
    }
    for codec in ["none", "lz4", "zstd"] {
        let of = |how: &str| all.get(&(codec.to_owned(), how.to_owned())).with_context(|| format!("no {codec}, {how}"));
        let ((lent, lent_cpu), (copied, copied_cpu)) = (of("lent")?, of("copied")?);
        println!("{codec}: MB/s in turn: lent {}, copied {}", list(lent, 0), list(copied, 0));
        println!("{codec}: CPU s per GB in turn: lent {}, copied {}", list(lent_cpu, 2), list(copied_cpu, 2));
        let ratio = |ours: &[f64], theirs: &[f64]| median(ours.to_vec()) / median(theirs.to_vec());
        verdict(&format!("{codec}: MB/s in times of the copying API"), ratio(lent, copied), true, 0.95);
        verdict(&format!("{codec}: CPU in times of the copying API"), ratio(lent_cpu, copied_cpu), false, 0.8);
    }
    Ok(())
}

fn list(values: &[f64], digits: usize) -> String {
    values.iter().map(|value| format!("{value:.digits$}")).collect::<Vec<_>>().join(" / ")
}
