//! The one place that needs `unsafe`: becoming another user in a child process.
#![allow(unsafe_code, reason = "nothing but a fork can take on a UID and leave the agent itself alone")]

use nix::libc;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use std::io;

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
