//! Agents park a sync with us; a wake-up lets it answer at once. A lost wake-up costs time only: every sync ends after
//! its hold, and the next one compares generations.

use model::MachineId;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

#[derive(Default)]
pub struct Agents {
    parked: Mutex<HashMap<MachineId, Arc<Notify>>>,
    /// Digests of credentials that were right once.
    known: Mutex<HashSet<String>>,
}

impl Agents {
    /// Where the syncs of a machine wait. A wake-up that comes before the wait is kept for it.
    pub fn bell(&self, machine: MachineId) -> Arc<Notify> {
        self.lock().entry(machine).or_default().clone()
    }

    /// Every sync that waits, since one may be left of a connection that is dead, and else the next.
    pub fn wake(&self, machine: MachineId) {
        let bell = self.bell(machine);
        bell.notify_waiters();
        bell.notify_one();
    }

    pub fn forget(&self, machine: MachineId) {
        self.lock().remove(&machine);
    }

    /// Whether this credential was right before; what is not is looked up before anything is written for it.
    pub fn knows(&self, digest: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(digest)
    }

    pub fn remember(&self, digest: String) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
    }

    /// How many machines have agents that talk to this server.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<MachineId, Arc<Notify>>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Timestamp;

    /// One may be left of a connection that is dead.
    #[tokio::test]
    async fn every_sync_that_waits_hears_a_wake_up_and_else_the_next() {
        let (agents, machine) = (Agents::default(), MachineId::new(Timestamp::UNIX_EPOCH));
        let bell = agents.bell(machine);
        let waits =
            [bell.clone(), bell.clone()].map(|bell| tokio::spawn(async move { bell.notified().await }));
        // Both wait: there is one thread.
        tokio::task::yield_now().await;
        agents.wake(machine);
        for wait in waits {
            wait.await.unwrap();
        }
        bell.notified().await;
    }
}
