//! Who works on the machine: one at a time. Two that do would undo each other.

use crate::resident::Resident;
use model::report::EndsBy;
use nix::fcntl::{Flock, FlockArg};
use playbooks::real::private_folder;
use std::fs::File;
use std::path::Path;
use std::{io, thread, time::Duration};

/// Others wait until it is dropped, or its process has ended.
pub type Turn = Flock<File>;

/// A visit or a watcher is done by then.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// Waits a while for a visit or a watcher that is at work. An agent that is a service of the machine is at it for good,
/// so that whoever comes learns so at once.
pub fn take(state: &Path) -> io::Result<Turn> {
    let mut file = open(state)?;
    let mut waited = Duration::ZERO;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(turn) => return Ok(turn),
            Err((file, nix::Error::EWOULDBLOCK)) => file,
            Err((_, other)) => return Err(other.into()),
        };
        let resident = Resident::of(state)?;
        if resident.is_some_and(|resident| resident.ends_by == EndsBy::Agent) {
            return Err(busy(format!(
                "another berth-agent works with {}: stop that one first",
                state.display()
            )));
        }
        if waited >= LONGEST_WAIT {
            let seconds = LONGEST_WAIT.as_secs();
            return Err(busy(format!(
                "another berth-agent has been at work here for {seconds} s: try again"
            )));
        }
        thread::sleep(PAUSE);
        waited += PAUSE;
    }
}

/// Waits for as long as it takes.
pub(crate) fn wait(state: &Path) -> io::Result<Turn> {
    Flock::lock(open(state)?, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
}

fn open(state: &Path) -> io::Result<File> {
    private_folder(state)?;
    File::options().create(true).truncate(false).write(true).open(state.join("lock"))
}

fn busy(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, why)
}
