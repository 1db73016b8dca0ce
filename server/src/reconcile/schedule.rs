//! The only cron expressions. They wake us; the work is found in the database.

use super::{Hub, sweep};
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_cron_scheduler::{Job, JobScheduler};

const SWEEP: &str = "*/15 * * * * *";
const RETENTION: &str = "0 17 * * * *";

pub(super) async fn start(hub: &Arc<Hub>, loops: &mut JoinSet<()>) -> anyhow::Result<()> {
    let mut scheduler = JobScheduler::new().await?;
    let swept = hub.clone();
    // Both are idempotent reads or deletions, so that overlapping runs do no harm.
    scheduler
        .add(Job::new_async(SWEEP, move |_, _| {
            let hub = swept.clone();
            Box::pin(async move { sweep(&hub).await })
        })?)
        .await?;
    let kept = hub.clone();
    scheduler
        .add(Job::new_async(RETENTION, move |_, _| {
            let hub = kept.clone();
            Box::pin(async move {
                if let Err(failure) = hub.store.keys_forget(hub.clock.now()).await {
                    tracing::warn!(%failure, "cannot forget old idempotency keys");
                }
            })
        })?)
        .await?;
    scheduler.start().await?;
    loops.spawn(async move {
        // Ends with the set of loops, which drops it.
        std::future::pending::<()>().await;
        let _ = scheduler.shutdown().await;
    });
    Ok(())
}
