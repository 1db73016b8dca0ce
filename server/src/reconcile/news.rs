//! What other servers on the same database wrote wakes the loops here, as it woke theirs.

use super::{Hub, sweep};
use crate::store::News;
use std::sync::Arc;
use tokio::sync::mpsc;

pub(super) async fn run(hub: Arc<Hub>, mut told: mpsc::Receiver<News>) {
    while let Some(news) = told.recv().await {
        match news {
            News::Machine(id) => {
                hub.queue.add(id);
                hub.pools.freed(false);
            }
            News::Gone(id) => {
                hub.agents.wake(id);
                hub.agents.forget(id);
                hub.forget_visits(id);
            }
            News::Access(id) => {
                hub.forget_visits(id);
                hub.queue.add(id);
            }
            News::Reservation(id) => hub.watchers.changed(id),
            News::End(at) => hub.expiry.may_be(at),
            News::Pools => hub.pools.changed(),
            News::Missed => sweep(&hub).await,
        }
    }
}
