//! The report as one page that needs nothing else: tables, and plots drawn as SVG.

use std::fmt::Write as _;

use super::report::{Report, figure, thousands};
use super::row::Row;

const WIDTH: f64 = 760.0;
const BAR: f64 = 26.0;

/// `<` and its like, for text of others: names of programs, errors.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The whole page.
pub(crate) fn page(report: &Report) -> String {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>ringtap bench</title><style>\
         body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:62em;padding:0 1em;color:#1b1f24}\
         table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .7em;border-bottom:1px solid #d8dee4;text-align:right}\
         td:first-child,th:first-child{text-align:left}pre{background:#f6f8fa;padding:1em;overflow:auto}svg text{font:13px system-ui,sans-serif}\
         </style>",
    );
    let _ = write!(page, "<h1>ringtap bench {}</h1>", escape(report.measure));
    if let Some(environment) = &report.environment {
        let frames = report.frame_octets.map_or_else(String::new, |octets| format!("\nframes of {octets} octets"));
        let _ = write!(page, "<pre>{}{frames}</pre>", escape(&environment.text()));
    }
    page.push_str("<table><tr>");
    for heading in report.headings() {
        let _ = write!(page, "<th>{}", escape(heading));
    }
    for row in &report.rows {
        page.push_str("<tr>");
        let cells = report.cells(row);
        let last = cells.len().saturating_sub(1);
        for (n, cell) in cells.iter().enumerate() {
            let wide = if n == last && cells.len() < report.headings().len() { " colspan=\"12\"" } else { "" };
            let _ = write!(page, "<td{wide}>{}", escape(cell));
        }
    }
    page.push_str("</table>");
    for remark in report.remarks() {
        let _ = write!(page, "<p>{}", escape(&remark));
    }
    for (title, bars) in plots(report) {
        plot(&mut page, &title, &bars);
    }
    page.push_str("</html>\n");
    page
}

type Bars = Vec<(String, f64, String)>;

/// What is worth seeing: for each load a bar per contestant.
fn plots(report: &Report) -> Vec<(String, Bars)> {
    let mut plots: Vec<(String, Bars)> = Vec::new();
    for row in &report.rows {
        let Some((title, value, label)) = bar(report.measure, row) else { continue };
        let name = match &row.stage {
            Some(stage) => format!("{} {stage}", row.contestant),
            None => row.contestant.clone(),
        };
        match plots.iter_mut().find(|(known, _)| *known == title) {
            Some((_, bars)) => bars.push((name, value, label)),
            None => plots.push((title, vec![(name, value, label)])),
        }
    }
    plots
}

/// A row's bar, and the plot in which it stands; none without a figure.
fn bar(measure: &str, row: &Row) -> Option<(String, f64, String)> {
    Some(match measure {
        "zero-loss" => {
            let rate = row.rate?;
            ("Highest rate without loss, frames per second".to_owned(), rate, figure(rate, 4))
        }
        "stages" => {
            let ns = row.stage_ns?;
            ("CPU nanoseconds a frame of each stage".to_owned(), ns, figure(ns, 3))
        }
        "elapsed" => {
            let seconds = row.seconds?;
            (format!("Seconds to capture {} packets", thousands(row.packets?)), seconds, format!("{seconds:.6}"))
        }
        _ => {
            let load = row.rate_wanted.map_or_else(|| "the highest rate".to_owned(), |rate| format!("{rate} frames/s"));
            let missing = row.missing?;
            let label = format!("{} ({} %)", thousands(missing), figure(row.missing_percent?, 4));
            (format!("Missing at {load}"), missing as f64, label)
        }
    })
}

fn plot(page: &mut String, title: &str, bars: &Bars) {
    let most = bars.iter().map(|(_, value, _)| *value).fold(0.0, f64::max);
    let height = bars.len() as f64 * BAR + 10.0;
    let _ =
        write!(page, "<h2>{}</h2><svg viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" role=\"img\">", escape(title));
    for (n, (name, value, label)) in bars.iter().enumerate() {
        let y = n as f64 * BAR;
        let length = if most > 0.0 { value / most * (WIDTH - 340.0) } else { 0.0 };
        let _ = write!(
            page,
            "<text x=\"150\" y=\"{}\" text-anchor=\"end\">{}</text><rect x=\"160\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" fill=\"#2f6f9f\"/>\
             <text x=\"{:.1}\" y=\"{}\">{}</text>",
            y + 18.0,
            escape(name),
            y + 4.0,
            BAR - 8.0,
            166.0 + length,
            y + 18.0,
            escape(label)
        );
    }
    page.push_str("</svg>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::Absent;

    #[test]
    fn the_words_of_others_are_no_markup() {
        let row = Row {
            contestant: "<script>x</script>".into(),
            runs: 1,
            missing: Some(1),
            missing_percent: Some(1.0),
            ..Row::default()
        };
        let report = Report {
            measure: "drop-rate",
            rows: vec![row],
            absent: vec![Absent { name: "a<b".into(), why: "\"c\"".into(), by_name: false }],
            ..Report::default()
        };
        let page = page(&report);
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;") && page.contains("a&lt;b"), "{page}");
        assert!(page.contains("<svg"));
    }
}
