//! The machine loop: wakes the machine's agent, and decides about one that does not get ready, or falls silent.

use super::{Hub, visit};
use crate::store::Failure;
use jiff::SignedDuration;
use model::machine::{Holding, Machine};
use model::{AssignmentId, MachineId, Timestamp};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// How long a machine may take until its account works.
const READY_WITHIN: SignedDuration = SignedDuration::from_secs(15);
/// The same for one that is visited: somebody has to log in there first, and may have to bring the agent.
const VISITED_WITHIN: SignedDuration = SignedDuration::from_secs(30);
/// When no other machine was free, or nobody knew whether to believe it.
const SUBSTITUTE_AGAIN: SignedDuration = SignedDuration::from_secs(15);
/// Looks at so many machines at once.
const ABREAST: usize = 8;
/// After a failed look.
const RETRY: SignedDuration = SignedDuration::from_secs(1);

pub(super) async fn run(hub: Arc<Hub>) {
    let abreast = Arc::new(Semaphore::new(ABREAST));
    loop {
        let (due, next) = hub.queue.take_due(hub.clock.now());
        for machine in due {
            // First the hint, then the look: an agent starts while we read.
            hub.agents.wake(machine);
            let Ok(permit) = abreast.clone().acquire_owned().await else { return };
            let hub = hub.clone();
            // A look that panics ends alone; the sweep brings its machine back.
            tokio::spawn(async move {
                let is_visit_due = look(&hub, machine).await;
                drop(permit);
                if is_visit_due {
                    visit::visit(&hub, machine).await;
                }
            });
        }
        match next {
            Some(at) => tokio::select! {
                () = hub.queue.added() => {}
                () = hub.clock.sleep_until(at) => {}
            },
            None => hub.queue.added().await,
        }
    }
}

/// What the machine loop does about a machine, decided from facts alone.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    LookAgain(Timestamp),
    GiveUp {
        assignment: AssignmentId,
        why: String,
        set_aside: bool,
    },
    /// It has worked and fell silent: another is to take its place.
    Substitute(AssignmentId),
    /// Retired, empty, and of no pool.
    Forget,
}

/// One turn of the loop for one machine. Says whether it is to be visited now.
pub async fn look(hub: &Hub, id: MachineId) -> bool {
    let now = hub.clock.now();
    match try_look(hub, id, now).await {
        Ok(is_visit_due) => is_visit_due,
        Err(Failure::NotFound(_)) => false,
        Err(failure) => {
            tracing::warn!(machine = %id, %failure, "will look again");
            hub.queue.add_at(id, now + RETRY);
            false
        }
    }
}

async fn try_look(hub: &Hub, id: MachineId, now: Timestamp) -> Result<bool, Failure> {
    let machine = hub.store.machine_by_id(id).await?;
    let fails_at = fails_at(hub, &machine).await?;
    match next(&machine, fails_at, now) {
        Next::Nothing => {}
        Next::LookAgain(at) => hub.queue.add_at(id, at),
        Next::Substitute(assignment) => {
            substitute(hub, &machine, assignment, now).await?;
            hub.queue.add_at(id, now + SUBSTITUTE_AGAIN);
        }
        Next::Forget => {
            let outcome = hub.store.machine_gone(id, now).await?;
            hub.given_up(outcome);
            hub.agents.wake(id);
            hub.agents.forget(id);
            hub.forget_visits(id);
            return Ok(false);
        }
        Next::GiveUp { assignment, why, set_aside } => {
            tracing::warn!(machine = %machine.name, why, "given up for its reservation");
            let outcome = hub.store.assignment_give_up(assignment, why, set_aside, now).await?;
            hub.given_up(outcome);
        }
    }
    if machine.pool.is_some() && machine.retired_at.is_some() {
        hub.pools.changed();
    }
    if machine.listing.as_ref().is_some_and(|listing| listing.probe.is_none()) {
        hub.probes.added();
    }
    Ok(visit::is_due(hub, &machine, now))
}

/// See [`Machine::fails_at`]. Few machines can fail, so nothing is read for the others.
async fn fails_at(hub: &Hub, machine: &Machine) -> Result<Option<Timestamp>, Failure> {
    let hearing_since = hub.ears.hearing_since();
    if machine.fails_at(hearing_since, SignedDuration::ZERO).is_none() {
        return Ok(None);
    }
    let patience = hub.store.patience(machine.pool.clone()).await?;
    Ok(machine.fails_at(hearing_since, patience))
}

async fn substitute(
    hub: &Hub,
    machine: &Machine,
    assignment: AssignmentId,
    now: Timestamp,
) -> Result<(), Failure> {
    if !hub.ears.are_in_doubt(&hub.store, now).await? {
        let outcome = hub.store.assignment_substitute(assignment, hub.ears.hearing_since(), now).await?;
        hub.given_up(outcome);
        return Ok(());
    }
    let why = format!(
        "machine `{}` is silent, and so are too many others for that to be believed: look at the server's network",
        machine.name
    );
    let known = machine.holding.as_ref().and_then(|holding| holding.last_error.as_ref());
    if known != Some(&why) {
        hub.store.assignment_note(assignment, why).await?;
    }
    Ok(())
}

fn next(machine: &Machine, fails_at: Option<Timestamp>, now: Timestamp) -> Next {
    match &machine.holding {
        None if machine.retired_at.is_some() && machine.pool.is_none() => Next::Forget,
        Some(holding) if holding.ended_at.is_none() && !holding.ready => next_unready(machine, holding, now),
        Some(holding) if !holding.is_leaving(now) => match fails_at {
            Some(at) if at <= now => Next::Substitute(holding.assignment),
            Some(at) => Next::LookAgain(at),
            None => Next::Nothing,
        },
        None | Some(_) => Next::Nothing,
    }
}

fn next_unready(machine: &Machine, holding: &Holding, now: Timestamp) -> Next {
    let visits = machine.ssh.as_ref().filter(|ssh| ssh.is_visited());
    let unvisited = visits.and_then(|ssh| ssh.error.as_deref());
    let said = holding.last_error.as_deref().or(unvisited).unwrap_or("its agent did not answer");
    let why = format!("machine `{}` could not be made ready: {said}", machine.name);
    if holding.refused {
        // The ask does not fit this machine; nothing is wrong with it.
        return Next::GiveUp { assignment: holding.assignment, why, set_aside: false };
    }
    let deadline = holding.since + if visits.is_some() { VISITED_WITHIN } else { READY_WITHIN };
    if now >= deadline {
        return Next::GiveUp { assignment: holding.assignment, why, set_aside: true };
    }
    Next::LookAgain(deadline)
}
