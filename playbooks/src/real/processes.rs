//! Processes, as `/proc` shows them.

use super::if_there;
use crate::kernel;
use std::{fs, io, thread, time::Duration};

const ROUNDS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(5);

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

fn is_alive_as(status: &str, uid: u32) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let dead = field("State:").is_some_and(|state| state.trim_start().starts_with(['Z', 'X']));
    let uids = field("Uid:").unwrap_or_default();
    !dead && uids.split_whitespace().any(|text| text.parse() == Ok(uid))
}

pub(super) fn kill_all(uid: u32) -> io::Result<()> {
    for _ in 0..ROUNDS {
        kernel::kill_everything_of(uid)?;
        if of(uid)?.is_empty() {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
    Err(io::Error::other(format!("processes of uid {uid} outlive SIGKILL: {:?}", of(uid)?)))
}
