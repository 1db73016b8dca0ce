//! Passwords from files and from standard input: on a command line every process of the machine could read them.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// More than the longest password, and no more than that of a file given by mistake.
const LONGEST: u64 = 4096;

pub(crate) fn first_line(file: &Path) -> Result<String> {
    let open = || File::open(file).and_then(beginning);
    open().map(line).with_context(|| format!("`{}`", file.display()))
}

pub(crate) fn first_line_of_stdin() -> Result<String> {
    beginning(std::io::stdin().lock()).map(line).context("standard input")
}

fn beginning(source: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    source.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn line(text: String) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
