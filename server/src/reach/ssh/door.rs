//! How many may be on their way in at one address: sshd turns new ones away when ten have not logged in yet
//! (`MaxStartups 10:30:100`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const AT_ONCE: usize = 8;

#[derive(Default)]
pub(super) struct Doors(Mutex<HashMap<String, Arc<Semaphore>>>);

impl Doors {
    /// Waits for a place at this address.
    pub(super) async fn enter(&self, address: String) -> Option<OwnedSemaphorePermit> {
        let door = {
            let mut doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Those where nobody stands.
            doors.retain(|_, door| Arc::strong_count(door) > 1);
            doors.entry(address).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))).clone()
        };
        // None would mean that it is closed, which nobody does.
        door.acquire_owned().await.ok()
    }
}
