//! The probe loop: looks whether listed machines are up. Of several servers one does.

use super::Hub;
use crate::reach::probe;
use crate::store::{Failure, Store, Thing};
use futures_util::StreamExt;
use jiff::SignedDuration;
use model::machine::Machine;
use std::sync::Arc;
use tokio::sync::Notify;

const EVERY: SignedDuration = SignedDuration::from_secs(30);
/// Looks at so many machines at once.
const ABREAST: usize = 32;

/// Wakes the probe loop when there is a machine that nobody has looked at.
pub struct Probes {
    added: Notify,
    allow_link_local: bool,
}

impl Probes {
    pub(super) fn new(allow_link_local: bool) -> Self {
        Self { added: Notify::default(), allow_link_local }
    }

    pub(super) fn added(&self) {
        self.added.notify_one();
    }
}

/// Whom a round looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    Everybody,
    Newcomers,
}

pub(super) async fn run(hub: Arc<Hub>) {
    let mut next = hub.clock.now();
    loop {
        let woken = hub.probes.added.notified();
        let now = hub.clock.now();
        // A clock that was set back must not keep us waiting.
        next = next.min(now + EVERY);
        let round = if next <= now { Round::Everybody } else { Round::Newcomers };
        if round == Round::Everybody {
            next = now + EVERY;
        }
        match look(&hub, round).await {
            Ok(()) | Err(Failure::TakenOver(_)) => {}
            Err(failure) => tracing::warn!(%failure, "cannot look at the listed machines"),
        }
        tokio::select! {
            () = woken => {}
            () = hub.clock.sleep_until(next) => {}
        }
    }
}

async fn look(hub: &Hub, round: Round) -> Result<(), Failure> {
    let listed = hub.store.media_server_list().await?;
    let is_due = |machine: &Machine| {
        let seen = machine.listing.as_ref().and_then(|listing| listing.probe);
        round == Round::Everybody || seen.is_none()
    };
    let due: Vec<_> = listed.into_iter().filter(is_due).collect();
    if due.is_empty() {
        return Ok(());
    }
    let Some(claim) = hub.store.claim_take(Thing::Probes).await? else { return Ok(()) };
    let store = hub.store.under(&claim);
    let allow_link_local = hub.probes.allow_link_local;
    let mut looks = futures_util::stream::iter(due)
        .map(async |machine| {
            let up = probe::is_up(&machine.host, machine.port, allow_link_local).await;
            (machine, up)
        })
        .buffer_unordered(ABREAST);
    while let Some((machine, up)) = looks.next().await {
        keep(hub, &store, &machine, up).await?;
    }
    Ok(())
}

async fn keep(hub: &Hub, store: &Store, machine: &Machine, up: bool) -> Result<(), Failure> {
    let known = machine.listing.as_ref().and_then(|listing| listing.probe);
    if known.is_some_and(|known| known.up == up) {
        return Ok(());
    }
    match store.machine_probed(machine.id, up, hub.clock.now()).await {
        // It went meanwhile.
        Err(Failure::NotFound(_)) => Ok(()),
        outcome => outcome,
    }
}
