//! The pool loop: as many machines as wanted. Rows are written before a provider is asked, so that a crash between
//! the two leaves a row to go on from and never a machine nobody knows.

use super::{Hub, Providers};
use crate::secret;
use crate::store::{Failure, GiveUp};
use jiff::SignedDuration;
use model::MachineId;
use model::pool::{Pool, Step, plan};
use provision::{Order, Provider};
use std::sync::Arc;
use tokio::task::JoinSet;

/// How long a new machine has to enrol.
const JOIN_WITHIN: SignedDuration = SignedDuration::from_mins(15);
/// After a round that failed.
const RETRY: SignedDuration = SignedDuration::from_secs(2);

pub(super) async fn run(hub: Arc<Hub>, providers: Providers) {
    loop {
        let woken = hub.pools.notified();
        match rounds(&hub, &providers).await {
            // Something was done: look again at once, until nothing is left to do.
            Round::Moved => {}
            Round::Settled => woken.await,
            Round::Failed => tokio::select! {
                () = woken => {}
                () = hub.clock.sleep_until(hub.clock.now() + RETRY) => {}
            },
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Round {
    Settled,
    Moved,
    Failed,
}

async fn rounds(hub: &Arc<Hub>, providers: &Providers) -> Round {
    let pools = match hub.store.pool_list().await {
        Ok(pools) => pools,
        Err(failure) => {
            tracing::warn!(%failure, "cannot read the pools");
            return Round::Failed;
        }
    };
    let mut worst = Round::Settled;
    for pool in pools {
        let outcome = round(hub, providers, &pool).await;
        let problem = outcome.as_ref().err().cloned();
        if problem != pool.problem {
            if let Some(problem) = &problem {
                tracing::warn!(pool = %pool.name, problem, "the pool does not get on");
            }
            if let Err(failure) = hub.store.pool_problem(pool.name.clone(), problem).await {
                tracing::warn!(%failure, "cannot note a pool's problem");
            }
        }
        worst = worst.max(match outcome {
            Ok(true) => Round::Moved,
            Ok(false) => Round::Settled,
            Err(_) => Round::Failed,
        });
    }
    worst
}

/// One comparison and its steps; whether anything was done.
async fn round(hub: &Arc<Hub>, providers: &Providers, pool: &Pool) -> Result<bool, String> {
    let known = || format!("there is no provider `{}` here; have {:?}", pool.provider, providers.keys());
    let provider = providers.get(pool.provider.as_str()).ok_or_else(known)?;
    // Members first: a machine made between the two reads is then listed and not taken for lost.
    let members = hub.store.pool_members(pool.name.clone()).await.map_err(|failure| failure.to_string())?;
    let listed = provider.list_owned(&pool.name).await.map_err(|error| error.to_string())?;
    let steps = plan(pool.size, &members, &listed, hub.clock.now());
    let moved = !steps.is_empty();
    let mut doing = JoinSet::new();
    for step in steps {
        let (hub, provider, pool) = (hub.clone(), provider.clone(), pool.clone());
        doing.spawn(async move { take(&hub, provider.as_ref(), &pool, step).await });
    }
    let mut failed = None;
    while let Some(done) = doing.join_next().await {
        let done = done.unwrap_or_else(|panic| Err(format!("a step panicked: {panic}")));
        failed = failed.or(done.err());
    }
    failed.map_or(Ok(moved), Err)
}

async fn take(hub: &Hub, provider: &dyn Provider, pool: &Pool, step: Step) -> Result<(), String> {
    let now = hub.clock.now();
    match step {
        Step::Add(by) => hub.store.pool_grow(pool.clone(), by, now).await.map_err(worded),
        Step::Create(id) => create(hub, provider, pool, id).await,
        Step::Retire(id) => {
            hub.store.machine_retire_idle(id, now).await.map_err(worded)?;
            hub.queue.add(id);
            Ok(())
        }
        Step::Destroy(id) => provider.destroy(id).await.map_err(|error| error.to_string()),
        Step::Forget(id) => {
            // One whose making was cut short is not listed; it goes here.
            provider.destroy(id).await.map_err(|error| error.to_string())?;
            hub.store.machine_gone(id, now).await.map_err(worded)?;
            hub.agents.wake(id);
            hub.agents.forget(id);
            Ok(())
        }
        Step::Lost(id) => {
            let GiveUp { reservation, machines } = hub.store.machine_lost(id, now).await.map_err(worded)?;
            machines.into_iter().for_each(|machine| hub.queue.add(machine));
            reservation.into_iter().for_each(|reservation| hub.watchers.changed(reservation));
            Ok(())
        }
    }
}

async fn create(hub: &Hub, provider: &dyn Provider, pool: &Pool, id: MachineId) -> Result<(), String> {
    let machine = hub.store.machine_by_id(id).await.map_err(worded)?;
    let join_token = secret::join_token();
    let until = hub.clock.now() + JOIN_WITHIN;
    hub.store.join_token_add(id, secret::digest(&join_token), until).await.map_err(worded)?;
    let order =
        Order { id, name: machine.name, pool: pool.name.clone(), image: pool.image.clone(), join_token };
    let place = provider.create(&order).await.map_err(|error| error.to_string())?;
    hub.store.machine_placed(id, place.host, place.port).await.map_err(worded)
}

fn worded(failure: Failure) -> String {
    failure.to_string()
}
