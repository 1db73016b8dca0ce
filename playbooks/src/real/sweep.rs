//! Files of accounts that are to leave, wherever they lie: one walk over every local file system for all of them.
//!
//! Places where anybody may write come first and are looked through whatever it takes. What is behind that, often a
//! whole system of somebody else's files, is looked through within a budget, and what was left out is said.

mod acl;
mod give;
mod walk;

#[cfg(any(test, fuzzing))]
pub(super) use acl::law as acl_law;

use super::{found, mounts};
use crate::host::{Cleared, Who};
use model::cleaning::Residue;
use mounts::Mount;
use nix::sys::stat::FileStat;
use std::collections::HashSet;
use std::path::Path;
use std::{io, time::Duration};

const LIKELY: [&str; 8] = ["tmp", "var/tmp", "dev/shm", "dev/mqueue", "run", "home", "var/mail", "var/spool"];
/// Kinds that keep files of their own here. What belongs to other machines, to the kernel or to a tenant's program
/// (FUSE) is not looked at: it might not answer.
const LOCAL: [&str; 16] = [
    "ext2",
    "ext3",
    "ext4",
    "xfs",
    "btrfs",
    "f2fs",
    "zfs",
    "bcachefs",
    "jfs",
    "overlay",
    "tmpfs",
    "ramfs",
    "devtmpfs",
    "hugetlbfs",
    "vfat",
    "mqueue",
];
const IN_MEMORY: [&str; 5] = ["tmpfs", "ramfs", "devtmpfs", "hugetlbfs", "mqueue"];
/// Of each sweep so many things are worded; what comes after them is only counted,
const WORDED: usize = 1_000;
/// and so many are counted at most, as somebody may leave millions behind; but for those that stay.
const COUNTED: usize = 100_000;
/// How many entries are looked at between two looks at the clock.
const STRIDE: u32 = 256;

/// For everything but the likely places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    pub(super) entries: u32,
    pub(super) time: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { entries: 500_000, time: Duration::from_secs(2) }
    }
}

pub(super) fn sweep(root: &Path, whose: &[Who], budget: Budget) -> io::Result<Cleared> {
    let root = root.canonicalize()?;
    let mounts = mounts::all()?;
    let uids = whose.iter().map(|who| who.uid).collect();
    let mut sweep = Sweep { uids, seen: HashSet::new(), left: None, cleared: Cleared::default() };
    // Some of them are links of root's to each other.
    let likely = LIKELY.iter().filter_map(|place| root.join(place).canonicalize().ok());
    for place in likely.filter(|place| place.starts_with(&root)) {
        sweep.look_through_what_matters(&place, &mounts);
    }
    sweep.left = Some((budget, super::since_boot() + budget.time));
    // What is in memory is small and soon done, while the root may be larger than any budget.
    let below = mounts.iter().filter(|mount| mount.point.starts_with(&root));
    let (small, large): (Vec<&Mount>, Vec<&Mount>) =
        below.partition(|mount| IN_MEMORY.contains(&mount.kind.as_str()));
    small.iter().for_each(|mount| sweep.look_through(&mount.point, &mounts));
    sweep.look_through_what_matters(&root, &mounts);
    large.iter().for_each(|mount| sweep.look_through(&mount.point, &mounts));
    Ok(sweep.cleared)
}

/// What all walks share.
struct Sweep {
    uids: Vec<u32>,
    /// Device and inode of folders from whose top a walk began.
    seen: HashSet<(u64, u64)>,
    /// Absent: no limit yet. Otherwise how much there is left, and until when since boot.
    left: Option<(Budget, Duration)>,
    cleared: Cleared,
}

impl Sweep {
    /// It is said if that cannot be done.
    fn look_through_what_matters(&mut self, place: &Path, mounts: &[Mount]) {
        match obstacle(place, mounts) {
            Some(why) => self.unswept(&place.display().to_string(), &why),
            None => self.look_through(place, mounts),
        }
    }

    fn look_through(&mut self, place: &Path, mounts: &[Mount]) {
        if is_read_only(place, mounts) || obstacle(place, mounts).is_some() {
            return;
        }
        if let Err(why) = walk::walk(self, place) {
            self.unswept(&super::at::shown(place.as_os_str().as_encoded_bytes()), &why);
        }
    }

    fn unswept(&mut self, place: &str, why: &str) {
        if self.cleared.unswept.len() < WORDED {
            self.cleared.unswept.push(format!("{place}: {why}"));
        }
    }

    /// One of the accounts, if the owner is one.
    fn owner(&self, stat: &FileStat) -> Option<u32> {
        self.uids.contains(&stat.st_uid).then_some(stat.st_uid)
    }

    fn group(&self, stat: &FileStat) -> Option<u32> {
        self.uids.contains(&stat.st_gid).then_some(stat.st_gid)
    }

    fn report(&mut self, uid: u32, kind: Residue, what: impl FnOnce() -> String, removed: io::Result<()>) {
        let count = self.cleared.found.len();
        let what = if count < WORDED { what() } else { String::new() };
        if count < COUNTED || removed.is_err() {
            self.cleared.found.push(found(uid, kind, what, removed));
        }
    }

    /// Whether one more entry may be looked at.
    fn spend(&mut self) -> Result<(), String> {
        let Some((left, until)) = &mut self.left else { return Ok(()) };
        if left.entries == 0 {
            return Err("there are more files than are looked at in one sweep".into());
        }
        left.entries -= 1;
        if left.entries.is_multiple_of(STRIDE) && super::since_boot() > *until {
            left.entries = 0;
            return Err(format!("there is more than can be looked at within {:?}", left.time));
        }
        Ok(())
    }
}

/// The mount that it lies on: the one with the longest path to it, and of those on the same path the newest.
fn mount_of<'a>(place: &Path, mounts: &'a [Mount]) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| place.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

fn is_read_only(place: &Path, mounts: &[Mount]) -> bool {
    mount_of(place, mounts).is_some_and(|mount| mount.read_only)
}

/// Why a place is not looked through.
fn obstacle(place: &Path, mounts: &[Mount]) -> Option<String> {
    // A way through a FUSE may never end.
    let through =
        mounts.iter().find(|mount| mount.kind.starts_with("fuse") && place.starts_with(&mount.point));
    let on = mount_of(place, mounts).filter(|mount| !LOCAL.contains(&mount.kind.as_str()));
    through.or(on).map(|mount| format!("it lies on a file system of another kind ({})", mount.kind))
}

#[cfg(test)]
mod tests;
