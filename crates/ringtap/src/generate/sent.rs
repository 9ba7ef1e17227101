//! What all threads sent together, as the summary tells it.

use std::time::Duration;

use pktgen::Report;
use serde::Serialize;

use super::words;

/// What a receiver will miss.
pub(super) const NO_END: &str = "the end of the stream could not be sent: the receiver waits until --time";

/// What one thread did.
pub(super) struct Thread {
    pub stream: Option<u16>,
    pub report: Report,
    /// Whether one of the frames that tell its stream's end is known to have left.
    pub end_left: bool,
}

/// What was sent, by all threads.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Sent {
    pub frames: u64,
    pub refused: u64,
    pub unknown: u64,
    /// Of the frames, without frame check sequences; unknown where not all frames left.
    pub octets: Option<u64>,
    /// From the first frame of the first thread to the last one of the last.
    pub seconds: f64,
    /// Those after the first, in this time.
    pub frames_per_second: f64,
    /// Without preamble, frame check sequence and gap; unknown of one frame.
    pub bits_per_second: Option<f64>,
    pub wanted_frames_per_second: Option<f64>,
    pub threads: usize,
    /// By one thread; those of several may leave one behind the other.
    pub largest_burst: usize,
    /// Seconds by which the schedule had to be shifted.
    pub behind: f64,
    /// Seconds for which the link was down, and nothing was sent.
    pub link_down_seconds: f64,
    /// Why it ended before its time.
    pub interrupted: Option<String>,
    /// Frames of each stream, if they are stamped.
    pub streams: Vec<(u16, u64)>,
    /// Streams of whose end no frame is known to have left.
    pub ends_not_sent: Vec<u16>,
}

impl Sent {
    /// The sum of what the threads report.
    pub(super) fn by(threads: &[Thread]) -> Self {
        let reports = || threads.iter().map(|thread| &thread.report);
        // Threads neither start nor end at the same time: their rates cannot be added up.
        let times = || reports().filter_map(|report| report.start.map(|start| (start, start + report.elapsed)));
        let took = times().map(|(_, end)| end).max().zip(times().map(|(start, _)| start).min());
        let seconds = took.map_or(0.0, |(end, start)| (end - start).as_secs_f64());
        let sum = |value: fn(&Report) -> u64| reports().map(value).sum::<u64>();
        let longest = |value: fn(&Report) -> Duration| reports().map(value).max().unwrap_or_default().as_secs_f64();
        // Which frames were refused is not known, and they need not have one length.
        let octets = reports()
            .map(|report| match report {
                Report { sent: 0, unknown: 0, .. } => Some(0),
                Report { refused: 0, unknown: 0, .. } => Some(report.octets),
                _ => None,
            })
            .sum::<Option<u64>>();
        let frames = sum(|report| report.sent);
        let least = seconds.max(1e-9);
        Self {
            frames,
            refused: sum(|report| report.refused),
            unknown: sum(|report| report.unknown),
            octets,
            seconds,
            frames_per_second: frames.saturating_sub(1) as f64 / least,
            // One frame takes no time that could be told.
            bits_per_second: octets.filter(|_| frames != 1).map(|octets| octets as f64 * 8.0 / least),
            threads: threads.len(),
            largest_burst: reports().map(|report| report.largest_burst).max().unwrap_or(0),
            behind: longest(|report| report.behind),
            link_down_seconds: longest(|report| report.link_down),
            streams: threads
                .iter()
                .filter_map(|thread| Some((thread.stream?, thread.report.sent + thread.report.unknown)))
                .collect(),
            ends_not_sent: threads
                .iter()
                .filter(|thread| !thread.end_left)
                .filter_map(|thread| thread.stream)
                .collect(),
            ..Self::default()
        }
    }

    pub(super) fn describe(&self) -> String {
        let (frames, octets) = (words::frames(self.frames), super::or_unknown(self.octets));
        let mut text = format!("sent {frames} ({octets} octets) in {:.3} s", self.seconds);
        // The first frame has no time.
        if self.frames > 1 {
            let bits = self.bits_per_second.map_or_else(|| "unknown bit/s".to_owned(), words::bit_rate);
            text += &format!(": {} frames/s, {bits}", words::rate(self.frames_per_second));
        }
        if let Some(wanted) = self.wanted_frames_per_second {
            text += &format!("; wanted {}", words::rate(wanted));
            if self.frames > 1 {
                text += &format!(" ({:+.3} %)", (self.frames_per_second / wanted - 1.0) * 100.0);
            }
            let whose = if self.threads > 1 { " of one thread" } else { "" };
            text += &format!(", largest burst{whose} {}", words::frames(self.largest_burst as u64));
        }
        if self.link_down_seconds > 0.0 {
            text += &format!("; the link was down for {:.3} s of it", self.link_down_seconds);
        }
        if self.behind > 0.0 {
            text += &format!("; {:.3} s behind", self.behind);
            text += match self.refused {
                0 => ": the pace is more than this interface or core can do",
                _ => ", for the interface did not take all frames",
            };
        }
        if let Some(why) = &self.interrupted {
            text += &format!("; interrupted: {why}");
        }
        text.push('\n');
        for (stream, frames) in &self.streams {
            let end = if self.ends_not_sent.contains(stream) { format!("; {NO_END}") } else { String::new() };
            text += &format!("stream {stream}: {}{end}\n", words::frames(*frames));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_rate_is_that_of_all_frames_in_the_time_of_all_threads() {
        let begin = Instant::now();
        let thread = |after: u64, seconds: u64, sent: u64| {
            let (start, elapsed) = (begin + Duration::from_secs(after), Duration::from_secs(seconds));
            let rate = (sent - 1) as f64 / elapsed.as_secs_f64();
            let report = Report { sent, octets: sent * 60, start: Some(start), elapsed, rate, ..Report::default() };
            Thread { stream: None, report, end_left: false }
        };
        let idle = Thread { stream: None, report: Report::default(), end_left: false };
        let sent = Sent::by(&[thread(1, 2, 1000), idle, thread(0, 1, 1000), thread(0, 4, 1001)]);
        assert_eq!((sent.frames, sent.seconds, sent.frames_per_second), (3001, 4.0, 750.0));
        assert_eq!(sent.bits_per_second, Some(3001.0 * 60.0 * 8.0 / 4.0));
        assert!(sent.describe().starts_with("sent 3001 frames (180060 octets) in 4.000 s: 750 frames/s, 360.1 kbit/s"));
        assert!(sent.ends_not_sent.is_empty(), "no stream has none");
    }

    #[test]
    fn an_end_that_did_not_leave_and_bursts_of_several_threads_are_told() {
        let report = Report { sent: 5, largest_burst: 2, ..Report::default() };
        let thread = |stream, end_left| Thread { stream: Some(stream), report, end_left };
        let sent = Sent { wanted_frames_per_second: Some(1.0), ..Sent::by(&[thread(7, true), thread(8, false)]) };
        assert_eq!(sent.ends_not_sent, [8]);
        let text = sent.describe();
        assert!(text.contains("largest burst of one thread 2 frames"), "{text}");
        assert!(text.ends_with(&format!("stream 7: 5 frames\nstream 8: 5 frames; {NO_END}\n")), "{text}");
    }
}
