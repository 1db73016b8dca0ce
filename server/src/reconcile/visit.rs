//! Visits to machines that have no agent of their own: the server logs in, and lets the agent there make one. Of several
//! servers one visits a machine, and what it brings back does not count once another has taken over.

use super::Hub;
use crate::reach::VisitError;
use crate::reach::ssh::{Auth, HostKey, LONGEST_KEY, Login, Ssh, Target, read_key};
use crate::seal::{Credentials, Seal, Unsealable};
use crate::secret;
use crate::store::{Access, Failure, Itinerary, Store, Thing};
use anyhow::{Context, anyhow};
use jiff::SignedDuration;
use model::adoption::{Adoption, Step};
use model::machine::Machine;
use model::report::Report;
use model::ssh::{AuthKind, Secret};
use model::visit::next_visit;
use model::wire::Visit;
use model::{AssignmentId, MachineId, Timestamp};
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// So many at once: one that hangs keeps nobody else waiting for long.
const ABREAST: usize = 64;
/// After the database failed.
const RETRY: SignedDuration = SignedDuration::from_secs(1);
/// While a visit is due and another server is to make it, which may die.
const ELSEWHERE: SignedDuration = SignedDuration::from_secs(3);
/// So long an agent that was put on a machine may take to enrol; the next try brings a new token.
const JOIN_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// What visits need.
pub struct Visitor {
    pub ssh: Ssh,
    pub seal: Seal,
}

pub struct Visits {
    state: Mutex<State>,
    abreast: Semaphore,
}

#[derive(Default)]
struct State {
    under_way: HashSet<MachineId>,
    /// Log-ins that were sealed with another key than ours: until they are given anew, that is for another server.
    sealed: HashSet<MachineId>,
    /// What the machines reported and the database has: the next visit tells them.
    kept: HashMap<MachineId, Vec<AssignmentId>>,
}

impl Default for Visits {
    fn default() -> Self {
        Self { state: Mutex::default(), abreast: Semaphore::new(ABREAST) }
    }
}

impl Visits {
    pub fn forget(&self, machine: MachineId) {
        let mut state = self.lock();
        state.kept.remove(&machine);
        state.sealed.remove(&machine);
    }

    /// Unless one is under way, or for another server.
    fn begin(&self, machine: MachineId) -> bool {
        let mut state = self.lock();
        !state.sealed.contains(&machine) && state.under_way.insert(machine)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a visit is due now; if only later, the machine is looked at again then.
pub(super) fn is_due(hub: &Hub, machine: &Machine, now: Timestamp) -> bool {
    let due = machine.ssh.as_ref().and_then(|ssh| next_visit(machine, ssh, now, hub.store.ttl()));
    match due {
        Some(at) if at > now => {
            hub.queue.add_at(machine.id, at);
            false
        }
        due => due.is_some(),
    }
}

/// Does nothing while another visit to the machine is under way: that one is followed by a look at what is left to do.
pub(super) async fn visit(hub: &Hub, id: MachineId) {
    let Some(visitor) = &hub.visitor else { return };
    if !hub.visits.begin(id) {
        return;
    }
    let mut under_way = UnderWay { hub, id, look_at: Timestamp::MIN };
    let Ok(_permit) = hub.visits.abreast.acquire().await else { return };
    match try_visit(hub, visitor, id).await {
        Ok(Whose::Ours) => drop(under_way),
        Ok(Whose::Anothers) => under_way.look_at = hub.clock.now() + ELSEWHERE,
        Err(failure) => {
            tracing::warn!(machine = %id, %failure, "a visit could not be made or written down");
            hub.clock.sleep_until(hub.clock.now() + RETRY).await;
        }
    }
}

/// Who visits a machine.
enum Whose {
    Ours,
    Anothers,
}

/// Also when the visit panics.
struct UnderWay<'a> {
    hub: &'a Hub,
    id: MachineId,
    /// What is left to do is looked for then.
    look_at: Timestamp,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.hub.visits.lock().under_way.remove(&self.id);
        self.hub.queue.add_at(self.id, self.look_at);
    }
}

async fn try_visit(hub: &Hub, visitor: &Visitor, id: MachineId) -> Result<Whose, Failure> {
    let Some(claim) = hub.store.claim_take(Thing::VisitsTo(id)).await? else { return Ok(Whose::Anothers) };
    let store = hub.store.under(&claim);
    let is_sealed = match visit_under(hub, &store, visitor, id).await {
        // Its log-in was taken away meanwhile.
        Err(Failure::NotFound(_)) => false,
        other => other?,
    };
    if is_sealed {
        hub.visits.lock().sealed.insert(id);
        hub.store.claim_leave(claim).await?;
    }
    Ok(Whose::Ours)
}

/// Says whether the log-in is sealed with another key than ours.
async fn visit_under(hub: &Hub, store: &Store, visitor: &Visitor, id: MachineId) -> Result<bool, Failure> {
    let itinerary = store.itinerary(id).await?;
    let order = itinerary.adoption.clone();
    let due = order.and_then(|order| order.due(hub.clock.now()).map(|step| (step, order)));
    let errand = match due {
        Some((Step::Overdue, _)) => return store.agent_overdue(id, hub.clock.now()).await.map(|()| false),
        Some((Step::Install, order)) => install(hub, store, id, order).await?,
        Some((Step::Uninstall, order)) => Errand::Uninstall(order),
        None => Errand::Look,
    };
    let came_to = go(hub, visitor, id, itinerary, &errand).await;
    let is_sealed = matches!(came_to, Err(Trouble::Sealed(_)));
    write_down(hub, store, id, errand, came_to).await.map(|()| is_sealed)
}

async fn write_down(
    hub: &Hub,
    store: &Store,
    id: MachineId,
    errand: Errand,
    came_to: Result<Seen, Trouble>,
) -> Result<(), Failure> {
    let now = hub.clock.now();
    match came_to {
        Ok(Seen::Report(report)) => {
            let received = match errand {
                Errand::Uninstall(_) => store.agent_released(id, *report, now).await?,
                Errand::Look | Errand::Install { .. } => store.visit_made(id, *report, now).await?,
            };
            hub.metrics.visits.inc();
            hub.visits.lock().kept.insert(id, received.kept.clone());
            hub.heard(&received);
            Ok(())
        }
        Ok(Seen::Installed(order)) => store.agent_installed(id, order, now).await,
        Ok(Seen::HostKey(key)) => store.host_key_seen(id, key.to_string(), key.fingerprint(), now).await,
        Err(Trouble::HostKeyChanged(key)) => {
            store.host_key_changed(id, key.to_string(), key.fingerprint(), now).await
        }
        Err(Trouble::Sealed(why) | Trouble::Other(why)) => {
            tracing::warn!(machine = %id, why, "a visit failed");
            hub.metrics.visits_failed.inc();
            match errand {
                Errand::Look => store.visit_failed(id, why, now).await,
                Errand::Install { order, .. } | Errand::Uninstall(order) => {
                    store.adoption_failed(id, order, why, now).await
                }
            }
        }
    }
}

/// What a visit is for.
enum Errand {
    Look,
    Install {
        order: Adoption,
        join_token: Secret,
    },
    /// And look.
    Uninstall(Adoption),
}

impl Errand {
    /// As the agent over there is told it.
    fn arguments(&self) -> String {
        match self {
            Self::Look => "once".to_owned(),
            // Made of letters that need no more than this.
            Self::Install { order, .. } => format!("install --server \"{}\"", order.server),
            Self::Uninstall(_) => "uninstall".to_owned(),
        }
    }
}

/// A token for one more try.
async fn install(hub: &Hub, store: &Store, id: MachineId, order: Adoption) -> Result<Errand, Failure> {
    let (token, now) = (secret::join_token(), hub.clock.now());
    store.adoption_token(id, secret::digest(&token), now + JOIN_WITHIN, now).await?;
    Ok(Errand::Install { order, join_token: token.into() })
}

/// What a visit came to.
enum Seen {
    Report(Box<Report>),
    Installed(Adoption),
    /// Of a machine of which none is pinned.
    HostKey(HostKey),
}

enum Trouble {
    HostKeyChanged(HostKey),
    /// With another key than ours.
    Sealed(String),
    Other(String),
}

impl From<VisitError> for Trouble {
    fn from(error: VisitError) -> Self {
        match error {
            VisitError::HostKeyChanged { seen, .. } => Self::HostKeyChanged(seen),
            error => Self::Other(error.to_string()),
        }
    }
}

async fn go(
    hub: &Hub,
    visitor: &Visitor,
    id: MachineId,
    itinerary: Itinerary,
    errand: &Errand,
) -> Result<Seen, Trouble> {
    let Itinerary { mut accesses, spec, .. } = itinerary;
    let is_pinned = accesses[0].host_key.is_some();
    let (host, port) = (accesses[0].host.clone(), accesses[0].port);
    let jumps = if is_pinned { vec![] } else { accesses.split_off(1) };
    let seal = visitor.seal.clone();
    // Keys with a passphrase are slow to open.
    let target = tokio::task::spawn_blocking(move || {
        let way = if is_pinned { accesses } else { jumps };
        target(&seal, way)
    });
    let target = target.await.map_err(anyhow::Error::from).flatten();
    let target = target.map_err(|error| {
        let is_sealed = error.chain().any(|cause| cause.is::<Unsealable>());
        if is_sealed { Trouble::Sealed(format!("{error:#}")) } else { Trouble::Other(format!("{error:#}")) }
    })?;
    let target = match (is_pinned, target) {
        (true, Some(target)) => target,
        (_, jump) => return Ok(Seen::HostKey(visitor.ssh.scan(&host, port, jump.as_ref()).await?)),
    };
    let kept = hub.visits.lock().kept.get(&id).cloned().unwrap_or_default();
    // The time is told as it is when the machine hears it.
    let input = || {
        if let Errand::Install { join_token, order } = errand {
            return format!("{}\n{}", join_token.expose(), order.ca.as_deref().unwrap_or_default())
                .into_bytes();
        }
        let visit = Visit { now: hub.clock.now(), spec: spec.clone(), kept: kept.clone() };
        serde_json::to_vec(&visit).unwrap_or_default()
    };
    let answer = visitor.ssh.visit(&target, &errand.arguments(), input).await?;
    if let Errand::Install { order, .. } = errand {
        return Ok(Seen::Installed(order.clone()));
    }
    match serde_json::from_slice(&answer) {
        Ok(report) => Ok(Seen::Report(Box::new(report))),
        Err(error) => Err(Trouble::Other(format!("what the agent there answers is no report: {error}"))),
    }
}

/// The first of these, reached through the others.
fn target(seal: &Seal, accesses: Vec<Access>) -> anyhow::Result<Option<Target>> {
    let mut jump = None;
    for access in accesses.into_iter().rev() {
        let name = format!("{}:{}", access.host, access.port);
        let key = access.host_key.as_deref();
        let key = key.ok_or_else(|| anyhow!("the host key of its jump host {name} is not confirmed yet"))?;
        jump = Some(Target {
            machine: access.machine,
            host_key: key.parse::<HostKey>()?,
            login: login(seal, &access).with_context(|| format!("the log-in at {name}"))?,
            host: access.host,
            port: access.port,
            jump: jump.map(Box::new),
        });
    }
    Ok(jump)
}

fn login(seal: &Seal, access: &Access) -> anyhow::Result<Login> {
    let Credentials { password, private_key, passphrase, sudo_password } =
        seal.open_credentials(access.machine, &access.sealed)?;
    let missing = || anyhow!("its credentials are incomplete: give them anew");
    let auth = match access.auth {
        AuthKind::Password => Auth::Password(password.clone().ok_or_else(missing)?),
        AuthKind::PrivateKey => Auth::Key(read_key(&private_key.ok_or_else(missing)?, passphrase.as_ref())?),
        AuthKind::KeyFile => {
            let file = access.key_file.as_deref().ok_or_else(missing)?;
            Auth::Key(read_key(&key_of(file)?, passphrase.as_ref()).with_context(|| format!("`{file}`"))?)
        }
    };
    Ok(Login { user: access.user.clone(), auth, sudo_password: sudo_password.or(password) })
}

fn key_of(file: &str) -> anyhow::Result<Secret> {
    use std::io::Read;
    let cannot = || format!("cannot read the key file `{file}` on the server's machine");
    let mut text = String::new();
    let opened = std::fs::File::open(file).with_context(cannot)?;
    opened.take(LONGEST_KEY as u64).read_to_string(&mut text).with_context(cannot)?;
    Ok(text.into())
}
