//! Keeps the agent running where no service manager does: starts it again when it fails, and ends when it has ended well.

use crate::clock::Clock;
use crate::resident::{claim, end, holder};
use crate::sync::{backoff, jittered};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{io, thread, time::Duration};
use tokio::process::Child;

const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Who has run for so long did not fail at once.
const STEADY: Duration = Duration::from_secs(60);
const LONGEST_START: Duration = Duration::from_secs(5);
/// The agent finishes what it is doing to the machine.
const LONGEST_END: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(2);

fn file(state: &Path) -> PathBuf {
    state.join("keeper.lock")
}

/// Until the agent has ended well, or `stop` completes. Does nothing where another one keeps it.
pub async fn keep(
    state: &Path,
    mut agent: impl FnMut() -> io::Result<Child>,
    clock: &dyn Clock,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let Some(_kept) = claim(&file(state), 1)? else { return Ok(()) };
    tokio::pin!(stop);
    let mut failures = 0;
    loop {
        let began = clock.boottime();
        let mut running = agent()?;
        tokio::select! {
            ended = running.wait() => if ended?.success() { return Ok(()) },
            () = &mut stop => return end_child(running).await,
        }
        failures = if clock.boottime().saturating_sub(began) >= STEADY { 1 } else { failures + 1 };
        let again = clock.boottime() + jittered(backoff(failures, LONGEST_PAUSE));
        tokio::select! {
            () = clock.sleep_until(again) => {}
            () = &mut stop => return Ok(()),
        }
    }
}

async fn end_child(mut child: Child) -> io::Result<()> {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
    }
    child.wait().await.map(|_| ())
}

pub(crate) fn is_there(state: &Path) -> io::Result<bool> {
    Ok(holder(&file(state))?.is_some())
}

/// Starts one that outlives us, unless there is one.
pub(crate) fn start(program: &Path, state: &Path, arguments: &[&str]) -> io::Result<()> {
    if is_there(state)? {
        return Ok(());
    }
    let mut keeper = Command::new(program);
    keeper.args(arguments).env_clear().current_dir("/");
    // So that an SSH connection does not wait for it to close what it inherited.
    let mut keeper = keeper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut waited = Duration::ZERO;
    while !is_there(state)? {
        if let Some(status) = keeper.try_wait()?.or_else(|| (waited >= LONGEST_START).then(Default::default))
        {
            return Err(io::Error::other(format!("`{} keep` did not start: {status}", program.display())));
        }
        thread::sleep(POLL);
        waited += POLL;
    }
    Ok(())
}

/// And the agent with it.
pub(crate) fn stop(state: &Path) -> io::Result<()> {
    match holder(&file(state))? {
        Some((pid, _)) => end(pid, LONGEST_END, || is_there(state)),
        None => Ok(()),
    }
}
