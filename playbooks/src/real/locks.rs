//! The locks of the account databases: the one of lckpwdf(3), which glibc, PAM and shadow-utils take, and the
//! `/etc/passwd.lock` files of shadow-utils. Those outlive their owner when it is killed, and its PID may belong to
//! somebody else by then, so we judge ourselves whether one is stale.

use super::if_there;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{thread, time::Duration};

const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);
/// A lock file without a PID is one whose owner died between creating and writing it.
const EMPTY_FOR: i64 = 10;
const LOCKED: [&str; 6] = ["passwd", "group", "gshadow", "shadow", "subuid", "subgid"];

/// Held until dropped.
pub(super) struct Locks {
    files: Vec<PathBuf>,
    /// The kernel frees this one, even if we are killed.
    _pwd: File,
}

impl Locks {
    pub(super) fn take(etc: &Path) -> io::Result<Self> {
        let pwd = lckpwdf(&etc.join(".pwd.lock"))?;
        let mut locks = Self { files: Vec::new(), _pwd: pwd };
        // One name for all: nobody else is here, and the next one removes what somebody who was killed has left.
        let ours = etc.join(".berth-lock");
        if_there(fs::remove_file(&ours))?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&ours)?;
        file.write_all(std::process::id().to_string().as_bytes())?;
        let now = file.metadata()?.mtime();
        let taken = LOCKED.iter().try_for_each(|name| {
            let path = etc.join(format!("{name}.lock"));
            link_patiently(&ours, &path, now)?;
            locks.files.push(path);
            Ok(())
        });
        fs::remove_file(&ours)?;
        taken.map(|()| locks)
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        for path in self.files.iter().rev() {
            let _ = fs::remove_file(path);
        }
    }
}

pub(super) fn lckpwdf(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let whole = libc::flock {
        l_type: libc::F_WRLCK as _,
        l_whence: libc::SEEK_SET as _,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    for _ in 0..TRIES {
        match fcntl(&file, FcntlArg::F_SETLK(&whole)) {
            Ok(_) => return Ok(file),
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => thread::sleep(PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
    Err(busy(path, "another program"))
}

/// link(2) succeeds for one only, which is how shadow-utils decides, too.
fn link_patiently(ours: &Path, lock: &Path, now: i64) -> io::Result<()> {
    let mut owner = None;
    for _ in 0..TRIES {
        match fs::hard_link(ours, lock) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other,
        }
        owner = live_owner(lock, now)?;
        match owner {
            Some(_) => thread::sleep(PAUSE),
            None => if_there(fs::remove_file(lock)).map(drop)?,
        }
    }
    Err(busy(lock, &format!("process {}", owner.unwrap_or_default())))
}

fn busy(lock: &Path, owner: &str) -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, format!("{owner} holds {}; tried again soon", lock.display()))
}

/// Who holds it; absent: it is stale. A PID of 0 stands for an owner that has not written its own yet.
fn live_owner(lock: &Path, now: i64) -> io::Result<Option<i32>> {
    let Some((meta, text)) = if_there(fs::metadata(lock).and_then(|meta| Ok((meta, fs::read(lock)?))))?
    else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&text);
    let Ok(pid) = text.trim_matches(['\0', ' ', '\n']).parse::<i32>() else {
        return Ok((now - meta.mtime() < EMPTY_FOR).then_some(0));
    };
    let ours = pid == std::process::id() as i32;
    // A second of grace, because boot time is known to the second only.
    let started_before = started_at(pid)?.is_some_and(|started| started <= meta.mtime() + 1);
    Ok((started_before && !ours).then_some(pid))
}

/// In seconds since 1970; absent: no such process.
fn started_at(pid: i32) -> io::Result<Option<i64>> {
    let Some(stat) = if_there(fs::read_to_string(format!("/proc/{pid}/stat")))? else { return Ok(None) };
    // The name in parentheses may contain anything; field 22 is the 20th after it.
    let ticks =
        stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse::<i64>().ok());
    let boot = fs::read_to_string("/proc/stat")?;
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<i64>().ok());
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok(ticks.zip(boot).map(|(ticks, boot)| boot + ticks / per_second))
}
