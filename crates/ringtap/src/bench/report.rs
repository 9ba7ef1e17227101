//! Results as a table.

use std::fmt::Write as _;

use serde::Serialize;

use super::environment::Environment;

/// One row: a contestant under one load, medians over the runs.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    pub contestant: String,
    /// Frames a second; `None` for as fast as the generator goes.
    pub rate_wanted: Option<f64>,
    pub rate: f64,
    pub runs: usize,
    pub sent: u64,
    /// Different frames that arrived, by their numbers.
    pub received: u64,
    /// Sent and not arrived, by their numbers.
    pub missing: u64,
    pub missing_percent: f64,
    /// `None` of a program that only counts.
    pub doubled: Option<u64>,
    pub reordered: Option<u64>,
    /// What the mechanism itself says that it dropped; `None` if it does not know.
    pub dropped_said: Option<u64>,
    /// CPU time of the reader.
    pub cpu_seconds_per_million: Option<f64>,
    /// From the stamp to the kernel's time stamp, microseconds: 50, 90, 99, 99.9 percent, longest.
    pub latency_us: Option<[f64; 5]>,
    /// `stages`: how far frames went, and CPU nanoseconds that the last stage took by itself.
    pub stage: Option<&'static str>,
    pub stage_ns: Option<f64>,
    /// `elapsed`: frames, and seconds until they were captured.
    pub packets: Option<u64>,
    pub seconds: Option<f64>,
    /// Why there are no figures.
    pub error: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub measure: &'static str,
    pub frame_octets: u64,
    pub environment: Option<Environment>,
    pub rows: Vec<Row>,
    /// What did not take part, and why.
    pub absent: Vec<(String, String)>,
}

/// A number as people read it: 1,234,567.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn known(n: Option<u64>) -> String {
    n.map_or_else(|| "-".to_owned(), thousands)
}

impl Report {
    /// The columns' headings.
    pub(crate) fn headings(&self) -> Vec<&'static str> {
        match self.measure {
            "elapsed" => vec!["contestant", "packets", "seconds", "packets/s"],
            "stages" => vec![
                "contestant",
                "stage",
                "rate",
                "sent",
                "arrived",
                "missing",
                "doubled",
                "ns a frame",
                "of which the stage",
                "p50 us",
                "p99 us",
            ],
            "zero-loss" => vec!["contestant", "highest rate without loss", "CPU s per M", "p99 us"],
            _ => vec![
                "contestant",
                "rate",
                "sent",
                "received",
                "dropped (said)",
                "missing",
                "missing %",
                "doubled",
                "reordered",
                "CPU s per M",
                "p99 us",
            ],
        }
    }

    pub(crate) fn cells(&self, row: &Row) -> Vec<String> {
        let cpu = row.cpu_seconds_per_million.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.3}"));
        let p99 = row.latency_us.map_or_else(|| "-".to_owned(), |latency| format!("{:.0}", latency[2]));
        if let Some(error) = &row.error {
            return vec![row.contestant.clone(), error.clone()];
        }
        match self.measure {
            "elapsed" => {
                let seconds = row.seconds.unwrap_or(f64::NAN);
                let packets = row.packets.unwrap_or(0);
                let rate = thousands((packets as f64 / seconds) as u64);
                vec![row.contestant.clone(), thousands(packets), format!("{seconds:.6}"), rate]
            }
            "stages" => {
                let at =
                    |n: usize| row.latency_us.map_or_else(|| "-".to_owned(), |latency| format!("{:.0}", latency[n]));
                let nanos = |ns: Option<f64>| ns.map_or_else(|| "-".to_owned(), |ns| format!("{ns:.0}"));
                vec![
                    row.contestant.clone(),
                    row.stage.unwrap_or_default().to_owned(),
                    thousands(row.rate.round() as u64),
                    thousands(row.sent),
                    thousands(row.received),
                    thousands(row.missing),
                    known(row.doubled),
                    nanos(row.cpu_seconds_per_million.map(|cpu| cpu * 1e3)),
                    nanos(row.stage_ns),
                    at(0),
                    at(2),
                ]
            }
            "zero-loss" => vec![row.contestant.clone(), thousands(row.rate as u64), cpu, p99],
            _ => {
                let said = row.dropped_said.map_or_else(|| "unknown".to_owned(), thousands);
                let rate = thousands(row.rate.round() as u64);
                vec![
                    row.contestant.clone(),
                    if row.rate_wanted.is_none() { format!("max ({rate})") } else { rate },
                    thousands(row.sent),
                    thousands(row.received),
                    said,
                    thousands(row.missing),
                    format!("{:.4}", row.missing_percent),
                    known(row.doubled),
                    known(row.reordered),
                    cpu,
                    p99,
                ]
            }
        }
    }

    /// As text, in columns.
    pub(crate) fn table(&self) -> String {
        let mut lines: Vec<Vec<String>> = vec![self.headings().into_iter().map(str::to_owned).collect()];
        lines.extend(self.rows.iter().map(|row| self.cells(row)));
        let columns = lines.first().map_or(0, Vec::len);
        let width = |column: usize| {
            // A row that is an explanation does not widen the columns.
            lines
                .iter()
                .filter(|line| line.len() == columns)
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for line in &lines {
            for (column, cell) in line.iter().enumerate() {
                let width = widths.get(column).copied().unwrap_or(0);
                let _ = if column == 0 || line.len() < columns {
                    write!(text, "{cell:<width$}  ")
                } else {
                    write!(text, "{cell:>width$}  ")
                };
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        for (name, why) in &self.absent {
            let _ = writeln!(text, "{name}: not measured: {why}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0, 999, 1000, 1_389_000, u64::MAX].map(thousands),
            ["0", "999", "1,000", "1,389,000", "18,446,744,073,709,551,615"]
        );
    }

    #[test]
    fn what_is_unknown_is_said_so_and_who_is_absent_is_named() {
        let row = Row {
            contestant: "netmap".into(),
            rate: 1000.0,
            rate_wanted: Some(1000.0),
            sent: 5,
            missing: 2,
            ..Row::default()
        };
        let failed = Row { contestant: "scapy".into(), error: Some("it ended with 1".into()), ..Row::default() };
        let report = Report {
            measure: "drop-rate",
            rows: vec![row, failed],
            absent: vec![("dumpcap".into(), "not installed".into())],
            ..Report::default()
        };
        let table = report.table();
        assert!(table.contains("unknown") && table.contains("dumpcap: not measured: not installed"), "{table}");
        assert!(table.contains("scapy       it ended with 1"), "{table}");
    }
}
