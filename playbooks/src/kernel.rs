//! The one place that needs `unsafe`: becoming another user in a child process, and the few system calls that nobody
//! has wrapped safely.
#![allow(unsafe_code, reason = "nothing but a fork can take on a UID and leave the agent itself alone")]

use nix::libc;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

/// `FS_IMMUTABLE_FL` and `FS_APPEND_FL`: what keeps even root from removing a file.
const PINNED: libc::c_int = 0x10 | 0x20;

/// Sends SIGKILL to every process that `uid` may signal, as that user: the kernel visits all of them in one call,
/// which a chain of forks cannot outrun, as it does any loop over `/proc`.
pub(crate) fn kill_everything_of(uid: u32) -> io::Result<()> {
    // SAFETY: one system call on numbers. It is reached only as `uid`, never as root. ESRCH: there was nobody to kill.
    let kill = || unsafe {
        libc::kill(-1, libc::SIGKILL);
        Ok(())
    };
    // SAFETY: as above.
    unsafe { as_user(uid, kill) }
}

/// Does something as another user, in a child, since nothing else can take on a UID and leave the agent itself alone.
///
/// SAFETY: `act` calls async-signal-safe functions only.
unsafe fn as_user(uid: u32, act: impl FnOnce() -> nix::Result<()>) -> io::Result<()> {
    /// Beyond every error number.
    const NOT_BECOME: i32 = 255;
    if uid == 0 || uid == u32::MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "refusing to act as root"));
    }
    // SAFETY: the child calls async-signal-safe functions only and leaves by `_exit`, so it does not matter which
    // locks other threads held. It executes no program: with RLIMIT_NPROC used up that would fail.
    match unsafe { fork() }? {
        ForkResult::Child => unsafe {
            let became = libc::setresuid(uid, uid, uid) == 0;
            if !became || libc::getuid() != uid || libc::geteuid() != uid {
                libc::_exit(NOT_BECOME);
            }
            libc::_exit(act().map_or_else(|error| error as i32, |()| 0))
        },
        // The tenant may kill our child, which then wears the tenant's UID; the caller looks and tries again.
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) | WaitStatus::Signaled(..) => Ok(()),
            WaitStatus::Exited(_, errno) if errno != NOT_BECOME => Err(io::Error::from_raw_os_error(errno)),
            other => Err(io::Error::other(format!("could not become uid {uid}: {other:?}"))),
        },
    }
}

/// Whether the kernel knows no process with this real UID. One system call visits all of them, so that a chain of forks
/// cannot hide from it, either.
pub(crate) fn nobody_runs_as(uid: u32) -> bool {
    nix::Error::clear();
    // SAFETY: a plain system call on numbers.
    let priority = unsafe { libc::getpriority(libc::PRIO_USER, uid) };
    // -1 is a priority, too.
    priority == -1 && nix::Error::last() == nix::Error::ESRCH
}

/// Objects of System V that outlive the processes that made them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ipc {
    SharedMemory,
    Queue,
    Semaphores,
}

/// Owner or creator may remove it. Root may not in most containers, as that takes CAP_SYS_ADMIN, so it is done as `uid`.
/// One that has gone already is no error.
pub(crate) fn ipc_remove(kind: Ipc, id: i32, uid: u32) -> io::Result<()> {
    // SAFETY: IPC_RMID takes no argument beside the number, so there is nothing that the kernel reads or writes.
    let remove = || match nix::Error::result(unsafe {
        match kind {
            Ipc::SharedMemory => libc::shmctl(id, libc::IPC_RMID, ptr::null_mut()),
            Ipc::Queue => libc::msgctl(id, libc::IPC_RMID, ptr::null_mut()),
            Ipc::Semaphores => libc::semctl(id, 0, libc::IPC_RMID),
        }
    }) {
        Ok(_) | Err(nix::Error::EINVAL | nix::Error::EIDRM) => Ok(()),
        Err(error) => Err(error),
    };
    // SAFETY: one system call.
    unsafe { as_user(uid, remove) }
}

/// Takes "immutable" and "append only" off a file or folder that is open for reading; says whether there was anything
/// to take off. A file system without such flags has none.
pub(crate) fn unpin(file: impl AsFd) -> io::Result<bool> {
    let fd = file.as_fd().as_raw_fd();
    let mut flags: libc::c_int = 0;
    // SAFETY: whatever the request's number says, the kernel writes an `int` here, which outlives the call.
    let read = unsafe { libc::ioctl(fd, libc::FS_IOC_GETFLAGS, ptr::from_mut(&mut flags)) };
    if nix::Error::result(read).is_err() || flags & PINNED == 0 {
        return Ok(false);
    }
    flags &= !PINNED;
    // SAFETY: likewise, the kernel reads an `int`.
    let written = unsafe { libc::ioctl(fd, libc::FS_IOC_SETFLAGS, ptr::from_ref(&flags)) };
    match nix::Error::result(written) {
        Ok(_) => Ok(true),
        Err(nix::Error::EPERM) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is immutable, and taking that off needs CAP_LINUX_IMMUTABLE, which is missing here",
        )),
        Err(error) => Err(error.into()),
    }
}
