//! How a visit leaves a watcher on the machine: by systemd where there is one, which starts it again if it dies,
//! otherwise as a process of its own.

use crate::resident::Resident;
use model::report::EndsBy;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{io, thread, time::Duration};

const UNIT: &str = "berth-watch";
/// A watcher comes up in milliseconds, but a machine may be busy.
const LONGEST_START: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(2);

/// What is started, and where it works.
#[derive(Debug, Clone)]
pub struct Launch {
    pub program: PathBuf,
    pub state: PathBuf,
    pub root: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Systemd,
    /// A unit that failed, or is about to be started again, is in the way of a new one.
    SystemdAnew,
    Itself,
}

/// A watcher that is there or on its way.
pub(crate) struct Watcher<'a> {
    launch: &'a Launch,
    /// Absent: one was there.
    child: Option<Child>,
    /// To be tried if that comes to nothing.
    ways: Vec<Way>,
}

impl Launch {
    /// The caller has the turn, and keeps it until [`Watcher::settle`]: until then no watcher comes to an end by itself.
    /// What runs an older program is replaced. Waits for nothing else, as there is something to do meanwhile.
    pub(crate) fn begin(&self) -> Watcher<'_> {
        let systemd = Path::new("/run/systemd/system").is_dir();
        let ways = if systemd { &[Way::Systemd, Way::SystemdAnew, Way::Itself][..] } else { &[Way::Itself] };
        let mut watcher = Watcher { launch: self, child: None, ways: ways.to_vec() };
        if !self.is_watched() {
            watcher.next();
        }
        watcher
    }

    fn is_watched(&self) -> bool {
        match Resident::of(&self.state) {
            Ok(Some(older)) if !older.runs(&self.program) => match older.end(&self.state) {
                Ok(()) => false,
                Err(error) => {
                    tracing::warn!(%error, "the watcher of an older version stays");
                    true
                }
            },
            Ok(found) => found.is_some(),
            Err(_) => false,
        }
    }

    fn start(&self, way: Way) -> io::Result<Child> {
        match way {
            Way::Systemd => silent(&mut self.by_systemd()).spawn(),
            Way::SystemdAnew => {
                for what in ["stop", "reset-failed"] {
                    finish(silent(Command::new("systemctl").args([what, UNIT])).spawn()?)?;
                }
                silent(&mut self.by_systemd()).spawn()
            }
            Way::Itself => {
                let mut itself = Command::new(&self.program);
                silent(itself.args(self.places()).arg("watch").env_clear().current_dir("/")).spawn()
            }
        }
    }

    fn by_systemd(&self) -> Command {
        let mut run = Command::new("systemd-run");
        run.args(["--quiet", "--collect", &format!("--unit={UNIT}")]);
        run.args(["--description=Ends accounts that Berth lends, in time", "--property=Restart=on-failure"]);
        // Rarer than what systemd takes for hopeless.
        run.args(["--property=RestartSec=5", "--"]).arg(&self.program).args(self.places());
        run.args(["watch", "--systemd"]);
        run
    }

    fn places(&self) -> [&std::ffi::OsStr; 4] {
        ["--state".as_ref(), self.state.as_ref(), "--root".as_ref(), self.root.as_ref()]
    }
}

impl Watcher<'_> {
    /// Who will end accounts in time, if there is somebody.
    pub(crate) fn settle(mut self) -> Option<EndsBy> {
        loop {
            if let Some(resident) = self.resident() {
                tell(resident);
                return Some(resident.ends_by);
            }
            if !self.next() {
                return None;
            }
        }
    }

    /// There is nothing left to be ended. One that is still on its way will see that.
    pub(crate) fn release(self) {
        if let Ok(Some(resident)) = Resident::of(&self.launch.state) {
            tell(resident);
        }
    }

    /// Waits for one that is on its way.
    fn resident(&mut self) -> Option<Resident> {
        let mut waited = Duration::ZERO;
        loop {
            if let Ok(Some(resident)) = Resident::of(&self.launch.state) {
                return Some(resident);
            }
            let child = self.child.as_mut()?;
            // `systemd-run` ends well before the watcher has begun.
            let has_failed =
                child.try_wait().is_ok_and(|ended| ended.is_some_and(|status| !status.success()));
            if has_failed || waited >= LONGEST_START {
                let _ = child.kill();
                return None;
            }
            thread::sleep(PAUSE);
            waited += PAUSE;
        }
    }

    fn next(&mut self) -> bool {
        while !self.ways.is_empty() {
            let way = self.ways.remove(0);
            match self.launch.start(way) {
                Ok(child) => {
                    self.child = Some(child);
                    return true;
                }
                Err(error) => tracing::warn!(%error, ?way, "no watcher could be started"),
            }
        }
        false
    }
}

/// That the ledger may be another one now.
fn tell(resident: Resident) {
    if let Err(error) = resident.poke() {
        tracing::warn!(%error, "the watcher was not told of this visit");
    }
}

/// Whatever comes of it; but it must not hold up a visit for good.
fn finish(mut child: Child) -> io::Result<()> {
    let mut waited = Duration::ZERO;
    while child.try_wait()?.is_none() {
        if waited >= LONGEST_START {
            child.kill()?;
        }
        thread::sleep(PAUSE);
        waited += PAUSE;
    }
    Ok(())
}

/// So that an SSH connection does not wait for it to close what it inherited.
fn silent(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}
