//! Results as a table.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use pktgen::{Latencies, Latency};
use serde::{Serialize, Serializer};

use super::environment::Environment;
use super::row::Row;
use crate::numbers::significant;

#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub measure: &'static str,
    /// `None`: as the other machine sends them.
    pub frame_octets: Option<u64>,
    pub environment: Option<Environment>,
    pub rows: Vec<Row>,
    pub absent: Vec<Absent>,
}

/// One that did not take part.
#[derive(Clone, Debug)]
pub(crate) struct Absent {
    pub name: String,
    pub why: String,
    /// The user named it; others are looked for and may not be there.
    pub by_name: bool,
}

impl Serialize for Absent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.name, &self.why).serialize(serializer)
    }
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

/// So many frames, or one.
pub(crate) fn frames(n: u64) -> String {
    format!("{} frame{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// A measured number, not negative, with so many digits that say something.
pub(crate) fn figure(value: f64, digits: i32) -> String {
    if !value.is_finite() {
        return "unknown".to_owned();
    }
    let text = significant(value, digits);
    let (whole, part) = text.split_at(text.find('.').unwrap_or(text.len()));
    thousands(whole.parse().unwrap_or(u64::MAX)) + part
}

/// What is not there is an empty cell.
fn cell<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(String::new, text)
}

/// A point of a distribution, in microseconds.
pub(crate) fn micros(point: Latency) -> String {
    match point {
        Latency::Ahead => "unknown".to_owned(),
        Latency::Time(time) => figure(time.as_nanos() as f64 / 1e3, 3),
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
        let rate = cell(row.rate, |rate| figure(rate, 4));
        let cpu = cell(row.cpu_seconds_per_million, |cpu| figure(cpu, 3));
        let latency = |n: usize| cell(row.latency_us, |points| micros(points[n]));
        let burst = cell(row.largest_burst, |burst| burst.to_string());
        let nanos = |ns: Option<f64>| cell(ns, |ns| figure(ns, 3));
        match self.measure {
            "elapsed" => vec![
                name,
                cell(row.packets, thousands),
                row.runs.to_string(),
                cell(row.seconds, |seconds| format!("{seconds:.6}")),
                cell(row.packets.zip(row.seconds), |(packets, seconds)| figure(packets as f64 / seconds, 4)),
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
                let rate = match row.rate {
                    None => "none".to_owned(),
                    Some(_) if row.interrupted => format!("at least {rate}"),
                    Some(_) => rate,
                };
                vec![name, rate, burst, cpu, latency(2)]
            }
            measure => vec![
                name,
                if row.rate_wanted.is_none() && measure == "drop-rate" { format!("max ({rate})") } else { rate },
                row.runs.to_string(),
                known(row.sent),
                known(row.received),
                known(row.dropped_said),
                known(row.missing),
                cell(row.missing_percent, |percent| figure(percent, 4)),
                cell(row.doubled, thousands),
                cell(row.reordered, thousands),
                burst,
                cpu,
                latency(2),
            ],
        }
    }

    /// What was asked for and could not be measured. That frames are missing is a result.
    pub(crate) fn unmeasured(&self) -> Vec<String> {
        let mut all: Vec<String> =
            self.rows.iter().filter_map(|row| Some(label(row) + ": " + &self.lacks(row)?)).collect();
        let named = self.absent.iter().filter(|absent| absent.by_name);
        all.extend(named.map(|absent| format!("{}: {}", absent.name, absent.why)));
        if self.rows.is_empty() && all.is_empty() {
            all.push("nobody took part".to_owned());
        }
        all
    }

    /// What a row does not tell, though it is there to tell it.
    fn lacks(&self, row: &Row) -> Option<String> {
        let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        if row.runs == 0 {
            return Some(first(row.error.as_deref().unwrap_or("no run")));
        }
        if let Some(why) = &row.interrupted_by {
            return Some(first(why));
        }
        match self.measure {
            "stages" if row.received == Some(0) => Some("nothing arrived".to_owned()),
            "drop-rate" | "expect" if row.missing.is_none() => Some("what is missing is not known".to_owned()),
            _ => None,
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
        remarks.extend(self.absent.iter().map(|Absent { name, why, .. }| format!("{name}: not measured: {why}")));
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

/// Whose row it is, and under which load.
fn label(row: &Row) -> String {
    let load = match (row.rate_wanted, row.packets, &row.stage) {
        (_, _, Some(stage)) => format!(", {stage}"),
        (Some(rate), ..) => format!(" at {rate}/s"),
        (_, Some(packets), _) => format!(" with {}", frames(packets)),
        _ => String::new(),
    };
    row.contestant.clone() + &load
}

fn remarks_of(row: &Row) -> Vec<String> {
    let mut remarks = Vec::new();
    if row.runs > 0
        && let Some(error) = &row.error
    {
        remarks.push(format!("{} of {} runs failed, the first: {error}", row.failed, row.failed + row.runs));
    }
    match (row.interrupted, &row.interrupted_by) {
        (true, Some(why)) => remarks.push(format!("interrupted: {why}: what was counted until then")),
        (true, None) => remarks.push("interrupted: what was found until then".to_owned()),
        (false, Some(why)) => remarks.push(format!("a run was interrupted and does not count: {why}")),
        (false, None) => {}
    }
    if let Some(ahead) = row.latency_ahead.filter(|ahead| *ahead > 0) {
        let have = if ahead == 1 { "has" } else { "have" };
        remarks.push(format!(
            "{} {have} a stamp in the receiver's future: the clocks differ, so no latency is exact",
            frames(ahead)
        ));
    }
    if let Some(beyond) = row.latency_beyond.filter(|beyond| *beyond > 0) {
        remarks.push(format!("{} took more than {} s", frames(beyond), Latencies::LONGEST.as_secs()));
    }
    if let Some(behind) = row.behind_seconds.filter(|behind| *behind > 0.0) {
        remarks.push(format!("the generator fell {} s behind: the rate is more than it can do", figure(behind, 3)));
    }
    remarks.extend(row.notes.iter().cloned());
    let label = label(row);
    remarks.into_iter().map(|remark| format!("{label}: {remark}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 1, 1000].map(frames), ["0 frames", "1 frame", "1,000 frames"]);
        assert_eq!(
            [0, 999, 1000, 1_389_000, u64::MAX].map(thousands),
            ["0", "999", "1,000", "1,389,000", "18,446,744,073,709,551,615"]
        );
    }

    #[test]
    fn what_is_little_does_not_look_like_nothing() {
        let figures = [0.0, 0.5, 0.033_33, 19.87, 20.0, 194.26, 999.96, 1000.4, 1_234_567.8, f64::INFINITY];
        let texts = ["0", "0.5", "0.03333", "19.87", "20", "194.3", "1,000", "1,000", "1,234,568", "unknown"];
        assert_eq!(figures.map(|value| figure(value, 4)), texts);
        assert_eq!([58.61, 463.4, 0.116].map(|value| figure(value, 3)), ["58.6", "463", "0.116"]);
        let rate = Some(0.5);
        let row = Row { runs: 1, rate_wanted: rate, rate, missing_percent: Some(1e-7), ..Row::default() };
        let report = Report { measure: "drop-rate", rows: vec![row], ..Report::default() };
        let table = report.table();
        assert!(table.contains(" 0.5 ") && table.contains(" 0.0000001"), "{table}");
    }

    #[test]
    fn what_was_asked_for_and_not_measured_is_named_and_a_loss_is_a_result() {
        let row = |contestant: &str| Row { contestant: contestant.into(), runs: 1, ..Row::default() };
        let unmeasured = |measure, row: Row| Report { measure, rows: vec![row], ..Report::default() }.unmeasured();
        let none: [String; 0] = [];
        let all_lost = Row { sent: Some(5), received: Some(0), missing: Some(5), ..row("packet") };
        assert_eq!(unmeasured("drop-rate", all_lost.clone()), none);
        let sink = Row { stage: Some("+ Kafka".into()), ..all_lost };
        assert_eq!(unmeasured("stages", sink), ["packet, + Kafka: nothing arrived"]);
        assert_eq!(unmeasured("zero-loss", row("packet")), none);
        assert_eq!(unmeasured("expect", row("packet")), ["packet: what is missing is not known"]);
        let cut = Row { missing: Some(0), interrupted_by: Some("tap0 was deleted".into()), ..row("packet") };
        assert_eq!(unmeasured("expect", cut), ["packet: tap0 was deleted"]);
        let failed = Row { packets: Some(1000), ..Row::failed("tshark", None, &anyhow::anyhow!("it\nended")) };
        assert_eq!(unmeasured("elapsed", failed), ["tshark with 1,000 frames: it"]);
        let absent = |by_name| Absent { name: "scapy".into(), why: "not there".into(), by_name };
        let missing = Row { missing: Some(3), ..row("packet") };
        let report = Report { measure: "drop-rate", rows: vec![missing], ..Report::default() };
        let with = |by_name| Report { absent: vec![absent(by_name)], rows: report.rows.clone(), ..Report::default() };
        assert_eq!((with(false).unmeasured(), with(true).unmeasured()), (vec![], vec!["scapy: not there".to_owned()]));
        assert_eq!(Report::default().unmeasured(), ["nobody took part"]);
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
            absent: vec![Absent { name: "dumpcap".into(), why: "not installed".into(), by_name: false }],
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
