//! Files that list machines: what stands in them, in whichever of four formats, and what of it can be sent.
//!
//! No error shows a value of the file: where columns are mixed up, any of them may be a password.

mod ansible;
mod check;
#[cfg(test)]
mod check_tests;
mod format;
mod jump;
mod key_files;
mod known_hosts;
#[cfg(any(test, fuzzing))]
pub(crate) mod laws;
mod txt;
mod yaml;
mod yml;

pub(crate) use check::{ACCEPT_NEW, Completion};
pub(crate) use format::Format;
pub(crate) use key_files::{KeyFiles, private_key};
pub(crate) use known_hosts::KnownHosts;

use model::ssh::SshAccess;
use model::wire::MachineCreate;
use std::collections::BTreeMap;
use std::fmt;

/// More than anybody lists by hand. A larger file, or a range that names more, is a mistake.
const MOST_MACHINES: usize = 10_000;

/// A machine as the file has it, or why it can not be made out.
pub(crate) struct Found {
    pub(crate) line: u64,
    pub(crate) name: String,
    pub(crate) said: Result<Said, String>,
}

/// What a file says of one machine. None of it has been looked at yet.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) host: String,
    pub(crate) port: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Its `jump` may be a machine's name or its address, as in `user@host:port`.
    pub(crate) access: SshAccess,
    /// On this computer, to be sent.
    pub(crate) private_key_file: Option<String>,
}

/// A machine as it is to be sent, or why it can not be.
pub(crate) struct Entry {
    pub(crate) line: u64,
    pub(crate) name: String,
    pub(crate) machine: Result<MachineCreate, String>,
    /// How many others of the file have to be there before it: those it is reached through.
    pub(crate) level: usize,
}

impl Entry {
    fn refuse(&mut self, why: &str) {
        if self.machine.is_ok() {
            self.machine = Err(format!("line {}: {why}", self.line));
        }
    }
}

/// Nothing of the file can be trusted to mean what it says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    line: u64,
    column: Option<u64>,
    why: String,
}

impl Malformed {
    fn at(line: u64, why: impl Into<String>) -> Self {
        Self { line, column: None, why: why.into() }
    }

    fn too_many(line: u64) -> Self {
        Self::at(line, format!("these are more than {MOST_MACHINES} machines: split the file"))
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            Some(column) => write!(f, "line {}, column {column}: {}", self.line, self.why),
            None => write!(f, "line {}: {}", self.line, self.why),
        }
    }
}

/// `path` is only asked for its ending.
pub(crate) fn parse(text: &str, format: Format, path: &str) -> Result<Vec<Found>, Malformed> {
    // As some editors begin a file.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.starts_with("$ANSIBLE_VAULT;") {
        return Err(Malformed::at(1, "is encrypted: `ansible-vault view FILE | berth machine import -`"));
    }
    let found = match format.or_guessed(text, path)? {
        Format::Txt => txt::parse(text),
        Format::Yml => yml::parse(text),
        Format::AnsibleYaml => ansible::parse_yaml(text),
        Format::AnsibleIni | Format::Auto => ansible::parse_ini(text),
    }?;
    match found.get(MOST_MACHINES) {
        Some(first_too_many) => Err(Malformed::too_many(first_too_many.line)),
        None => Ok(found),
    }
}

/// Lines with their numbers, without those that say nothing.
fn lines<'a>(text: &'a str, comments: &'static [char]) -> impl Iterator<Item = (u64, &'a str)> {
    let numbered = (1..).zip(text.lines().map(str::trim));
    numbered.filter(move |(_, line)| !line.is_empty() && !line.starts_with(comments))
}
