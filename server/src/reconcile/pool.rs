//! The pool loop: as many machines as wanted. Rows are written before a provider is asked, so that a crash between
//! the two leaves a row to go on from and never a machine nobody knows. Of several servers one looks after a pool, and
//! nothing counts that it does once another has taken over.

use super::{Hub, Providers};
use crate::secret;
use crate::store::{Failure, SIZE, Store, Thing};
use jiff::SignedDuration;
use model::breaker::Breaker;
use model::pool::{Pool, Size, Step, plan, sights};
use model::{MachineId, PoolName};
use provision::{Order, Provider, Purpose};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// How long a new machine has to enrol.
const JOIN_WITHIN: SignedDuration = SignedDuration::from_mins(15);
/// After a round that failed, and while another server looks after a pool, which may die.
const RETRY: SignedDuration = SignedDuration::from_secs(2);

/// Wakes the pool loop when there may be something to do.
#[derive(Default)]
pub struct Pools {
    changed: Notify,
    /// Some pool has more machines than it wants, and waits for one that nobody is on.
    surplus: AtomicBool,
}

impl Pools {
    /// A pool, or a machine of one, has changed.
    pub fn changed(&self) {
        self.changed.notify_one();
    }

    /// Nobody is on a machine any longer. With a thousand reservations a second this is no news, but for a machine that
    /// is to go, and for a pool that is too large.
    pub fn freed(&self, retired: bool) {
        if retired || self.surplus.load(Ordering::Relaxed) {
            self.changed();
        }
    }
}

pub(super) async fn run(hub: Arc<Hub>, providers: Providers) {
    let mut memories = Memories::new();
    loop {
        let woken = hub.pools.changed.notified();
        // What comes free while we look is news in any case.
        hub.pools.surplus.store(true, Ordering::Relaxed);
        let round = rounds(&hub, &providers, &mut memories).await;
        let has_surplus = !matches!(round, Round::Settled | Round::Elsewhere);
        hub.pools.surplus.store(has_surplus, Ordering::Relaxed);
        match round {
            // Something was done: look again at once, until nothing is left to do.
            Round::Moved => {}
            Round::Settled | Round::Waiting => woken.await,
            Round::Elsewhere | Round::Failed => tokio::select! {
                () = woken => {}
                () = hub.clock.sleep_until(hub.clock.now() + RETRY) => {}
            },
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Round {
    Settled,
    /// Somebody is on a machine that is no longer wanted.
    Waiting,
    /// Another server looks after it.
    Elsewhere,
    Moved,
    Failed,
}

/// What we remember of a pool: what it has surprised us with of late, and which problem of it we have noted.
#[derive(Default)]
struct Memory {
    breaker: Breaker,
    noted: Option<String>,
}

type Memories = HashMap<PoolName, Memory>;

async fn rounds(hub: &Arc<Hub>, providers: &Providers, memories: &mut Memories) -> Round {
    let pools = match hub.store.pool_list().await {
        Ok(pools) => pools,
        Err(failure) => {
            tracing::warn!(%failure, "cannot read the pools");
            return Round::Failed;
        }
    };
    let mut worst = Round::Settled;
    for pool in pools {
        let memory = memories.entry(pool.name.clone()).or_default();
        let outcome = match round(hub, providers, &pool, &mut memory.breaker).await {
            // What keeps us from it is no matter where another server looks after it.
            Err(_) if is_elsewhere(hub, &pool).await => Ok(Round::Elsewhere),
            outcome => outcome,
        };
        let problem = outcome.as_ref().err().cloned();
        let is_ours =
            outcome != Ok(Round::Elsewhere) || (memory.noted.is_some() && memory.noted == pool.problem);
        if is_ours && problem != pool.problem {
            if let Some(problem) = &problem {
                tracing::warn!(pool = %pool.name, problem, "the pool does not get on");
            }
            match hub.store.pool_problem(pool.name.clone(), problem.clone()).await {
                Ok(()) => memory.noted = problem,
                Err(failure) => tracing::warn!(%failure, "cannot note a pool's problem"),
            }
        }
        worst = worst.max(outcome.unwrap_or(Round::Failed));
    }
    worst
}

async fn is_elsewhere(hub: &Hub, pool: &Pool) -> bool {
    hub.store.is_elsewhere(Thing::Pool(pool.name.clone())).await.unwrap_or(false)
}

/// Its provider, and the store for as long as we look after it. Absent: another server does.
async fn charge<'a>(
    hub: &Hub,
    providers: &'a Providers,
    pool: &Pool,
) -> Result<Option<(&'a Arc<dyn Provider>, Store)>, String> {
    let thing = Thing::Pool(pool.name.clone());
    let found = match provider(hub, providers, pool).await {
        Ok(found) => found,
        Err(_) if hub.store.is_elsewhere(thing.clone()).await.map_err(worded)? => return Ok(None),
        Err(why) => return Err(why),
    };
    let (provider, home) = found;
    let Some(claim) = hub.store.claim_take(thing).await.map_err(worded)? else { return Ok(None) };
    let store = hub.store.under(&claim);
    if home != pool.home {
        store.pool_home(pool.name.clone(), home).await.map_err(worded)?;
    }
    Ok(Some((provider, store)))
}

/// That of its machines. One that cannot see them must not look after them: it would take them for lost.
async fn provider<'a>(
    hub: &Hub,
    providers: &'a Providers,
    pool: &Pool,
) -> Result<(&'a Arc<dyn Provider>, Option<String>), String> {
    let known = || format!("there is no provider `{}` here; have {:?}", pool.provider, providers.keys());
    let provider = providers.get(pool.provider.as_str()).ok_or_else(known)?;
    let home = provider.home().await.map_err(|error| error.to_string())?;
    let are_given_up = pool.losses_accepted_until.is_some_and(|until| hub.clock.now() < until);
    match &pool.home {
        Some(made_at) if home.as_ref() != Some(made_at) && !are_given_up => Err(format!(
            "its machines were made at {made_at}, which this server does not see: start a server there, or, if they are \
             gone, say `berth pool accept-losses {}`",
            pool.name
        )),
        Some(_) | None => Ok((provider, home)),
    }
}

/// One comparison and its steps.
async fn round(
    hub: &Arc<Hub>,
    providers: &Providers,
    pool: &Pool,
    breaker: &mut Breaker,
) -> Result<Round, String> {
    let Some((provider, store)) = charge(hub, providers, pool).await? else { return Ok(Round::Elsewhere) };
    // Members first: a machine made between the two reads is then listed and not taken for lost.
    let members = store.pool_members(pool.name.clone()).await.map_err(worded)?;
    let listed = provider.list_owned(&pool.name).await.map_err(|error| error.to_string())?;
    let now = hub.clock.now();
    let known: HashSet<MachineId> = members.iter().map(|member| member.id).collect();
    // Somebody may be on machines that were made after the backup was.
    let is_ours =
        |id: &MachineId, made| known.contains(id) || hub.store.restored_at().is_none_or(|at| made > at);
    let listed: Vec<_> = listed.into_iter().filter(|one| is_ours(&one.id, one.created_at)).collect();
    if pool.service.is_some() {
        for (id, up) in sights(&members, &listed) {
            store.machine_probed(id, up, now).await.map_err(worded)?;
        }
    }
    let mut steps = plan(pool.size, &members, &listed, now);
    let tripped = breaker.check(&mut steps, &known, pool.losses_accepted_until, now);
    let crowded = members.iter().filter(|member| !member.retired).count() > pool.size as usize;
    let outcome = match (steps.is_empty(), crowded) {
        (false, _) => Round::Moved,
        (true, true) => Round::Waiting,
        (true, false) => Round::Settled,
    };
    take_all(hub, &store, provider, pool, steps).await?;
    // Until somebody says so, or the provider thinks better of it.
    tripped.map_err(|tripped| {
        format!("{tripped}; if it is right, say `berth pool accept-losses {}`", pool.name)
    })?;
    Ok(outcome)
}

async fn take_all(
    hub: &Arc<Hub>,
    store: &Store,
    provider: &Arc<dyn Provider>,
    pool: &Pool,
    steps: Vec<Step>,
) -> Result<(), String> {
    let mut doing = JoinSet::new();
    for step in steps {
        let (hub, store, provider, pool) = (hub.clone(), store.clone(), provider.clone(), pool.clone());
        doing.spawn(async move { take(&hub, &store, provider.as_ref(), &pool, step).await });
    }
    let mut failed = None;
    while let Some(done) = doing.join_next().await {
        let done = done.unwrap_or_else(|panic| Err(format!("a step panicked: {panic}")));
        failed = failed.or(done.err());
    }
    failed.map_or(Ok(()), Err)
}

async fn take(
    hub: &Hub,
    store: &Store,
    provider: &dyn Provider,
    pool: &Pool,
    step: Step,
) -> Result<(), String> {
    let now = hub.clock.now();
    match step {
        Step::Add(by) => store.pool_grow(pool.clone(), by, now).await.map_err(worded),
        Step::Create(id) => create(hub, store, provider, pool, id).await,
        Step::Retire(id) => {
            store.machine_retire_idle(id, now).await.map_err(worded)?;
            hub.queue.add(id);
            Ok(())
        }
        Step::Destroy(id) => match store.machine_by_id(id).await {
            // It was made by whoever looks after the pool since.
            Ok(machine) if machine.retired_at.is_none() => Ok(()),
            Ok(_) | Err(Failure::NotFound(_)) => {
                provider.destroy(id).await.map_err(|error| error.to_string())
            }
            Err(failure) => Err(worded(failure)),
        },
        Step::Forget(id) => {
            // One whose making was cut short is not listed; it goes here.
            provider.destroy(id).await.map_err(|error| error.to_string())?;
            let outcome = store.machine_gone(id, now).await.map_err(worded)?;
            hub.given_up(outcome);
            hub.agents.wake(id);
            hub.agents.forget(id);
            Ok(())
        }
        Step::Lost(id) => {
            let outcome = store.machine_lost(id, now).await.map_err(worded)?;
            hub.given_up(outcome);
            Ok(())
        }
    }
}

async fn create(
    hub: &Hub,
    store: &Store,
    provider: &dyn Provider,
    pool: &Pool,
    id: MachineId,
) -> Result<(), String> {
    let machine = store.machine_by_id(id).await.map_err(worded)?;
    let purpose = match &pool.service {
        // Nobody but the container is to know its token.
        Some(service) => Purpose::Service { service: service.clone(), token: secret::token() },
        None => {
            let join_token = secret::join_token();
            let until = hub.clock.now() + JOIN_WITHIN;
            store.join_token_add(id, secret::digest(&join_token), until).await.map_err(worded)?;
            let is_its =
                |size: &&Size| machine.labels.iter().any(|label| label == (SIZE, size.name.as_str()));
            Purpose::Lent { size: pool.sizes.iter().find(is_its).cloned(), join_token }
        }
    };
    let (name, pool, image) = (machine.name, pool.name.clone(), pool.image.clone());
    let order = Order { id, name, pool, image, purpose };
    let place = provider.create(&order).await.map_err(|error| error.to_string())?;
    store.machine_placed(id, place.host, place.port).await.map_err(worded)
}

fn worded(failure: Failure) -> String {
    failure.to_string()
}
