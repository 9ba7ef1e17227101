//! Results as a table.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use pktgen::{Latencies, Latency};
use serde::Serialize;

use super::environment::Environment;
use super::row::Row;

#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub measure: &'static str,
    /// `None`: as the other machine sends them.
    pub frame_octets: Option<u64>,
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

/// What is not there is an empty cell.
fn cell<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(String::new, text)
}

/// A point of a distribution, in microseconds.
pub(crate) fn micros(point: Latency) -> String {
    match point {
        Latency::Ahead => "unknown".to_owned(),
        Latency::Time(time) => format!("{:.0}", time.as_nanos() as f64 / 1e3),
        Latency::Beyond => format!("> {} s", Latencies::LONGEST.as_secs()),
    }
}

/// A figure that the ledger may not know.
pub(crate) fn known(count: Option<u64>) -> String {
    count.map_or_else(|| "unknown".to_owned(), thousands)
}

impl Report {
    /// The columns' headings.
    pub(crate) fn headings(&self) -> Vec<&'static str> {
        match self.measure {
            "elapsed" => vec!["contestant", "packets", "runs", "seconds", "packets/s"],
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
            "zero-loss" => vec!["contestant", "highest rate without loss", "burst", "CPU s per M", "p99 us"],
            _ => vec![
                "contestant",
                "rate",
                "runs",
                "sent",
                "received",
                "dropped (said)",
                "missing",
                "missing %",
                "doubled",
                "reordered",
                "burst",
                "CPU s per M",
                "p99 us",
            ],
        }
    }

    /// Those of a row. One without figures is its contestant and why.
    pub(crate) fn cells(&self, row: &Row) -> Vec<String> {
        let name = row.contestant.clone();
        if row.runs == 0 {
            return vec![name, row.error.clone().unwrap_or_default()];
        }
        let rate = cell(row.rate, |rate| thousands(rate.round() as u64));
        let cpu = cell(row.cpu_seconds_per_million, |cpu| format!("{cpu:.3}"));
        let latency = |n: usize| cell(row.latency_us, |points| micros(points[n]));
        let burst = cell(row.largest_burst, |burst| burst.to_string());
        let nanos = |ns: Option<f64>| cell(ns, |ns| format!("{ns:.0}"));
        match self.measure {
            "elapsed" => vec![
                name,
                cell(row.packets, thousands),
                row.runs.to_string(),
                cell(row.seconds, |seconds| format!("{seconds:.6}")),
                cell(row.packets.zip(row.seconds), |(packets, seconds)| thousands((packets as f64 / seconds) as u64)),
            ],
            "stages" => vec![
                name,
                row.stage.clone().unwrap_or_default(),
                rate,
                cell(row.sent, thousands),
                cell(row.received, thousands),
                cell(row.missing, thousands),
                cell(row.doubled, thousands),
                nanos(row.cpu_seconds_per_million.map(|cpu| cpu * 1e3)),
                if row.below_noise == Some(true) { "below noise".to_owned() } else { nanos(row.stage_ns) },
                latency(0),
                latency(2),
            ],
            "zero-loss" => {
                vec![name, if row.interrupted { format!("at least {rate}") } else { rate }, burst, cpu, latency(2)]
            }
            measure => vec![
                name,
                if row.rate_wanted.is_none() && measure == "drop-rate" { format!("max ({rate})") } else { rate },
                row.runs.to_string(),
                known(row.sent),
                known(row.received),
                known(row.dropped_said),
                known(row.missing),
                cell(row.missing_percent, |percent| format!("{percent:.4}")),
                cell(row.doubled, thousands),
                cell(row.reordered, thousands),
                burst,
                cpu,
                latency(2),
            ],
        }
    }

    /// What does not fit into the columns, a line each.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut remarks: Vec<String> = self.rows.iter().flat_map(remarks_of).collect();
        let mut told = BTreeSet::new();
        for row in &self.rows {
            if let Some(options) = row.options.as_ref().filter(|options| told.insert((&row.contestant, *options))) {
                remarks.push(format!("{}: {options}", row.contestant));
            }
        }
        remarks.extend(self.absent.iter().map(|(name, why)| format!("{name}: not measured: {why}")));
        remarks
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
        for remark in self.remarks() {
            let _ = writeln!(text, "{remark}");
        }
        text
    }
}

fn remarks_of(row: &Row) -> Vec<String> {
    let load = match (row.rate_wanted, row.packets, &row.stage) {
        (_, _, Some(stage)) => format!(", {stage}"),
        (Some(rate), ..) => format!(" at {rate}/s"),
        (_, Some(packets), _) => format!(" with {} frames", thousands(packets)),
        _ => String::new(),
    };
    let mut remarks = Vec::new();
    if row.runs > 0
        && let Some(error) = &row.error
    {
        remarks.push(format!("{} of {} runs failed, the first: {error}", row.failed, row.failed + row.runs));
    }
    if row.interrupted {
        remarks.push("interrupted: what was found until then".to_owned());
    }
    if let Some(ahead) = row.latency_ahead.filter(|ahead| *ahead > 0) {
        let ahead = thousands(ahead);
        remarks.push(format!(
            "{ahead} frames have a stamp in the receiver's future: the clocks differ, so no latency is exact"
        ));
    }
    if let Some(beyond) = row.latency_beyond.filter(|beyond| *beyond > 0) {
        remarks.push(format!("{} frames took more than {} s", thousands(beyond), Latencies::LONGEST.as_secs()));
    }
    if let Some(behind) = row.behind_seconds.filter(|behind| *behind > 0.0) {
        remarks.push(format!("the generator fell {behind:.3} s behind: the rate is more than it can do"));
    }
    remarks.extend(row.notes.iter().cloned());
    remarks.into_iter().map(|remark| format!("{}{load}: {remark}", row.contestant)).collect()
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
            rate: Some(1000.0),
            rate_wanted: Some(1000.0),
            runs: 2,
            failed: 1,
            error: Some("the cable".into()),
            sent: Some(5),
            missing: Some(2),
            latency_ahead: Some(3),
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
        assert!(table.contains("netmap at 1000/s: 1 of 3 runs failed, the first: the cable"), "{table}");
        assert!(table.contains("netmap at 1000/s: 3 frames have a stamp in the receiver's future"), "{table}");
    }

    #[test]
    fn a_stage_within_the_noise_has_no_figure() {
        let row = Row {
            runs: 1,
            stage: Some("+ dissect".into()),
            below_noise: Some(true),
            cpu_seconds_per_million: Some(0.028),
            ..Row::default()
        };
        let report = Report { measure: "stages", rows: vec![row], ..Report::default() };
        let table = report.table();
        assert!(table.contains("28") && table.contains("below noise"), "{table}");
    }
}
