//! The loops that make facts come true: machines one by one, pools, expiry. Each is woken by a hint and finds its
//! work in the database, so that a lost hint costs time and nothing else.

mod ears;
mod expiry;
mod machine;
mod news;
mod pool;
mod probe;
mod queue;
mod schedule;
mod visit;
mod watch;

pub use ears::Ears;
pub use expiry::Expiry;
pub use machine::look;
pub use pool::Pools;
pub use probe::Probes;
pub use queue::Queue;
pub use visit::{Visitor, Visits};
pub use watch::Watchers;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::reach::Agents;
use crate::store::{GiveUp, Received, Seen, Store};
use model::MachineId;
use provision::Provider;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::task::JoinSet;

/// What the loops and the use-cases share.
pub struct Hub {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub agents: Agents,
    pub queue: Queue,
    pub watchers: Watchers,
    pub expiry: Expiry,
    pub pools: Pools,
    pub probes: Probes,
    pub visits: Visits,
    pub ears: Ears,
    pub metrics: Metrics,
    /// Absent if this server was given no agent to put on machines.
    visitor: Option<Visitor>,
}

impl Hub {
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        visitor: Option<Visitor>,
        allow_link_local: bool,
    ) -> Arc<Self> {
        let ears = Ears::new(clock.now());
        Arc::new(Self {
            store,
            clock,
            agents: Agents::default(),
            queue: Queue::default(),
            watchers: Watchers::default(),
            expiry: Expiry::default(),
            pools: Pools::default(),
            probes: Probes::new(allow_link_local),
            visits: Visits::default(),
            ears,
            metrics: Metrics::default(),
            visitor,
        })
    }

    /// Passes on what a report changed.
    pub fn heard(&self, received: &Received) {
        self.ears.heard(&self.store, self.clock.now());
        received.cleaned.iter().for_each(|cleaning| self.metrics.cleaning_seen(cleaning));
        for seen in &received.seen {
            match seen {
                Seen::Ready(reservation) => {
                    self.metrics.ready.inc();
                    self.watchers.changed(*reservation);
                }
                Seen::Clean(reservation) => {
                    self.metrics.cleaned.inc();
                    self.watchers.changed(*reservation);
                    self.pools.freed(received.retired);
                    if received.retired {
                        self.queue.add(received.machine);
                    }
                }
                Seen::Trouble => self.queue.add(received.machine),
                Seen::Settled(Some(reservation)) => self.watchers.changed(*reservation),
                Seen::Settled(None) => {}
            }
        }
    }

    /// Its log-in changed, or there is none any longer.
    pub fn forget_visits(&self, machine: MachineId) {
        self.visits.forget(machine);
        if let Some(visitor) = &self.visitor {
            visitor.ssh.forget(machine);
        }
    }

    pub fn visitor(&self) -> Option<&Visitor> {
        self.visitor.as_ref()
    }

    /// Passes on that a machine was given up for its reservation.
    pub fn given_up(&self, outcome: GiveUp) {
        let GiveUp { reservation, machines } = outcome;
        machines.into_iter().for_each(|machine| self.queue.add(machine));
        reservation.into_iter().for_each(|reservation| self.watchers.changed(reservation));
    }
}

pub type Providers = HashMap<&'static str, Arc<dyn Provider>>;

/// Starts every loop; they end when the set is dropped.
pub async fn start(hub: &Arc<Hub>, providers: Providers) -> anyhow::Result<JoinSet<()>> {
    let mut loops = JoinSet::new();
    loops.spawn(machine::run(hub.clone()));
    loops.spawn(expiry::run(hub.clone()));
    loops.spawn(pool::run(hub.clone(), providers));
    loops.spawn(probe::run(hub.clone()));
    if let Some(told) = hub.store.listen() {
        loops.spawn(news::run(hub.clone(), told));
    }
    schedule::start(hub, &mut loops).await?;
    Ok(loops)
}

/// Puts everything that has not settled back into the queue.
pub async fn sweep(hub: &Hub) {
    let now = hub.clock.now();
    let silent = hub.store.machines_silent(now - hub.store.ttl()).await;
    for found in [hub.store.machines_unsettled().await, hub.store.machines_visited().await, silent] {
        match found {
            Ok(machines) => machines.into_iter().for_each(|machine| hub.queue.add(machine)),
            Err(failure) => tracing::warn!(%failure, "cannot look for unsettled machines"),
        }
    }
    match hub.store.reservations_refill(now).await {
        Ok(refilled) => refilled.into_iter().for_each(|outcome| hub.given_up(outcome)),
        Err(failure) => tracing::warn!(%failure, "cannot look for reservations that miss a machine"),
    }
    hub.expiry.look();
    hub.pools.changed();
}
