//! The invariants that ARCHITECTURE.md states, held by a test.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use crate::{generate, root};

/// Which crates of ours a crate may know, and which crates of others only it may know.
struct Rule {
    name: &'static str,
    knows: &'static [&'static str],
    only_here: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule { name: "capture", knows: &[], only_here: &[] },
    Rule { name: "netdev", knows: &["capture"], only_here: &[] },
    Rule { name: "capture-afpacket", knows: &["capture", "netdev"], only_here: &[] },
    Rule { name: "capture-netmap", knows: &["capture", "netdev"], only_here: &[] },
    Rule { name: "capture-afxdp", knows: &["capture", "netdev"], only_here: &[] },
    Rule { name: "capture-pcap", knows: &["capture", "netdev"], only_here: &["libloading"] },
    Rule { name: "capture-pfring", knows: &["capture", "netdev"], only_here: &["libloading"] },
    Rule { name: "pktgen", knows: &["capture"], only_here: &[] },
    Rule { name: "pipeline", knows: &["capture"], only_here: &[] },
    Rule { name: "shipper", knows: &["pipeline"], only_here: &["rdkafka", "rdkafka-sys"] },
    Rule {
        name: "ringtap",
        knows: &[
            "capture",
            "capture-afpacket",
            "capture-afxdp",
            "capture-netmap",
            "capture-pcap",
            "capture-pfring",
            "netdev",
            "pipeline",
            "pktgen",
            "shipper",
        ],
        only_here: &["anyhow"],
    },
    // Not part of the product: for tests and benches, see `not_in_the_product`.
    Rule { name: "testkit", knows: &["capture", "netdev", "pipeline"], only_here: &[] },
    Rule {
        name: "xtask",
        knows: &["capture", "capture-afpacket", "capture-afxdp", "capture-pcap", "pipeline", "shipper", "testkit"],
        only_here: &["anyhow", "rdkafka", "rdkafka-sys"],
    },
];

/// What no crate may depend on: it would link libpcap, which is looked up at run time.
const NOWHERE: &[&str] = &["pcap", "pcap-sys", "libpcap-sys", "rawsock"];

/// Files above this are probably two.
const MAX_LINES: usize = 450;

/// Fails with all that is wrong.
pub(crate) fn check() -> Result<()> {
    let mut wrong = arrows()?;
    for file in rust_files()? {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        wrong.extend(in_file(&file, &text));
    }
    if let Err(error) = generate::check() {
        wrong.push(format!("{error:#}"));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{}", wrong.join("\n"))
}

/// Arrows between crates point one way.
fn arrows() -> Result<Vec<String>> {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec()?;
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        match RULES.iter().find(|rule| rule.name == package.name.as_str()) {
            Some(rule) => wrong.extend(of_package(package, rule)),
            None => wrong.push(format!("crate {} has no rule in xtask/src/tidy.rs", package.name)),
        }
    }
    Ok(wrong)
}

fn of_package(package: &Package, rule: &Rule) -> Vec<String> {
    let mut wrong = Vec::new();
    for dependency in &package.dependencies {
        let name = dependency.name.as_str();
        let ours = RULES.iter().any(|rule| rule.name == name);
        if NOWHERE.contains(&name) {
            wrong.push(format!("crate {} must not depend on {name}: libpcap is looked up at run time", rule.name));
        }
        // Tests may know more, but nothing outside of tests may know what is for tests.
        if dependency.kind == DependencyKind::Development {
            continue;
        }
        if ours && !rule.knows.contains(&name) {
            wrong.push(format!("crate {} must not depend on {name}", rule.name));
        }
        let kept =
            RULES.iter().filter(|other| other.only_here.contains(&name)).map(|other| other.name).collect::<Vec<_>>();
        if !kept.is_empty() && !kept.contains(&rule.name) {
            wrong.push(format!("crate {} must not depend on {name}: that is for {}", rule.name, kept.join(" and ")));
        }
    }
    wrong
}

/// All of ours, without what cargo makes.
fn rust_files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("crates"), root().join("xtask"), root().join("fuzz")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

fn in_file(path: &Path, text: &str) -> Vec<String> {
    let name = path.strip_prefix(root()).unwrap_or(path).display();
    let mut wrong = Vec::new();
    let in_sys = path.components().any(|part| matches!(part.as_os_str().to_str(), Some("sys" | "sys.rs")));
    let mut code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    // Written so that this file does not find itself.
    let unsafe_code = ["{", "fn", "impl", "extern"].map(|what| format!("{}safe {what}", "un"));
    if !in_sys && code.any(|line| unsafe_code.iter().any(|pattern| line.contains(pattern))) {
        wrong.push(format!("{name}: unsafe has its home in sys modules"));
    }
    if !text.starts_with("//!") && !text.starts_with("#![") && !name.to_string().starts_with("fuzz") {
        wrong.push(format!("{name}: the first comment has to say what the module holds"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        wrong.push(format!("{name}: {lines} lines, {MAX_LINES} are allowed: it is probably two modules"));
    }
    for word in ["TODO", "FIXME", "XXX"] {
        if !path.ends_with("tidy.rs") && text.contains(word) {
            wrong.push(format!("{name}: {word} is unfinished work"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        if let Err(error) = check() {
            panic!("{error}");
        }
    }

    #[test]
    fn unsafe_outside_of_sys_is_found() {
        let block = format!("//! A module.\nfn f() {{ {}safe {{ g() }} }}\n", "un");
        assert_eq!(in_file(Path::new("crates/x/src/lib.rs"), &block).len(), 1);
        assert_eq!(in_file(Path::new("crates/x/src/sys/lib.rs"), &block).len(), 0);
    }
}
