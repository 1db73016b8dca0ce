//! What time it is, as an argument of everything that asks.

use futures_util::future::BoxFuture;
use model::Timestamp;

/// The system's clock in `main`, one that a test turns in tests.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
    /// Completes when `now` is `at` or later.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()>;
}
