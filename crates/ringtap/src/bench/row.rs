//! One row of a report, and how several runs become one. What was not measured, or is not known, is `None`: never a 0.

use std::time::Duration;

use capture::CaptureError;
use pktgen::{Latency, Quantiles};
use serde::{Serialize, Serializer};

/// A contestant under one load: medians over the runs that were whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Row {
    pub contestant: String,
    /// Frames a second; `None` for as fast as the generator goes, or for those that come from elsewhere.
    pub rate_wanted: Option<f64>,
    pub rate: Option<f64>,
    /// Runs that the figures are of.
    pub runs: usize,
    /// Runs that failed: no figure is of them.
    pub failed: usize,
    /// Why: of the first one that failed.
    pub error: Option<String>,
    /// The measurement was cut short: the figures are of a run that was not whole, or of a search that had not ended.
    pub interrupted: bool,
    /// What cut it short, if not the user: of the run that the figures are of, or of one that does not count.
    pub interrupted_by: Option<String>,
    pub sent: Option<u64>,
    /// Different frames that arrived, by their numbers.
    pub received: Option<u64>,
    /// Sent and not arrived, by their numbers.
    pub missing: Option<u64>,
    pub missing_percent: Option<f64>,
    pub doubled: Option<u64>,
    pub reordered: Option<u64>,
    /// Frames that are none of the generator's.
    pub other_frames: Option<u64>,
    /// What the mechanism itself says that it dropped; `None` if it does not know.
    pub dropped_said: Option<u64>,
    /// CPU time of the reader.
    pub cpu_seconds_per_million: Option<f64>,
    /// From the stamp to the kernel's time stamp, microseconds: 50, 90, 99, 99.9 percent, longest. Of several runs medians.
    #[serde(serialize_with = "microseconds")]
    pub latency_us: Option<[Latency; 5]>,
    /// Frames whose stamp lay in the receiver's future, and frames that took longer than what is told apart; of several runs the most.
    pub latency_ahead: Option<u64>,
    pub latency_beyond: Option<u64>,
    /// How evenly the generator sent: the most frames that it handed over at once, and seconds by which its schedule had to be shifted; of
    /// several runs the most.
    pub largest_burst: Option<usize>,
    pub behind_seconds: Option<f64>,
    /// `stages`: how far frames went, and CPU nanoseconds a frame that the last stage took by itself, if that is more than the noise.
    pub stage: Option<String>,
    pub stage_ns: Option<f64>,
    /// By how much that differs from round to round, and whether it is no more than that; `None` with one round.
    pub stage_spread_ns: Option<f64>,
    pub below_noise: Option<bool>,
    /// `elapsed`: frames, and seconds until they were captured.
    pub packets: Option<u64>,
    pub seconds: Option<f64>,
    /// How the contestant was used.
    pub options: Option<String>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// What is not known is null: a point of the distribution where the clocks differ, or that is longer than what is told apart.
#[expect(clippy::ref_option, reason = "as serde calls it")]
fn microseconds<S: Serializer>(latency: &Option<[Latency; 5]>, serializer: S) -> Result<S::Ok, S::Error> {
    let point = |point: Latency| match point {
        Latency::Time(time) => Some(time.as_nanos() as f64 / 1e3),
        Latency::Ahead | Latency::Beyond => None,
    };
    latency.map(|points| points.map(point)).serialize(serializer)
}

impl Row {
    /// A run that failed.
    pub(crate) fn failed(contestant: &str, rate_wanted: Option<f64>, error: &anyhow::Error) -> Self {
        // It was there when the measurement began, or there were no run.
        let gone = error.chain().find_map(|cause| match cause.downcast_ref() {
            Some(CaptureError::NoSuchInterface { name }) => {
                Some(format!("the interface {name} was deleted or renamed"))
            }
            _ => None,
        });
        let error = Some(gone.unwrap_or_else(|| crate::explain(error)));
        Self { contestant: contestant.to_owned(), rate_wanted, failed: 1, error, ..Self::default() }
    }

    pub(crate) fn set_latency(&mut self, quantiles: Option<Quantiles>) {
        self.latency_us = quantiles.map(|quantiles| quantiles.at);
        self.latency_ahead = quantiles.map(|quantiles| quantiles.ahead);
        self.latency_beyond = quantiles.map(|quantiles| quantiles.beyond);
    }

    /// A run of this machine's generator, of which nothing has arrived yet.
    pub(crate) fn sent(contestant: &str, rate_wanted: Option<f64>, sent: &pktgen::Report) -> Self {
        Self {
            contestant: contestant.to_owned(),
            rate_wanted,
            rate: Some(sent.rate),
            runs: 1,
            sent: Some(sent.sent),
            largest_burst: Some(sent.largest_burst),
            behind_seconds: Some(sent.behind.as_secs_f64()),
            ..Self::default()
        }
    }

    /// What `frames` cost the reader; of none nothing is known.
    pub(crate) fn set_cpu(&mut self, cpu: Option<Duration>, frames: u64) {
        self.cpu_seconds_per_million = cpu.filter(|_| frames > 0).map(|cpu| cpu.as_secs_f64() * 1e6 / frames as f64);
    }

    /// Where frames are only counted, those of others are among them: more than were sent is no account.
    pub(crate) fn set_missing_by_counts(&mut self, received: u64) {
        let missing = self.sent.and_then(|sent| sent.checked_sub(received));
        if missing.is_none() {
            self.notes.push(
                "more frames were counted than were sent: others are among them, and what is missing is not known"
                    .to_owned(),
            );
        }
        self.set_missing(missing);
    }

    pub(crate) fn set_missing(&mut self, missing: Option<u64>) {
        self.missing = missing;
        self.missing_percent =
            missing.zip(self.sent).map(|(missing, sent)| missing as f64 * 100.0 / sent.max(1) as f64);
    }
}

/// The runs of one contestant under one load as one row: medians of the good ones, how many failed, and why the first did. A run that was cut
/// short counts only if there is no other.
pub(crate) fn medians(rows: &[Row]) -> Option<Row> {
    let first_failed = rows.iter().find(|row| row.failed > 0);
    let failed = rows.iter().map(|row| row.failed).sum();
    let error = first_failed.and_then(|row| row.error.clone());
    let mut good: Vec<&Row> = rows.iter().filter(|row| row.runs > 0 && !row.interrupted).collect();
    if good.is_empty() {
        good = rows.iter().filter(|row| row.runs > 0).collect();
    }
    let Some(&first) = good.first() else { return first_failed.map(|row| Row { failed, ..row.clone() }) };
    let real = |value: fn(&Row) -> Option<f64>| {
        // Known only if it was known each time.
        let all: Option<Vec<f64>> = good.iter().map(|row| value(row)).collect();
        all.map(median)
    };
    let count = |value: fn(&Row) -> Option<u64>| {
        let mut all = good.iter().map(|row| value(row)).collect::<Option<Vec<u64>>>()?;
        all.sort_unstable();
        let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
        Some(low + (high - low) / 2)
    };
    let mut notes: Vec<String> = good.iter().flat_map(|row| row.notes.clone()).collect();
    notes.sort_unstable();
    notes.dedup();
    Some(Row {
        runs: good.iter().map(|row| row.runs).sum(),
        failed,
        error,
        interrupted_by: rows.iter().find_map(|row| row.interrupted_by.clone()),
        rate: real(|row| row.rate),
        sent: count(|row| row.sent),
        received: count(|row| row.received),
        missing: count(|row| row.missing),
        missing_percent: real(|row| row.missing_percent),
        doubled: count(|row| row.doubled),
        reordered: count(|row| row.reordered),
        other_frames: count(|row| row.other_frames),
        dropped_said: count(|row| row.dropped_said),
        cpu_seconds_per_million: real(|row| row.cpu_seconds_per_million),
        latency_us: latencies(&good),
        latency_ahead: good.iter().filter_map(|row| row.latency_ahead).max(),
        latency_beyond: good.iter().filter_map(|row| row.latency_beyond).max(),
        largest_burst: good.iter().filter_map(|row| row.largest_burst).max(),
        behind_seconds: good.iter().filter_map(|row| row.behind_seconds).max_by(f64::total_cmp),
        seconds: real(|row| row.seconds),
        notes,
        ..first.clone()
    })
}

fn latencies(rows: &[&Row]) -> Option<[Latency; 5]> {
    let all: Vec<[Latency; 5]> = rows.iter().map(|row| row.latency_us).collect::<Option<_>>()?;
    let middle = |n: usize| {
        let mut points: Vec<Latency> = all.iter().map(|points| points[n]).collect();
        points.sort_unstable();
        match (points[(points.len() - 1) / 2], points[points.len() / 2]) {
            (Latency::Time(low), Latency::Time(high)) => Latency::Time((low + high) / 2),
            (_, high) => high,
        }
    };
    (!all.is_empty()).then(|| [0, 1, 2, 3, 4].map(middle))
}

/// Of at least one value.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        even if even.is_multiple_of(2) => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn row(missing: u64, dropped_said: Option<u64>) -> Row {
        Row { contestant: "x".into(), missing: Some(missing), dropped_said, runs: 1, ..Row::default() }
    }

    #[test]
    fn medians_are_medians_and_what_is_unknown_once_is_unknown() {
        let middle = medians(&[row(5, Some(1)), row(1, Some(2)), row(100, Some(3))]).unwrap();
        assert_eq!((middle.missing, middle.dropped_said, middle.runs), (Some(5), Some(2), 3));
        assert_eq!(medians(&[row(5, Some(1)), row(1, None)]).unwrap().dropped_said, None);
        assert_eq!(medians(&[]), None);
    }

    #[test]
    fn a_run_that_failed_takes_no_other_with_it() {
        let failed = |why: &str| Row::failed("x", None, &anyhow::anyhow!("{why}"));
        let some = medians(&[row(5, None), failed("no"), row(7, None), failed("later")]).unwrap();
        assert_eq!((some.missing, some.runs, some.failed, some.error.as_deref()), (Some(6), 2, 2, Some("no")));
        let none = medians(&[failed("no"), failed("later")]).unwrap();
        assert_eq!((none.missing, none.runs, none.failed, none.error.as_deref()), (None, 0, 2, Some("no")));
        let json = serde_json::to_value(&none).unwrap();
        for name in ["sent", "received", "missing", "missing_percent", "rate", "doubled", "latency_us", "seconds"] {
            assert!(json[name].is_null(), "{name}: {json}");
        }
    }

    #[test]
    fn a_run_that_was_cut_short_counts_only_if_there_is_no_other() {
        let short = Row { interrupted: true, ..row(0, None) };
        let both = medians(&[short.clone(), row(8, None)]).unwrap();
        assert_eq!((both.missing, both.runs, both.interrupted), (Some(8), 1, false));
        assert!(medians(&[short]).unwrap().interrupted);
    }

    #[test]
    fn impossible_latencies_are_null() {
        let time = |micros| Latency::Time(Duration::from_micros(micros));
        let with = |points| Row { latency_us: Some(points), ..row(0, None) };
        let one = with([Latency::Ahead, time(10), time(20), time(30), Latency::Beyond]);
        let other = with([Latency::Ahead, time(20), time(30), Latency::Beyond, Latency::Beyond]);
        let json = serde_json::to_value(medians(&[one, other]).unwrap()).unwrap();
        assert_eq!(json["latency_us"], serde_json::json!([null, 15.0, 25.0, null, null]));
    }
}
