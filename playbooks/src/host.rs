//! What an agent can see of a machine and do to it.

use model::cleaning::Residue;
use model::{AssignmentId, UidRange, UserName, report::Facts};
use serde::{Deserialize, Serialize};
use std::{io, time::Duration};

/// An account as Berth knows it: the key to everything of it on a machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Who {
    pub assignment: AssignmentId,
    pub name: UserName,
    /// Also the GID of its private group.
    pub uid: u32,
}

/// A file of `/etc` that says who there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Db {
    Passwd,
    Shadow,
    Group,
    Gshadow,
    Subuid,
    Subgid,
}

impl Db {
    pub const ALL: [Db; 6] = [Db::Passwd, Db::Shadow, Db::Group, Db::Gshadow, Db::Subuid, Db::Subgid];

    pub fn file_name(self) -> &'static str {
        match self {
            Db::Passwd => "passwd",
            Db::Shadow => "shadow",
            Db::Group => "group",
            Db::Gshadow => "gshadow",
            Db::Subuid => "subuid",
            Db::Subgid => "subgid",
        }
    }
}

/// What stands where an account's home belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    Absent,
    /// Only the hidden folder of an attempt that was cut off.
    Unfinished,
    /// There is something that we cannot look into, such as a file system of the tenant's own.
    Unreadable(String),
    Present {
        owner: u32,
        /// The contents of `.ssh/authorized_keys`; absent if that is no plain file there.
        keys: Option<Vec<u8>>,
        /// Whether there is anything called `.ssh`.
        ssh: bool,
    },
}

/// What an account leaves beside its home and its entries, in the order it is removed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Litter {
    /// What would start something in its name again: cron, at, lingering.
    Jobs,
    /// File systems in its home and those it mounted elsewhere.
    Mounts,
    /// What outlives processes in the kernel.
    Ipc,
    /// Its lines in the `-` copies of the account databases.
    Backups,
    /// Files of its UID anywhere on local file systems, and access lists that name it.
    Files,
}

/// One thing that was found, and whether it is gone now; otherwise why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub uid: u32,
    pub kind: Residue,
    /// Worded for an operator. It may hold a tenant's text, escaped.
    pub what: String,
    pub removed: Result<(), String>,
}

/// What one look for litter came to. Nothing found and nothing unswept: there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleared {
    pub found: Vec<Found>,
    /// Places that were too large to be looked through, and why.
    pub unswept: Vec<String>,
}

/// One machine. Every method does one thing, may be repeated, and is judged by what is seen afterwards, not by its
/// result: an error does not say that nothing happened.
pub trait Host: Send {
    /// Without the agent's version, which a machine does not know.
    fn facts(&mut self) -> io::Result<Facts>;
    /// Time since boot, for measuring.
    fn uptime(&mut self) -> Duration;
    /// Does nothing for a while, so that other machines on the same hardware come first.
    fn rest(&mut self, lasts: Duration);
    /// Whether the kernel lets accounts have all of these UIDs; containers may map fewer.
    fn has_uids(&mut self, uids: UidRange) -> io::Result<bool>;

    fn read_ledger(&mut self) -> io::Result<Option<Vec<u8>>>;
    /// Durable when it returns.
    fn write_ledger(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Sets disk space aside, beside the ledger and the account databases, for [`Host::ballast_drop`] to free.
    fn ballast_keep(&mut self) -> io::Result<()>;
    fn ballast_drop(&mut self) -> io::Result<()>;

    /// Keeps `useradd` and its like away from the account databases; waits for them a little.
    fn lock_accounts(&mut self) -> io::Result<()>;
    fn unlock_accounts(&mut self) -> io::Result<()>;
    fn read(&mut self, db: Db) -> io::Result<Option<Vec<u8>>>;
    /// Each file atomically and durably, in this order; not all of them at once.
    fn replace_all(&mut self, files: &[(Db, Vec<u8>)]) -> io::Result<()>;
    /// Makes the account's password match nothing, in place: for when a full disk does not let `/etc/shadow` be replaced.
    fn password_spoil(&mut self, who: &Who) -> io::Result<()>;
    /// Whether this path is a program.
    fn has_program(&mut self, path: &str) -> io::Result<bool>;

    fn home(&mut self, who: &Who) -> io::Result<Home>;
    /// `/home/NAME` out of the skeleton, complete from the moment it can be seen. It must not exist before.
    fn home_create(&mut self, who: &Who, keys: &[u8]) -> io::Result<()>;
    /// The home with all that is below it, and leftovers of making it.
    fn home_remove(&mut self, who: &Who) -> io::Result<()>;
    fn keys_write(&mut self, who: &Who, keys: &[u8]) -> io::Result<()>;
    /// Takes all of `.ssh` out of the home.
    fn keys_remove(&mut self, who: &Who) -> io::Result<()>;

    /// Whether sshd also reads keys from a folder of root's, where an `expiry-time` cannot be taken out by the account.
    fn has_root_keys(&mut self) -> io::Result<bool>;
    fn root_keys(&mut self, who: &Who) -> io::Result<Option<Vec<u8>>>;
    fn root_keys_write(&mut self, who: &Who, keys: &[u8]) -> io::Result<()>;
    fn root_keys_remove(&mut self, who: &Who) -> io::Result<()>;

    /// The account's file below `/etc/sudoers.d`.
    fn sudo(&mut self, who: &Who) -> io::Result<Option<Vec<u8>>>;
    fn sudo_write(&mut self, who: &Who, rule: &[u8]) -> io::Result<()>;
    fn sudo_remove(&mut self, who: &Who) -> io::Result<()>;
    /// Whether sudo reads files from `/etc/sudoers.d`.
    fn has_sudo(&mut self) -> io::Result<bool>;

    fn mail(&mut self, who: &Who) -> io::Result<bool>;
    fn mail_remove(&mut self, who: &Who) -> io::Result<()>;

    /// Living processes with this UID as real, effective, saved or file system UID.
    fn processes(&mut self, uid: u32) -> io::Result<Vec<i32>>;
    /// Ends them and waits a moment for them to be gone.
    fn kill_all(&mut self, uid: u32) -> io::Result<()>;

    /// Finds and removes; goes on after what cannot be removed. Seen clean is a second call that finds nothing.
    fn litter_remove(&mut self, whose: &[Who], litter: Litter) -> io::Result<Cleared>;

    /// Sets the line for everybody who logs in, and what `berth-agent status` shows to anybody; writes only what differs.
    /// Empty: there is none.
    fn notice_write(&mut self, line: &str, status: &[u8]) -> io::Result<()>;
    /// Writes to the terminals this account is logged in at.
    fn tell(&mut self, who: &Who, text: &str) -> io::Result<()>;
}
