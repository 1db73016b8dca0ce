//! Machines as containers of the local Docker engine.
//!
//! A container is ours if its labels name our database and the machine; everything else is left alone,
//! whatever it is called. The agent comes in as a file before the first start and dials the server through a
//! socket in a folder.

mod container;
mod fault;
mod port;

pub use container::{DOOR, MEMORY, PIDS};

use crate::provider::{Order, Place, ProvideError, Provider, Purpose};
use bollard::API_DEFAULT_VERSION;
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions, UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use fault::{Fault, within};
use futures_util::future::BoxFuture;
use model::pool::Listed;
use model::{Epoch, MachineId, PoolName};
use port::{Claim, Port, Ports};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Where the agent stands inside a machine, without the leading `/`.
const AGENT: &str = "usr/local/sbin/berth-agent";
/// Where an agent looks for its join token, and removes it: the engine tells whoever asks of a container's environment.
const STATE: &str = "var/lib/berth";
const JOIN_TOKEN: &str = "var/lib/berth/join-token";
const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";
/// Ports tried before a creation is given up for now.
const PORT_TRIES: usize = 20;
const REMOVAL_PATIENCE: Duration = Duration::from_secs(60);
const REMOVAL_PAUSE: Duration = Duration::from_millis(100);

pub struct Docker {
    /// Where the engine listens, as in `unix:///var/run/docker.sock`.
    engine: String,
    owner: Epoch,
    agent_binary: PathBuf,
    agent_door: PathBuf,
    ports: Ports,
}

/// A container that is this machine.
struct Made {
    id: String,
    port: u16,
    stage: Stage,
}

enum Stage {
    /// It has never run, so nothing can be lost with it.
    Fresh,
    Stopped,
    Running,
}

impl Docker {
    /// `owner` marks what is ours, `agent_binary` is put into every machine, `agent_door` is the folder of
    /// this host that holds the agents' socket. The engine is that of `DOCKER_HOST` if it names a Unix
    /// socket; it need not be there yet.
    pub fn new(owner: Epoch, agent_binary: PathBuf, agent_door: PathBuf) -> Self {
        let named = std::env::var("DOCKER_HOST").ok().filter(|host| host.starts_with("unix://"));
        // The engine has another working folder than we have.
        let agent_door = std::path::absolute(&agent_door).unwrap_or(agent_door);
        let engine = named.unwrap_or_else(|| DEFAULT_SOCKET.to_owned());
        Self { engine, owner, agent_binary, agent_door, ports: Ports::default() }
    }

    /// A client for one call: it keeps no connection, and cannot be made before the engine's socket is there.
    fn engine(&self) -> Result<bollard::Docker, Fault> {
        bollard::Docker::connect_with_unix(&self.engine, fault::PATIENCE.as_secs(), API_DEFAULT_VERSION)
            .map_err(|error| Fault::new("reaching the Docker engine", error))
    }

    async fn place(&self, order: &Order) -> Result<Place, ProvideError> {
        let agent = match &order.purpose {
            Purpose::Lent { join_token, .. } => Some(self.agent(join_token).await?),
            Purpose::Service { .. } => None,
        };
        let mut refused = BTreeSet::new();
        while refused.len() < PORT_TRIES {
            let claim = self.claim(order, &refused).await?;
            let made = self.make(order, claim.port).await?;
            if let Stage::Running = made.stage {
                return Ok(placed(order, made.port));
            }
            if let Some(agent) = &agent {
                self.upload(order, &made, agent.clone()).await?;
            }
            let Err(fault) = self.start(order, &made).await else { return Ok(placed(order, made.port)) };
            if !(fault.is_port_conflict() && matches!(made.stage, Stage::Fresh)) {
                return Err(fault.into());
            }
            // The port is part of the container: another one needs another container.
            tracing::info!(machine = %order.name, port = made.port, "port in use, taking the next");
            self.remove(&made.id).await?;
            refused.insert((container::protocol(order), made.port));
        }
        Err(ProvideError::Transient(format!(
            "no free port for `{}` in {PORT_TRIES} tries: tried again by itself",
            order.name
        )))
    }

    /// What is put into a machine that is lent.
    async fn agent(&self, join_token: &str) -> Result<Bytes, ProvideError> {
        if !self.agent_door.is_dir() {
            let door = self.agent_door.display();
            return Err(ProvideError::Invalid(format!(
                "the folder of the agents' door `{door}` does not exist: let the server open its door there"
            )));
        }
        agent_archive(self.agent_binary.clone(), join_token.to_owned()).await
    }

    async fn claim(&self, order: &Order, refused: &BTreeSet<Port>) -> Result<Claim<'_>, ProvideError> {
        let mut taken = container::ports_taken(&self.list(HashMap::new()).await?);
        taken.extend(refused);
        let protocol = container::protocol(order);
        let (first, claim) = match &order.purpose {
            Purpose::Lent { .. } => {
                (*port::LENT.start(), self.ports.claim(protocol, port::LENT, &taken, port::is_free))
            }
            Purpose::Service { service, .. } => {
                let is_free = |port| port::is_free_at(service.address, protocol, port);
                (service.port, self.ports.claim(protocol, service.port..=u16::MAX, &taken, is_free))
            }
        };
        claim.ok_or_else(|| {
            ProvideError::Transient(format!("no port from {first} up is free: make a pool smaller"))
        })
    }

    /// Creates the container, or finds it.
    async fn make(&self, order: &Order, port: u16) -> Result<Made, ProvideError> {
        let name = container::name(order);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let marks = container::marks(self.owner, order, port);
        let body = container::body(order, marks, port, &self.agent_door);
        let what = format!("creating container `{name}`");
        match within(&what, self.engine()?.create_container(Some(options), body)).await {
            Ok(created) => Ok(Made { id: created.id, port, stage: Stage::Fresh }),
            Err(fault) if fault.status() == Some(409) => self.adopt(order, &name).await,
            Err(fault) if fault.status() == Some(404) => Err(no_image(order)),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn adopt(&self, order: &Order, name: &str) -> Result<Made, ProvideError> {
        let what = format!("inspecting container `{name}`");
        let found =
            within(&what, self.engine()?.inspect_container(name, None::<InspectContainerOptions>)).await;
        match found {
            Ok(found) => recognise(found, self.owner, order.id).ok_or_else(|| {
                ProvideError::Conflict(format!(
                    "container `{name}` exists and is not this machine's: \
                     remove it, or name the pool differently"
                ))
            }),
            // It was on its way out when its name was refused to us.
            Err(fault) if fault.status() == Some(404) => {
                Err(ProvideError::Transient(format!("container `{name}` was going: tried again by itself")))
            }
            Err(fault) => Err(fault.into()),
        }
    }

    async fn upload(&self, order: &Order, made: &Made, agent: Bytes) -> Result<(), ProvideError> {
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let what = format!("putting the agent into `{}`", order.name);
        let body = bollard::body_full(agent);
        Ok(within(&what, self.engine()?.upload_to_container(&made.id, Some(options), body)).await?)
    }

    async fn start(&self, order: &Order, made: &Made) -> Result<(), Fault> {
        let what = format!("starting `{}`", order.name);
        within(&what, self.engine()?.start_container(&made.id, None::<StartContainerOptions>)).await
    }

    async fn list(&self, filters: HashMap<&str, Vec<String>>) -> Result<Vec<ContainerSummary>, ProvideError> {
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        Ok(within("listing containers", self.engine()?.list_containers(Some(options))).await?)
    }

    /// Removes the container with its volumes and waits until it is gone.
    async fn remove(&self, id: &str) -> Result<(), ProvideError> {
        timeout(REMOVAL_PATIENCE, self.remove_until_gone(id)).await.unwrap_or_else(|_| {
            Err(ProvideError::Transient(format!(
                "container `{id}` does not go away: see the Docker engine's log"
            )))
        })
    }

    async fn remove_until_gone(&self, id: &str) -> Result<(), ProvideError> {
        let what = format!("removing container `{id}`");
        loop {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            match within(&what, self.engine()?.remove_container(id, Some(options))).await {
                // Asked again until it is not there: the answer may come before the container is gone.
                Ok(()) => {}
                Err(fault) if fault.status() == Some(404) => return Ok(()),
                // Somebody else is removing it.
                Err(fault) if fault.status() == Some(409) => sleep(REMOVAL_PAUSE).await,
                Err(fault) => return Err(fault.into()),
            }
        }
    }
}

impl Provider for Docker {
    fn kind(&self) -> &'static str {
        "docker"
    }

    fn home(&self) -> BoxFuture<'_, Result<Option<String>, ProvideError>> {
        Box::pin(async move {
            let info = within("asking the Docker engine who it is", self.engine()?.info()).await?;
            Ok(info.id.map(|id| format!("Docker engine {id}")))
        })
    }

    fn create<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Place, ProvideError>> {
        Box::pin(self.place(order))
    }

    fn list_owned<'a>(&'a self, pool: &'a PoolName) -> BoxFuture<'a, Result<Vec<Listed>, ProvideError>> {
        Box::pin(async move {
            let containers = self.list(container::filter_pool(self.owner, pool)).await?;
            Ok(containers.iter().filter_map(container::listed).collect())
        })
    }

    fn destroy<'a>(&'a self, id: MachineId) -> BoxFuture<'a, Result<(), ProvideError>> {
        Box::pin(async move {
            for found in self.list(container::filter_machine(self.owner, id)).await? {
                self.remove(&found.id.unwrap_or_default()).await?;
            }
            Ok(())
        })
    }
}

fn recognise(found: ContainerInspectResponse, owner: Epoch, machine: MachineId) -> Option<Made> {
    let port = container::port_of(&found.config?.labels?, owner, machine)?;
    let stage = match found.state?.status? {
        ContainerStateStatusEnum::CREATED => Stage::Fresh,
        ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::RESTARTING => Stage::Running,
        _ => Stage::Stopped,
    };
    Some(Made { id: found.id?, port, stage })
}

fn placed(order: &Order, port: u16) -> Place {
    let host = match &order.purpose {
        Purpose::Lent { .. } => "127.0.0.1".to_owned(),
        Purpose::Service { service, .. } => service.address.to_string(),
    };
    Place { host, port }
}

fn no_image(order: &Order) -> ProvideError {
    let image = &order.image;
    let remedy = match order.purpose {
        Purpose::Lent { .. } => "run `just images`".to_owned(),
        Purpose::Service { .. } => format!("run `docker pull {image}`, or name another one"),
    };
    ProvideError::Invalid(format!("image `{image}` does not exist: {remedy}"))
}

/// The agent and its join token as an archive to be unpacked at the root of a machine.
async fn agent_archive(binary: PathBuf, join_token: String) -> Result<Bytes, ProvideError> {
    let shown = binary.display().to_string();
    let archive = tokio::task::spawn_blocking(move || pack(&binary, &join_token)).await;
    let archive = archive.unwrap_or_else(|panic| Err(io::Error::other(panic)));
    archive.map(Bytes::from).map_err(|error| {
        ProvideError::Invalid(format!(
            "the agent's binary `{shown}` cannot be read ({error}): run `just build`"
        ))
    })
}

fn pack(binary: &Path, join_token: &str) -> io::Result<Vec<u8>> {
    let content = std::fs::read(binary)?;
    let mut archive = tar::Builder::new(Vec::with_capacity(content.len() + 8192));
    archive.append_data(&mut header(0o755, content.len()), AGENT, content.as_slice())?;
    let mut folder = header(0o700, 0);
    folder.set_entry_type(tar::EntryType::Directory);
    archive.append_data(&mut folder, STATE, io::empty())?;
    archive.append_data(&mut header(0o600, join_token.len()), JOIN_TOKEN, join_token.as_bytes())?;
    archive.into_inner()
}

/// Of something of root's.
fn header(mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Timestamp;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    /// A Docker provider whose engine listens, if at all, at `docker.sock` in this folder.
    fn docker(folder: &Path) -> Docker {
        let engine = format!("unix://{}", folder.join("docker.sock").display());
        let docker = Docker::new(Epoch::new(Timestamp::UNIX_EPOCH), PathBuf::new(), folder.to_owned());
        Docker { engine, ..docker }
    }

    /// An engine without containers, for one question.
    fn answer_once(socket: &Path) -> std::thread::JoinHandle<()> {
        let listener = UnixListener::bind(socket).unwrap();
        std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            assert!(connection.read(&mut [0; 4096]).unwrap() > 0);
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]";
            connection.write_all(answer.as_bytes()).unwrap();
        })
    }

    #[tokio::test]
    async fn an_engine_may_come_late_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let docker = docker(folder.path());
        let pool = "debian".parse().unwrap();
        let listed = async || docker.list_owned(&pool).await.map_err(|error| error.to_string());
        let absent = listed().await.unwrap_err();
        assert!(absent.contains("docker.sock") && absent.ends_with("start it with `just setup`"), "{absent}");
        let engine = answer_once(&folder.path().join("docker.sock"));
        assert_eq!(listed().await, Ok(Vec::new()));
        engine.join().unwrap();
        let gone = listed().await.unwrap_err();
        assert!(gone.ends_with("start it with `just setup`"), "{gone}");
    }
}
