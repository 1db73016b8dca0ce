//! Requests that wait for a reservation to change.

use model::ReservationId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

#[derive(Default)]
pub struct Watchers {
    waiting: Mutex<HashMap<ReservationId, Arc<Notify>>>,
}

impl Watchers {
    /// The caller creates its `notified()` from this before it looks, so that no change is missed.
    pub fn watch(&self, id: ReservationId) -> Arc<Notify> {
        self.lock().entry(id).or_default().clone()
    }

    pub fn changed(&self, id: ReservationId) {
        if let Some(notify) = self.lock().get(&id) {
            notify.notify_waiters();
        }
    }

    /// Drops the entry when nobody but the caller waits.
    pub fn leave(&self, id: ReservationId, notify: Arc<Notify>) {
        let mut waiting = self.lock();
        drop(notify);
        if waiting.get(&id).is_some_and(|notify| Arc::strong_count(notify) == 1) {
            waiting.remove(&id);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ReservationId, Arc<Notify>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
