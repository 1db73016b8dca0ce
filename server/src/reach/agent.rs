//! Agents park a sync with us; a wake-up lets it answer at once. A lost wake-up costs time only: every sync ends after
//! its hold, and the next one compares generations.

use model::MachineId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

#[derive(Default)]
pub struct Agents {
    parked: Mutex<HashMap<MachineId, Arc<Notify>>>,
}

impl Agents {
    /// Where the syncs of a machine wait. A wake-up that comes before the wait is kept for it.
    pub fn bell(&self, machine: MachineId) -> Arc<Notify> {
        self.lock().entry(machine).or_default().clone()
    }

    pub fn wake(&self, machine: MachineId) {
        self.bell(machine).notify_one();
    }

    pub fn forget(&self, machine: MachineId) {
        self.lock().remove(&machine);
    }

    /// How many machines have agents that talk to this server.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<MachineId, Arc<Notify>>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
