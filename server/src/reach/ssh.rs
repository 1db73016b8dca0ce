//! Machines that have nothing but SSH: log in, put the agent there if it is not, let it make one visit.
//!
//! The agent goes up through `cat` in a shell, on every host: SFTP cannot write as root where root is reached through
//! `sudo`, and dropbear often has none. One way that works everywhere is less than two.
//!
//! Each machine has at most one connection, kept for its next visit. It lives as long as something holds it: dropping a
//! `Connection` ends it, whatever the other side does.

mod agent;
mod connection;
mod door;
mod error;
mod exec;
mod key;
mod line;
mod pace;

pub use agent::AgentFileError;
pub use error::{Phase, SudoRefusal, VisitError};
pub use key::{HostKey, KeyError, LONGEST_KEY, PrivateKey, read_key};

use super::address;
use agent::{AgentFiles, Asked, Belief};
use connection::{Connection, Way};
use exec::Output;
use model::MachineId;
use model::ssh::Secret;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// A machine, and how to log in to it.
#[derive(Debug, Clone)]
pub struct Target {
    pub machine: MachineId,
    /// A name or an address. Behind a jump host it is looked up over there, and not checked here.
    pub host: String,
    pub port: u16,
    pub login: Login,
    /// The pinned one: nothing secret goes to a host that has another.
    pub host_key: HostKey,
    pub jump: Option<Box<Target>>,
}

#[derive(Debug, Clone)]
pub struct Login {
    /// Whoever is not `root` becomes root with `sudo`.
    pub user: String,
    pub auth: Auth,
    /// What `sudo` asks for. Without one it must not ask.
    pub sudo_password: Option<Secret>,
}

#[derive(Clone)]
pub enum Auth {
    Password(Secret),
    Key(Arc<PrivateKey>),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(…)",
            Self::Key(_) => "Key(…)",
        })
    }
}

#[derive(Debug, Clone, Default)]
pub struct SshSettings {
    /// Static agents, at most one for each architecture.
    pub agents: Vec<PathBuf>,
    /// Machines may have link-local addresses, and those at which clouds tell secrets.
    pub allow_link_local: bool,
    pub timeouts: Timeouts,
}

/// How long each phase of a visit may take, and a connection may wait.
#[derive(Debug, Clone)]
pub struct Timeouts {
    pub connect: Duration,
    pub handshake: Duration,
    pub log_in: Duration,
    pub upload: Duration,
    pub visit: Duration,
    /// Between two questions whether the host is still there; it may leave three unanswered.
    pub keep_alive: Duration,
    /// A connection unused for so long is given up, a half of it later at most.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            log_in: Duration::from_secs(10),
            upload: Duration::from_secs(60),
            visit: Duration::from_secs(60),
            keep_alive: Duration::from_secs(15),
            idle: Duration::from_secs(300),
        }
    }
}

/// All connections to machines that are reached over SSH.
#[derive(Clone)]
pub struct Ssh(Arc<Pool>);

struct Pool {
    way: Way,
    agents: AgentFiles,
    slots: Mutex<HashMap<MachineId, Arc<Slot>>>,
}

/// What is kept of a machine between visits.
#[derive(Default)]
struct Slot {
    visiting: tokio::sync::Mutex<()>,
    kept: tokio::sync::Mutex<Option<Arc<Connection>>>,
    /// How often the sweep came by since the connection was used.
    unused: AtomicU32,
}

impl Ssh {
    /// Reads the agents, and starts the sweep of unused connections: to be called within the runtime.
    pub fn new(settings: SshSettings) -> Result<Self, AgentFileError> {
        let agents = AgentFiles::read(&settings.agents)?;
        let idle = settings.timeouts.idle;
        let pool = Arc::new(Pool { way: Way::new(settings), agents, slots: Mutex::default() });
        tokio::spawn(sweep(Arc::downgrade(&pool), idle / 2));
        Ok(Self(pool))
    }

    /// Which host key is there. Ends before anybody logs in: no credential leaves us.
    pub async fn scan(&self, host: &str, port: u16, jump: Option<&Target>) -> Result<HostKey, VisitError> {
        let via = self.0.jump(jump).await?;
        self.0.way.scan(host, port, via).await
    }

    /// Logs in, puts the agent there if it is not, and runs it with these arguments and this input; returns its answer.
    /// Visits to one machine wait for each other. Nothing is tried twice, but for a kept connection that was dead.
    ///
    /// The arguments are words of a script of `sh` in one line, without `'`, `\` and `!`, and nothing secret. The input
    /// is asked for when it is sent, since it may tell the time.
    pub async fn visit(
        &self,
        target: &Target,
        arguments: &str,
        input: impl Fn() -> Vec<u8> + Sync,
    ) -> Result<Vec<u8>, VisitError> {
        let asked = Asked { login: &target.login, arguments, input: &input };
        self.0.visit(target, &asked).await
    }

    /// Whether this is an address where nobody visits. Of a name that is seen when it is resolved.
    pub fn forbids(&self, host: &str) -> bool {
        let allow_link_local = self.0.way.allow_link_local;
        host.parse().is_ok_and(|address| address::is_forbidden(address, allow_link_local))
    }

    /// Drops a kept connection, because the machine is retired or its log-in changed. A visit that is under way ends in
    /// peace.
    pub fn forget(&self, machine: MachineId) {
        self.0.slots().remove(&machine);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeping {
    Kept,
    Fresh,
}

type Input<'a> = dyn Fn() -> Vec<u8> + Sync + 'a;

/// A connection in use for a visit. Only one that came to a good end leaves it for another: a command that was given up
/// half-way, or whose caller went away, may still run.
struct Use<'a> {
    slot: &'a Slot,
    connection: Arc<Connection>,
    ended_well: bool,
}

impl Pool {
    async fn visit(&self, target: &Target, asked: &Asked<'_>) -> Result<Vec<u8>, VisitError> {
        let slot = self.slot(target.machine);
        let _turn = slot.visiting.lock().await;
        let (connection, keeping) = self.connection(target).await?;
        let mut answer = Output::default();
        let belief = if keeping == Keeping::Kept { Belief::There } else { Belief::Unknown };
        match self.visit_over(&slot, connection, asked, belief, &mut answer).await {
            // It may have died long ago.
            Err(VisitError::Broken { .. }) if keeping == Keeping::Kept && answer.stdout.is_empty() => {}
            visited => return visited.map(|()| answer.stdout),
        }
        let (connection, _) = self.connection(target).await?;
        let mut answer = Output::default();
        self.visit_over(&slot, connection, asked, Belief::Unknown, &mut answer).await?;
        Ok(answer.stdout)
    }

    async fn visit_over(
        &self,
        slot: &Slot,
        connection: Arc<Connection>,
        asked: &Asked<'_>,
        belief: Belief,
        answer: &mut Output,
    ) -> Result<(), VisitError> {
        let mut using = Use { slot, connection, ended_well: false };
        self.agents.visit(&using.connection, asked, belief, &self.way.timeouts, answer).await?;
        using.ended_well = true;
        Ok(())
    }

    /// The kept connection, if it is alive, or a new one.
    async fn connection(&self, target: &Target) -> Result<(Arc<Connection>, Keeping), VisitError> {
        // Before our own slot is locked, so that whatever stands behind what, nobody waits in a circle.
        let via = Box::pin(self.jump(target.jump.as_deref())).await?;
        let slot = self.slot(target.machine);
        slot.unused.store(0, Ordering::Relaxed);
        let mut kept = slot.kept.lock().await;
        if let Some(connection) = kept.as_ref().filter(|connection| connection.is_good(via.as_ref())) {
            return Ok((connection.clone(), Keeping::Kept));
        }
        *kept = None;
        let fresh = Arc::new(self.way.connect(target, via).await?);
        *kept = Some(fresh.clone());
        Ok((fresh, Keeping::Fresh))
    }

    async fn jump(&self, jump: Option<&Target>) -> Result<Option<Arc<Connection>>, VisitError> {
        let Some(jump) = jump else { return Ok(None) };
        match self.connection(jump).await {
            Ok((connection, _)) => Ok(Some(connection)),
            Err(error) => Err(VisitError::AtJump { machine: jump.machine, error: Box::new(error) }),
        }
    }

    fn slot(&self, machine: MachineId) -> Arc<Slot> {
        self.slots().entry(machine).or_default().clone()
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<MachineId, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        if self.ended_well {
            return;
        }
        self.connection.spend();
        // Whoever holds the lock is making a new one.
        if let Ok(mut kept) = self.slot.kept.try_lock() {
            kept.take_if(|kept| Arc::ptr_eq(kept, &self.connection));
        }
    }
}

impl Slot {
    fn drop_if_unused(&self) {
        // Whoever holds the lock is about to use it.
        if self.unused.fetch_add(1, Ordering::Relaxed) >= 2
            && let Ok(mut kept) = self.kept.try_lock()
        {
            *kept = None;
        }
    }
}

async fn sweep(pool: Weak<Pool>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(pool) = pool.upgrade() else { return };
        let slots: Vec<_> = pool.slots().values().cloned().collect();
        slots.iter().for_each(|slot| slot.drop_if_unused());
    }
}
