//! Who stays on the machine to end accounts in time, if anybody does: the agent as a service, or a watcher that a visit
//! left. Never two.

use model::report::EndsBy;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use playbooks::real::private_folder;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{io, thread, time::Duration};

const FILE: &str = "resident.lock";
/// To end when asked to takes no longer.
const LONGEST_END: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(2);

/// As the kernel knows it: nothing is written to a disk that may be full, and what is read was never left by the dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resident {
    pid: i32,
    pub ends_by: EndsBy,
}

/// Of this process, until it ends or drops it. It must not open the file again: closing that would give the place up.
#[derive(Debug)]
pub struct Place {
    _lock: File,
}

impl Place {
    /// Absent: somebody else has it.
    pub fn claim(state: &Path, ends_by: EndsBy) -> io::Result<Option<Self>> {
        private_folder(state)?;
        Ok(claim(&state.join(FILE), length(ends_by))?.map(|lock| Self { _lock: lock }))
    }

    /// From whoever has it. The caller has the turn, so that nobody is stopped in the middle of something.
    pub fn take_over(state: &Path, ends_by: EndsBy) -> io::Result<Self> {
        if let Some(resident) = Resident::of(state)? {
            resident.end(state)?;
        }
        let taken = || io::Error::new(io::ErrorKind::ResourceBusy, "somebody else was faster");
        Self::claim(state, ends_by)?.ok_or_else(taken)
    }
}

impl Resident {
    pub fn of(state: &Path) -> io::Result<Option<Self>> {
        let holder = holder(&state.join(FILE))?;
        Ok(holder.map(|(pid, length)| Self { pid, ends_by: of_length(length) }))
    }

    /// Whether it is this very file that it runs. What cannot be known is taken for yes.
    pub(crate) fn runs(&self, program: &Path) -> bool {
        let id = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
        match (id(Path::new(&format!("/proc/{}/exe", self.pid))), id(program)) {
            (Ok(theirs), Ok(ours)) => theirs == ours,
            _ => true,
        }
    }

    /// Has it look at the ledger. Only for a watcher, which is ready for that from its first moment on.
    pub(crate) fn poke(&self) -> io::Result<()> {
        send(self.pid, Signal::SIGHUP)
    }

    /// Waits until it has ended.
    pub(crate) fn end(&self, state: &Path) -> io::Result<()> {
        end(self.pid, LONGEST_END, || Ok(Self::of(state)? == Some(*self)))
    }
}

/// For this process, until it ends or drops it. Absent: somebody else has it.
pub(crate) fn claim(file: &Path, length: i64) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(file)?;
    match fcntl(&file, FcntlArg::F_SETLK(&lock(length))) {
        Ok(_) => Ok(Some(file)),
        Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Who has it, and with which length.
pub(crate) fn holder(file: &Path) -> io::Result<Option<(i32, i64)>> {
    let file = match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut found = lock(1);
    fcntl(&file, FcntlArg::F_GETLK(&mut found))?;
    let is_free = i32::from(found.l_type) == libc::F_UNLCK;
    Ok((!is_free).then_some((found.l_pid, found.l_len)))
}

/// Waits until it has ended.
pub(crate) fn end(pid: i32, longest: Duration, is_there: impl Fn() -> io::Result<bool>) -> io::Result<()> {
    send(pid, Signal::SIGTERM)?;
    let mut waited = Duration::ZERO;
    while is_there()? {
        if waited >= longest {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("process {pid} does not end")));
        }
        thread::sleep(PAUSE);
        waited += PAUSE;
    }
    Ok(())
}

fn send(pid: i32, signal: Signal) -> io::Result<()> {
    // Zero: it lives in another namespace. To `kill` that would be ourselves.
    if pid <= 0 {
        return Err(io::Error::other("who is at work on this machine cannot be seen from here"));
    }
    Ok(kill(Pid::from_raw(pid), signal)?)
}

/// The length of the lock says who holds it.
fn length(ends_by: EndsBy) -> i64 {
    match ends_by {
        EndsBy::Agent => 1,
        EndsBy::Systemd => 2,
        EndsBy::Watcher => 3,
    }
}

fn of_length(length: i64) -> EndsBy {
    match length {
        1 => EndsBy::Agent,
        2 => EndsBy::Systemd,
        _ => EndsBy::Watcher,
    }
}

/// All of them have the first byte, so that there is one.
fn lock(length: i64) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: length,
        l_pid: 0,
    }
}
