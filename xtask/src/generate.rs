//! Pages made from tables in the code.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::root;

const FIELDS: &str = "docs/fields.md";

/// Writes them all.
pub(crate) fn write() -> Result<()> {
    fs::write(root().join(FIELDS), pipeline::schema::to_markdown()).context(FIELDS)
}

/// Fails if one is not what would be written.
pub(crate) fn check() -> Result<()> {
    let present = fs::read_to_string(root().join(FIELDS)).context(FIELDS)?;
    ensure!(present == pipeline::schema::to_markdown(), "{FIELDS} is out of date: run `cargo xtask gen`");
    Ok(())
}
