//! Pretend machines inside this process, for trying out and for load: each speaks the agent's protocol and
//! says that it made the accounts. They live in memory, so a restart of the server loses them and makes new
//! ones.

use crate::provider::{Order, Place, ProvideError, Provider, Purpose};
use data_encoding::HEXLOWER;
use futures_util::future::BoxFuture;
use model::pool::Listed;
use model::report::{AccountReport, AccountState, Facts, Report};
use model::spec::Spec;
use model::wire::{EnrolAnswer, EnrolRequest, SyncAnswer, SyncRequest};
use model::{MachineId, PoolName, Timestamp};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longer than any server holds a request.
const PATIENCE: Duration = Duration::from_secs(90);

/// The server's side of the agents' protocol, without a network between.
pub trait Door: Send + Sync {
    fn enrol(&self, request: EnrolRequest) -> BoxFuture<'_, Result<EnrolAnswer, String>>;
    fn sync(&self, credential: String, request: SyncRequest) -> BoxFuture<'_, Result<SyncAnswer, DoorError>>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    /// The machine is no longer wanted.
    #[error("the machine is no longer wanted")]
    Gone,
    #[error("{0}")]
    Other(String),
}

pub struct Simulated {
    door: Arc<dyn Door>,
    machines: Mutex<HashMap<MachineId, Living>>,
}

struct Living {
    pool: PoolName,
    agent: JoinHandle<()>,
}

impl Drop for Living {
    fn drop(&mut self) {
        self.agent.abort();
    }
}

impl Simulated {
    pub fn new(door: Arc<dyn Door>) -> Self {
        Self { door, machines: Mutex::default() }
    }

    fn machines(&self) -> MutexGuard<'_, HashMap<MachineId, Living>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Provider for Simulated {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    fn create<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Place, ProvideError>> {
        Box::pin(async move {
            let Purpose::Lent { join_token, .. } = &order.purpose else {
                return Err(ProvideError::Invalid("pretend machines run no services: use Docker".to_owned()));
            };
            self.machines().entry(order.id).or_insert_with(|| Living {
                pool: order.pool.clone(),
                agent: tokio::spawn(live(Arc::clone(&self.door), join_token.clone())),
            });
            Ok(Place { host: "simulated".to_owned(), port: 0 })
        })
    }

    fn list_owned<'a>(&'a self, pool: &'a PoolName) -> BoxFuture<'a, Result<Vec<Listed>, ProvideError>> {
        Box::pin(async move {
            let machines = self.machines();
            let ours = machines.iter().filter(|(_, living)| living.pool == *pool);
            let mut listed: Vec<_> =
                ours.map(|(id, _)| Listed { id: *id, created_at: born(*id), running: true }).collect();
            listed.sort_by_key(|machine| machine.id);
            Ok(listed)
        })
    }

    fn destroy<'a>(&'a self, id: MachineId) -> BoxFuture<'a, Result<(), ProvideError>> {
        Box::pin(async move {
            self.machines().remove(&id);
            Ok(())
        })
    }
}

/// When the id was made: a UUIDv7 begins with its 48 bits of milliseconds. There is no clock here to ask.
fn born(id: MachineId) -> Timestamp {
    let digits: String = id.to_string().chars().filter(|c| *c != '-').take(12).collect();
    let milliseconds = i64::from_str_radix(&digits, 16).ok();
    milliseconds.and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The life of one machine: enrols, then reports what it was last told, until it is no longer wanted.
async fn live(door: Arc<dyn Door>, join_token: String) {
    let mut backoff = Backoff(FIRST_PAUSE);
    let (credential, enrolled) = loop {
        match enrol(door.as_ref(), &join_token).await {
            Ok(enrolled) => break enrolled,
            Err(why) => tracing::warn!(%why, "a simulated machine cannot enrol"),
        }
        backoff.pause().await;
    };
    backoff.reset();
    let mut state = State::new(&enrolled);
    let session = HEXLOWER.encode(&random().unwrap_or_default());
    let (mut patience, mut challenge) = (PATIENCE, None);
    loop {
        let session = session.clone();
        let request =
            SyncRequest { incarnation: enrolled.incarnation, session, challenge, report: state.report() };
        match within(patience, door.sync(credential.clone(), request)).await {
            Ok(answer) => {
                backoff.reset();
                challenge = answer.challenge.or(challenge);
                patience = Duration::from_secs(u64::from(answer.hold)) + PATIENCE;
                if !answer.spec.is_some_and(|spec| state.obey(spec)) {
                    // A server that does not hold requests must not be asked in a tight loop.
                    sleep(FIRST_PAUSE).await;
                }
            }
            Err(DoorError::Gone) => return,
            Err(DoorError::Other(why)) => {
                tracing::debug!(%why, machine = %enrolled.machine, "a simulated machine cannot sync");
                backoff.pause().await;
            }
        }
    }
}

async fn enrol(door: &dyn Door, join_token: &str) -> Result<(String, EnrolAnswer), String> {
    let credential = format!("berth_agent_{}", HEXLOWER.encode(&random()?));
    let credential_sha256 = HEXLOWER.encode(&Sha256::digest(&credential));
    let request = EnrolRequest { join_token: join_token.to_owned(), credential_sha256 };
    let answer =
        timeout(PATIENCE, door.enrol(request)).await.map_err(|_| "no answer in time".to_owned())??;
    Ok((credential, answer))
}

fn random() -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(bytes)
}

async fn within<T>(patience: Duration, call: BoxFuture<'_, Result<T, DoorError>>) -> Result<T, DoorError> {
    timeout(patience, call).await.unwrap_or_else(|_| Err(DoorError::Other("no answer in time".to_owned())))
}

/// Doubles with every pause.
struct Backoff(Duration);

impl Backoff {
    async fn pause(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }

    fn reset(&mut self) {
        self.0 = FIRST_PAUSE;
    }
}

/// What a pretend machine has: whatever the newest spec lists.
struct State {
    epoch: model::Epoch,
    spec: Option<Spec>,
    facts: Facts,
}

impl State {
    fn new(enrolled: &EnrolAnswer) -> Self {
        let facts = Facts {
            os: "simulated".to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: enrolled.incarnation.to_string(),
            ends_by: None,
        };
        Self { epoch: enrolled.epoch, spec: None, facts }
    }

    fn generation(&self) -> u64 {
        self.spec.as_ref().map_or(0, |spec| spec.generation)
    }

    /// Takes a newer spec of its own database; says whether it did.
    fn obey(&mut self, spec: Spec) -> bool {
        let newer = spec.epoch == self.epoch && spec.generation > self.generation();
        if newer {
            self.spec = Some(spec);
        }
        newer
    }

    fn report(&self) -> Report {
        let accounts = self.spec.iter().flat_map(|spec| &spec.accounts);
        let ready = accounts.map(|account| AccountReport {
            assignment: account.assignment,
            name: account.name.clone(),
            uid: account.uid,
            state: AccountState::Ready,
        });
        Report {
            generation: self.generation(),
            epoch: Some(self.epoch),
            uid_floor: 0,
            accounts: ready.collect(),
            problems: Vec::new(),
            cleanings: Vec::new(),
            facts: self.facts.clone(),
        }
    }
}

#[cfg(test)]
#[path = "simulated_tests.rs"]
mod tests;
