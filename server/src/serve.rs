//! Puts the parts together and runs them until told to stop.

use crate::api::accept::{self, Limits, Listener};
use crate::app::{App, GateSettings, Refusal, VmPool};
use crate::clock::Clock;
use crate::reach::ssh::{Ssh, SshSettings};
use crate::reconcile::Visitor;
use crate::seal::Seal;
use crate::store::{self, CommitHook, Store};
use crate::{api, private, reconcile, secret};
use anyhow::{Context, bail};
use futures_util::future::{BoxFuture, join_all};
use model::wire::{EnrolAnswer, EnrolRequest, SyncAnswer, SyncRequest};
use provision::{Docker, Door, DoorError, Provider, Simulated};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long requests under way may take when the server stops.
const DRAIN: Duration = Duration::from_secs(3);

/// What a server needs to know beside its listeners.
pub struct Settings {
    pub database: String,
    /// A machine not heard of for longer is unreachable.
    pub ttl: Duration,
    /// For Docker: the agent to put into containers, and the folder of the socket it dials.
    pub docker: Option<DockerSettings>,
    /// For machines that have SSH only.
    pub visits: Option<VisitSettings>,
    /// Whether listed servers may be looked for at link-local addresses and those where clouds tell secrets.
    pub allow_link_local: bool,
    /// What older clients' VMs are made of.
    pub vm_pool: VmPool,
    /// How people are let in.
    pub gate: GateSettings,
    /// Other computers reach us.
    pub is_exposed: bool,
    /// Where to leave the token with which somebody makes the first account from elsewhere.
    pub setup_token_file: Option<PathBuf>,
    /// Beside ours, or in their place; for tests.
    pub providers: reconcile::Providers,
    /// Stops the store at a chosen commit, as a crash would; for tests.
    pub commit_hook: Option<CommitHook>,
}

pub struct DockerSettings {
    pub agent_binary: PathBuf,
    pub agent_door: PathBuf,
}

pub struct VisitSettings {
    pub ssh: SshSettings,
    /// Seals the credentials in the database; made when there is none.
    pub secrets_key: PathBuf,
}

/// Where we listen: for people, and for agents.
pub struct Doors {
    pub api: Listener,
    pub agents: Vec<Listener>,
}

/// Serves until `stop` completes.
pub async fn serve(
    settings: Settings,
    doors: Doors,
    clock: Arc<dyn Clock>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let Settings {
        database,
        ttl,
        docker,
        visits,
        allow_link_local,
        vm_pool,
        mut gate,
        is_exposed,
        setup_token_file,
        providers: others,
        commit_hook,
    } = settings;
    let now = clock.now();
    let _claim = store::claim(&database)?;
    let store = tokio::task::spawn_blocking(move || Store::open(&database, ttl, now, commit_hook))
        .await?
        .context("cannot open the database; is its path or URL right?")?;
    if store.is_locked().await? {
        tracing::info!("locked: who asks needs a credential");
    } else if is_exposed {
        bail!(
            "other computers can reach us, and there is no account to keep them out: start with `--listen 127.0.0.1:8080`, \
             make one with `berth account create NAME --admin`, and start again"
        );
    } else {
        gate.setup_token = setup_token_file.map(|file| invite(&file)).transpose()?;
    }
    let hub = reconcile::Hub::new(store, clock, visits.map(visitor).transpose()?, allow_link_local);
    let app = App::new(hub.clone(), gate, vm_pool);
    let mut providers = providers(&app, docker);
    providers.extend(others);
    let preparing = tokio::spawn({
        let app = app.clone();
        async move { app.prepare().await }
    });
    let loops = reconcile::start(&hub, providers).await?;
    reconcile::sweep(&hub).await;
    let (stopping, stopped) = watch::channel(false);
    let people = accept::serve(doors.api, api::routes(app.clone()), Limits::API, stopped.clone(), DRAIN);
    let agents = join_all(doors.agents.into_iter().map(|door| {
        // Parked syncs have nothing to finish.
        accept::serve(door, api::agent_routes(app.clone()), Limits::AGENTS, stopped.clone(), Duration::ZERO)
    }));
    tokio::join!(people, agents, async {
        stop.await;
        let _ = stopping.send(true);
    });
    drop(loops);
    preparing.abort();
    Ok(())
}

/// Says how to make the first account, and leaves a token for whoever does it from elsewhere. Returns its digest.
fn invite(file: &Path) -> anyhow::Result<String> {
    let token = private::line(file, &secret::token())?;
    if !secret::is_token(&token) {
        bail!("`{0}` holds no token: remove it (`rm {0}`), and start again", file.display());
    }
    tracing::warn!(
        token_file = %file.display(),
        "open: there is no account yet, and whoever is on this computer may do everything; `berth account create NAME \
         --admin` makes the first one and locks the door (from elsewhere: with the token in `token_file`)"
    );
    Ok(secret::digest(&token))
}

fn visitor(settings: VisitSettings) -> anyhow::Result<Visitor> {
    let VisitSettings { ssh, secrets_key } = settings;
    Ok(Visitor { ssh: Ssh::new(ssh)?, seal: Seal::open(&secrets_key)? })
}

fn providers(app: &App, docker: Option<DockerSettings>) -> reconcile::Providers {
    let simulated: Arc<dyn Provider> = Arc::new(Simulated::new(Arc::new(InProcess(app.clone()))));
    let mut providers = reconcile::Providers::from([("simulated", simulated)]);
    if let Some(docker) = docker {
        let docker = Docker::new(app.version().owner, docker.agent_binary, docker.agent_door);
        providers.insert("docker", Arc::new(docker));
    }
    providers
}

/// The agents' door for machines that live in this process.
struct InProcess(App);

impl Door for InProcess {
    fn enrol(&self, request: EnrolRequest) -> BoxFuture<'_, Result<EnrolAnswer, String>> {
        Box::pin(async move { self.0.agent_enrol(request).await.map_err(|refusal| refusal.to_string()) })
    }

    fn sync(&self, credential: String, request: SyncRequest) -> BoxFuture<'_, Result<SyncAnswer, DoorError>> {
        Box::pin(async move {
            self.0.agent_sync(&credential, request).await.map_err(|refusal| match refusal {
                Refusal::Gone(_) => DoorError::Gone,
                other => DoorError::Other(other.to_string()),
            })
        })
    }
}
