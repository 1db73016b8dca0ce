//! Processes, as `/proc` shows them.

use super::if_there;
use crate::kernel;
use model::UidRange;
use std::{fs, io, thread, time::Duration};

const ROUNDS: u32 = 125;
const PAUSE: Duration = Duration::from_millis(2);

/// A process that only borrows the UID (a daemon of root's acting for the tenant for a moment) is listed as well, and
/// is waited for rather than killed: `kill(-1)` as the tenant does not reach it.
pub(super) fn of(uid: u32) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        match if_there(fs::read_to_string(entry.path().join("status"))) {
            Ok(Some(status)) if is_alive_as(&status, uid) => found.push(pid),
            // ESRCH: it ended while we were reading.
            Err(error) if error.raw_os_error() != Some(nix::libc::ESRCH) => return Err(error),
            _ => {}
        }
    }
    Ok(found)
}

pub(super) fn is_alive_as(status: &str, uid: u32) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let dead = field("State:").is_some_and(|state| state.trim_start().starts_with(['Z', 'X']));
    let uids = field("Uid:").unwrap_or_default();
    !dead && uids.split_whitespace().any(|text| text.parse() == Ok(uid))
}

pub(super) fn kill_all(uid: u32) -> io::Result<()> {
    for round in 0..ROUNDS {
        // The kernel says so of real UIDs in one call, but counts the dead that nobody has buried; the scan costs more.
        if (round > 0 || kernel::nobody_runs_as(uid)) && of(uid)?.is_empty() {
            return Ok(());
        }
        kernel::kill_everything_of(uid)?;
        if !kernel::nobody_runs_as(uid) {
            thread::sleep(PAUSE);
        }
    }
    Err(io::Error::other(format!("processes of uid {uid} outlive SIGKILL: {:?}", of(uid)?)))
}

/// Whether processes here can have all of these UIDs and GIDs.
pub(super) fn has_ids(ids: UidRange) -> io::Result<bool> {
    let maps = ["/proc/self/uid_map", "/proc/self/gid_map"];
    maps.iter().try_fold(true, |all, path| Ok(all && covers(&fs::read_to_string(path)?, ids)))
}

/// Lines of a map: first one inside, first one outside, how many.
pub(super) fn covers(map: &str, ids: UidRange) -> bool {
    let mut ranges: Vec<(u64, u64)> = map
        .lines()
        .filter_map(|line| {
            let numbers: Vec<u64> = line.split_whitespace().map_while(|text| text.parse().ok()).collect();
            let [first, _, count] = numbers[..] else { return None };
            Some((first, first.saturating_add(count)))
        })
        .collect();
    ranges.sort_unstable();
    let mut next = u64::from(ids.first);
    for (first, end) in ranges {
        if first <= next {
            next = next.max(end);
        }
    }
    next > u64::from(ids.last)
}

#[test]
fn ids_are_there_if_the_maps_cover_them() {
    let ids: UidRange = "66000-99999".parse().unwrap();
    assert!(covers("         0          0 4294967295\n", ids));
    assert!(covers("70000 9 30000\n0 1000 1\n1 100000 69999\n", ids));
    for less in [
        "",
        "0 0 65536\n",
        "0 0 70000\n70001 70001 100000\n",
        "nonsense",
        "0 0",
        "18446744073709551615 0 1\n",
    ] {
        assert!(!covers(less, ids), "{less}");
    }
}
