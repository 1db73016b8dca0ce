//! Time is given to the agent; the binary brings the system's, tests bring their own.

use model::Timestamp;
use std::{future::Future, pin::Pin, time::Duration};

pub trait Clock: Send + Sync {
    fn wall(&self) -> Timestamp;
    /// Since boot, suspended time included; nobody can set it.
    fn boottime(&self) -> Duration;
    /// Until so long since boot. A point in time, not a length: what was computed a while ago still holds.
    fn sleep_until(&self, boottime: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}
