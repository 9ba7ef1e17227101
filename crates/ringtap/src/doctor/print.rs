//! How findings are shown.

use std::fmt::Write;

use clap::ValueEnum;
use serde_json::json;

use super::finding::{Finding, Verdict};
use super::journal::{Deed, Outcome};

/// One JSON object on one line. `interfaces`: those that were looked at.
pub(crate) fn json(interfaces: &[String], findings: &[Finding], deeds: &[Deed]) -> String {
    format!("{}\n", json!({ "interfaces": interfaces, "findings": findings, "done": deeds }))
}

/// What was done, a line each. `did` is the word for that.
pub(crate) fn deeds(deeds: &[Deed], did: &str) -> String {
    let word = |outcome| match outcome {
        Outcome::Changed => did,
        Outcome::Skipped => "left alone",
        Outcome::Failed => "FAILED",
    };
    deeds.iter().map(|deed| format!("{}: {}\n", word(deed.outcome), deed.text)).collect()
}

/// What `--fix` did, and how to go on.
pub(crate) fn fixed(all: &[Deed], is_root: bool) -> String {
    if all.is_empty() {
        return "nothing to fix that is safe to change\n\n".to_owned();
    }
    let next = if all.iter().any(|deed| deed.outcome == Outcome::Changed) {
        "ringtap doctor --undo restores it"
    } else if is_root {
        "nothing was changed"
    } else {
        "nothing was changed, for --fix needs root: sudo ringtap doctor --fix"
    };
    format!("{}{next}\n\n", deeds(all, "did"))
}

/// The bad things first; what is good in one line for each topic.
pub(crate) fn text(findings: &[Finding]) -> String {
    let subject = |finding: &Finding| finding.interface.clone().unwrap_or_else(|| "machine".to_owned());
    let width = findings.iter().map(|finding| subject(finding).len()).max().unwrap_or(0);
    let mut out = String::new();
    let titles = [("Problems", "problem(s)"), ("Advice", "advice"), ("Not known", "unknown"), ("Good", "good")];
    for (place, (title, _)) in titles.iter().enumerate() {
        let these: Vec<&Finding> = findings.iter().filter(|finding| rank(&finding.verdict) == place).collect();
        if these.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{}{title}", if out.is_empty() { "" } else { "\n" });
        let mut rest = these.as_slice();
        while let [first, ..] = rest {
            let same = |finding: &&&Finding| (&finding.interface, finding.topic) == (&first.interface, first.topic);
            // Good ones share a line.
            let several = if first.verdict == Verdict::Good { rest.iter().take_while(same).count() } else { 1 };
            let (now, later) = rest.split_at(several);
            rest = later;
            let head = format!("  {:<width$}  {:<12}  ", subject(first), topic(first));
            let indent = " ".repeat(head.len());
            match &first.verdict {
                Verdict::Good => {
                    let present: Vec<&str> = now.iter().map(|finding| finding.present.as_str()).collect();
                    let _ = writeln!(out, "{head}{}", present.join(", "));
                }
                Verdict::Unknown(reason) => {
                    let _ = writeln!(out, "{head}{reason}");
                }
                Verdict::Problem | Verdict::Advice => {
                    let _ = writeln!(out, "{head}{}; wanted: {}", first.present, first.wanted);
                    let _ = writeln!(out, "{indent}{}", first.means);
                }
            }
            if let Some(command) = &first.command {
                let fixed = if first.fix.is_empty() { "" } else { "   # --fix does it" };
                let _ = writeln!(out, "{indent}$ {command}{fixed}");
            }
        }
    }
    let count = |place: usize| findings.iter().filter(|finding| rank(&finding.verdict) == place).count();
    let fixable = findings.iter().filter(|finding| !finding.fix.is_empty()).count();
    let counts: Vec<String> =
        titles.iter().enumerate().map(|(place, (_, word))| format!("{} {}", count(place), word)).collect();
    let _ = writeln!(out, "\n{}; --fix can change {fixable}", counts.join(", "));
    out
}

fn rank(verdict: &Verdict) -> usize {
    match verdict {
        Verdict::Problem => 0,
        Verdict::Advice => 1,
        Verdict::Unknown(_) => 2,
        Verdict::Good => 3,
    }
}

fn topic(finding: &Finding) -> String {
    finding.topic.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
