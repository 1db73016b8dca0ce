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
    if uid == 0 || uid == u32::MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "refusing to kill everything of root"));
    }
    // SAFETY: the child calls async-signal-safe functions only and leaves by `_exit`, so it does not matter which
    // locks other threads held. It executes no program: with RLIMIT_NPROC used up that would fail.
    match unsafe { fork() }? {
        ForkResult::Child => unsafe { die_as(uid) },
        // The tenant may kill our child, which then wears the tenant's UID; the caller scans and tries again.
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) | WaitStatus::Signaled(..) => Ok(()),
            other => {
                Err(io::Error::other(format!("could not become uid {uid} to end its processes: {other:?}")))
            }
        },
    }
}

/// SAFETY: call in a freshly forked child only.
unsafe fn die_as(uid: u32) -> ! {
    // SAFETY: plain system calls on numbers. `kill(-1)` is reached only as `uid`, never as root.
    unsafe {
        let became = libc::setresuid(uid, uid, uid) == 0;
        if !became || libc::getuid() != uid || libc::geteuid() != uid {
            libc::_exit(1);
        }
        // ESRCH: there was nobody to kill.
        libc::kill(-1, libc::SIGKILL);
        libc::_exit(0)
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

/// One that has gone already is no error.
pub(crate) fn ipc_remove(kind: Ipc, id: i32) -> io::Result<()> {
    // SAFETY: IPC_RMID takes no argument beside the number, so there is nothing that the kernel reads or writes.
    let removed = unsafe {
        match kind {
            Ipc::SharedMemory => libc::shmctl(id, libc::IPC_RMID, ptr::null_mut()),
            Ipc::Queue => libc::msgctl(id, libc::IPC_RMID, ptr::null_mut()),
            Ipc::Semaphores => libc::semctl(id, 0, libc::IPC_RMID),
        }
    };
    match nix::Error::result(removed) {
        Ok(_) | Err(nix::Error::EINVAL | nix::Error::EIDRM) => Ok(()),
        Err(error) => Err(error.into()),
    }
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
