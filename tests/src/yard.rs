//! A provider of pretend machines with real agents, which does as a test says: it forgets what it has, or destroys
//! nothing. A farm offers it as `docker`.

use crate::FakeClock;
use agent::identity::Identity;
use agent::link::Link;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use model::pool::Listed;
use model::{MachineId, PoolName, Timestamp};
use playbooks::FakeHost;
use provision::{Order, Place, ProvideError, Provider, Purpose};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

#[derive(Clone)]
pub struct Yard {
    /// Where agents find the server.
    address: String,
    clock: FakeClock,
    /// The test's own, so that machines outlive the server.
    runtime: Handle,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    standing: BTreeMap<MachineId, Standing>,
    is_forgetful: bool,
    is_tired: bool,
    home: Option<String>,
}

struct Standing {
    pool: PoolName,
    name: String,
    /// Where it was made.
    home: Option<String>,
    host: FakeHost,
    created_at: Timestamp,
    agent: JoinHandle<()>,
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.agent.abort();
    }
}

impl Yard {
    pub(crate) fn new(address: String, clock: FakeClock) -> Self {
        Self { address, clock, runtime: Handle::current(), state: Arc::default() }
    }

    /// Lists nothing, though everything is there.
    pub fn forget_all(&self, is_forgetful: bool) {
        self.state().is_forgetful = is_forgetful;
    }

    /// Destroys nothing, and says so.
    pub fn refuse_to_destroy(&self, is_tired: bool) {
        self.state().is_tired = is_tired;
    }

    /// As if it were on that computer, and saw no longer what is on another one.
    pub fn move_to(&self, home: &str) {
        self.state().home = Some(home.to_owned());
    }

    /// As a power cut would.
    pub fn lose(&self, name: &str) {
        self.state().standing.retain(|_, machine| machine.name != name);
    }

    pub fn stop_agent(&self, name: &str) {
        self.state().standing.values().filter(|machine| machine.name == name).for_each(|machine| {
            machine.agent.abort();
        });
    }

    pub fn host(&self, name: &str) -> FakeHost {
        let found = self.hosts().into_iter().find(|(of, _)| of == name);
        found.unwrap_or_else(|| panic!("the yard has no `{name}`")).1
    }

    /// The pretend machines by name.
    pub fn hosts(&self) -> Vec<(String, FakeHost)> {
        self.state().standing.values().map(|machine| (machine.name.clone(), machine.host.clone())).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Provider for Yard {
    fn kind(&self) -> &'static str {
        "docker"
    }

    fn home(&self) -> BoxFuture<'_, Result<Option<String>, ProvideError>> {
        Box::pin(async { Ok(self.state().home.clone()) })
    }

    fn create<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Place, ProvideError>> {
        Box::pin(async move {
            let host = FakeHost::new();
            let agent = match &order.purpose {
                Purpose::Lent { join_token, .. } => {
                    let (address, clock) = (self.address.clone(), self.clock.clone());
                    live(address, join_token.clone(), host.clone(), clock).boxed()
                }
                Purpose::Service { .. } => std::future::ready(()).boxed(),
            };
            let mut state = self.state();
            let home = state.home.clone();
            state.standing.entry(order.id).or_insert_with(|| Standing {
                pool: order.pool.clone(),
                name: order.name.to_string(),
                home,
                host,
                created_at: self.clock.now(),
                agent: self.runtime.spawn(agent),
            });
            Ok(Place { host: "127.0.0.1".to_owned(), port: 2200 })
        })
    }

    fn list_owned<'a>(&'a self, pool: &'a PoolName) -> BoxFuture<'a, Result<Vec<Listed>, ProvideError>> {
        Box::pin(async move {
            let state = self.state();
            let is_seen = |of: &Standing| of.pool == *pool && of.home == state.home && !state.is_forgetful;
            let known = state.standing.iter().filter(|(_, of)| is_seen(of));
            Ok(known.map(|(id, of)| Listed { id: *id, created_at: of.created_at, running: true }).collect())
        })
    }

    fn destroy<'a>(&'a self, id: MachineId) -> BoxFuture<'a, Result<(), ProvideError>> {
        Box::pin(async move {
            if self.state().is_tired {
                return Err(ProvideError::Transient("the yard is tired".to_owned()));
            }
            self.state().standing.remove(&id);
            Ok(())
        })
    }
}

/// Enrols, and is the machine's agent until it is stopped or no longer wanted.
async fn live(address: String, join_token: String, host: FakeHost, clock: FakeClock) {
    let mut identity = Identity::new(&address).unwrap();
    let mut link = Link::new(&address).unwrap();
    while identity.enrol(&mut link, &join_token).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    agent::sync::run(host, link, identity, Arc::new(clock), std::future::pending()).await;
}
