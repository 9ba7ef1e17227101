//! What we depend on: licences that we may use, and versions that stand there twice.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use cargo_metadata::MetadataCommand;

use crate::root;

/// Licences under which a dependency may be built into the binary.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates of which several versions are built, and why that cannot be helped now.
const DUPLICATES: &[(&str, &str)] = &[
    ("hashbrown", "simd-json's halfbrown, in tests only"),
    ("rand", "tls-parser's table of ciphers is made by an older phf; at build time only"),
    ("rand_core", "the same"),
    ("syn", "proc macros of tracing, rdkafka and tls-parser are still at versions 2 and 1; at build time only"),
];

/// Fails with all that is wrong.
pub(crate) fn check() -> Result<()> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(vec!["--locked".to_owned(), "--filter-platform=x86_64-unknown-linux-gnu".to_owned()])
        .exec()?;
    let mut wrong = Vec::new();
    let mut versions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for package in &metadata.packages {
        versions.entry(package.name.as_str()).or_default().push(package.version.to_string());
        let licence = package.license.as_deref().unwrap_or("none");
        if !allowed(licence) {
            wrong.push(format!("{} {} has the licence {licence:?}", package.name, package.version));
        }
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        if !DUPLICATES.iter().any(|(known, _)| known == name) {
            wrong.push(format!("{name} is there in versions {}", versions.join(" and ")));
        }
    }
    for (name, _) in DUPLICATES {
        if versions.get(name).is_none_or(|versions| versions.len() < 2) {
            wrong.push(format!("{name} is there once: take it from the list of duplicates"));
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    println!("{} packages, licences allowed, {} known duplicates", metadata.packages.len(), DUPLICATES.len());
    Ok(())
}

/// An SPDX expression of `OR` and `AND`, as crates use it: one of the alternatives must be wholly allowed.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], "").replace('/', " OR ");
    // `(A OR B) AND C` loses its brackets above; then every part must be allowed, which is stricter.
    let parts = |separator: &str| expression.split(separator).map(str::to_owned).collect::<Vec<_>>();
    let known = |licence: &str| LICENCES.contains(&licence.trim());
    if expression.contains(" AND ") {
        return parts(" AND ").iter().all(|part| part.split(" OR ").any(known));
    }
    parts(" OR ").iter().any(|part| known(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_read_as_spdx() {
        assert!(allowed("MIT OR Apache-2.0") && allowed("MIT/Apache-2.0") && allowed("Apache-2.0 WITH LLVM-exception"));
        assert!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!allowed("GPL-3.0") && !allowed("MIT AND GPL-3.0") && !allowed("none"));
    }
}
