//! What taking an account away came to: kept with its assignment, for whoever asks what was left behind.

use crate::{AssignmentId, UserName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A kind of thing that somebody leaves on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Residue {
    Process,
    Key,
    Sudo,
    Cron,
    At,
    Linger,
    Mount,
    /// Shared memory, message queues and semaphores of System V.
    Ipc,
    Home,
    Mail,
    /// Lines in the account databases.
    Entry,
    /// Lines in their `-` copies.
    Backup,
    /// Anything with the account's UID that lies elsewhere.
    File,
    /// An entry for the account in the access list of somebody else's file.
    Acl,
}

impl Residue {
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Key => "key",
            Self::Sudo => "sudo",
            Self::Cron => "cron",
            Self::At => "at",
            Self::Linger => "linger",
            Self::Mount => "mount",
            Self::Ipc => "ipc",
            Self::Home => "home",
            Self::Mail => "mail",
            Self::Entry => "entry",
            Self::Backup => "backup",
            Self::File => "file",
            Self::Acl => "acl",
        }
    }
}

/// A part of cleaning, in the order they are done in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CleaningStep {
    /// Password, keys, sudo, cron, at, lingering.
    Lock,
    Kill,
    /// Mounts and interprocess communication.
    Detach,
    /// Home and mail.
    Files,
    /// The account databases and their copies.
    Entries,
    /// Everything else with the account's UID.
    Sweep,
}

/// Something that was found and is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Refused {
    pub kind: Residue,
    pub what: String,
    pub why: String,
}

/// All attempts together, but for `refused` and `unswept`, which are the last one's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Cleaning {
    pub assignment: AssignmentId,
    pub name: UserName,
    pub uid: u32,
    pub began_at: Timestamp,
    /// Absent while something is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    pub attempts: u32,
    /// Microseconds.
    #[serde(default)]
    pub took: BTreeMap<CleaningStep, u64>,
    /// How many of each kind.
    #[serde(default)]
    pub removed: BTreeMap<Residue, u32>,
    /// The first few of them, worded.
    #[serde(default)]
    pub examples: Vec<String>,
    #[serde(default)]
    pub refused: Vec<Refused>,
    /// Where the sweep stopped for want of time, and why.
    #[serde(default)]
    pub unswept: Vec<String>,
}

impl Cleaning {
    /// Of each list, so many lines are kept: what somebody leaves behind must not fill our own disk.
    pub const MOST_LINES: usize = 20;
    /// Of each line, so many characters.
    pub const LONGEST_LINE: usize = 300;

    pub fn began(assignment: AssignmentId, name: UserName, uid: u32, now: Timestamp) -> Self {
        Self {
            assignment,
            name,
            uid,
            began_at: now,
            ended_at: None,
            attempts: 0,
            took: BTreeMap::new(),
            removed: BTreeMap::new(),
            examples: Vec::new(),
            refused: Vec::new(),
            unswept: Vec::new(),
        }
    }

    /// All steps together, in microseconds, whatever an agent claims.
    pub fn took_in_all(&self) -> u64 {
        self.took.values().fold(0, |sum, step| sum.saturating_add(*step))
    }
}
