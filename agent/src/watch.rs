//! The watcher: what a visit leaves on a machine without an agent of its own, so that accounts end in time though nobody
//! comes any more. It goes when none is left.

use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::plan;
use crate::resident::Place;
use crate::sync::{Agent, backoff};
use crate::turn::{self, Turn};
use nix::unistd::{close, setsid};
use playbooks::Host;
use std::path::Path;
use std::{fs, io, sync::Arc, time::Duration};

/// A visit says when it has written something new; should that be lost, it is found.
const LOOK_EVERY: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Nothing of the connection that started it stays with it: no session whose end would end it, no descriptor that would
/// keep the connection open. The caller has opened nothing yet.
pub fn detach() -> io::Result<()> {
    // It is one's leader already if systemd has started it.
    let _ = setsid();
    std::env::set_current_dir("/")?;
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // The one they were read by is closed already.
        let _ = close(fd);
    }
    // A tenant who uses up the memory must not have us killed for it. Containers may not allow this.
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    Ok(())
}

/// Until nothing is left that it could end. `poked` returns whenever there may be something new in the ledger.
pub async fn watch<H: Host>(
    host: H,
    clock: Arc<dyn Clock>,
    place: Place,
    state: &Path,
    mut poked: impl AsyncFnMut(),
) {
    let mut agent = Agent::new(host, clock);
    let mut failures = 0;
    loop {
        let wake = match look_in_turn(&mut agent, state) {
            Ok((turn, None)) => {
                // First: the next visit, which waits for its turn, must not take us for somebody who stays.
                drop(place);
                return drop(turn);
            }
            Ok((_, Some(wake))) => {
                failures = 0;
                wake
            }
            Err(error) => {
                failures += 1;
                tracing::error!(%error, failures, "cannot see what is to be ended, and when");
                agent.clock.boottime() + backoff(failures, LONGEST_PAUSE)
            }
        };
        sleep(&mut agent, wake, &mut poked).await;
    }
}

/// The visit that started this watcher is waited for here, too, however it ends.
fn look_in_turn<H: Host>(agent: &mut Agent<H>, state: &Path) -> io::Result<(Turn, Option<Duration>)> {
    let turn = turn::wait(state)?;
    Ok((turn, look(agent)?))
}

/// Ends what is due, as the ledger says now. When to look again; absent: there is nothing left to be ended.
fn look<H: Host>(agent: &mut Agent<H>) -> io::Result<Option<Duration>> {
    agent.load()?;
    let began = agent.moment();
    if plan::leaving(&agent.ledger, began.now).next().is_some() {
        agent.act(None, began);
    }
    agent.warn(began);
    if agent.ledger.accounts.is_empty() {
        return Ok(None);
    }
    let is_settled = plan::leaving(&agent.ledger, began.now).next().is_none();
    Ok(agent.wake(is_settled, began))
}

/// Until then, or until the ledger says something else.
async fn sleep<H: Host>(agent: &mut Agent<H>, wake: Duration, poked: &mut impl AsyncFnMut()) {
    while agent.clock.boottime() < wake {
        let next = agent.clock.sleep_until(wake.min(agent.clock.boottime() + LOOK_EVERY));
        tokio::select! {
            () = next => {}
            // A poke that is lost here has been heeded: the ledger is read below.
            () = poked() => {}
        }
        if Ledger::load(&mut agent.host).map_or(true, |ledger| ledger != agent.ledger) {
            return;
        }
    }
}
