//! Flags, environment and a TOML file: a flag wins over the environment, which wins over the file.

use crate::api::accept::Listener;
use crate::app::{GateSettings, Quotas, VmPool};
use crate::private;
use crate::reach::ssh::SshSettings;
use crate::reconcile::Providers;
use crate::serve::{DockerSettings, Doors, Settings, VisitSettings};
use crate::tls::{Files, Tls};
use anyhow::{Context, anyhow, bail, ensure};
use clap::Parser;
use serde::Deserialize;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener, UnixStream};

/// Lends machines: keeps a pool of them, reserves some for somebody until a time, makes an account appear on each and
/// takes it away again.
///
/// People talk to `--listen` (see README.md), agents to `--agent-listen`. Until the first account is made, whoever is on
/// this computer may do everything; from then on nobody does anything without a credential.
#[derive(Debug, Parser)]
#[command(name = "berth-server", version)]
pub struct Flags {
    /// TOML file with the same names as the flags (`agent_listen`, …)
    #[arg(long, env = "BERTH_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    values: Values,
    /// Instead of serving
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Write a copy of the database, as it is at one moment, to FILE; a server may be running
    Backup {
        /// It must not exist yet
        file: PathBuf,
    },
    /// Put a backup in the place of the database, of which no server may be running
    ///
    /// What was there is kept beside it. Nobody is taken off a machine: those that were told more than the backup knows are
    /// set apart until nobody is on them.
    Restore {
        /// Without it the database that is there was put back by other means, such as `pg_restore`
        file: Option<PathBuf>,
        /// Even if its events are not as they were written
        #[arg(long)]
        despite_broken_record: bool,
    },
}

#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Values {
    /// Where people are served [default: 127.0.0.1:8080]
    #[arg(long, env = "BERTH_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where agents are served: `unix:PATH`, `tls:ADDRESS:PORT` or a loopback address; may be given several times
    /// [default: unix:data/agent/agent.sock]
    #[arg(long, env = "BERTH_AGENT_LISTEN", value_name = "DOOR", value_delimiter = ',')]
    #[serde(default)]
    agent_listen: Vec<String>,
    /// Serve people, and agents at `tls:` doors, over TLS: the certificate in PEM, followed by those between it and its CA.
    /// Read anew on SIGHUP
    #[arg(long, env = "BERTH_TLS_CERTIFICATE", value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
    /// Its private key in PEM
    #[arg(long, env = "BERTH_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// A proxy of ours ends TLS for people: `--listen` speaks plain HTTP to it, and who asks is the last entry of its
    /// `X-Forwarded-For`
    #[arg(long, env = "BERTH_BEHIND_PROXY")]
    #[serde(default)]
    behind_proxy: bool,
    /// A path (SQLite) or a `postgres://` URL, which several servers may share [default: data/berth.db]
    #[arg(long, env = "BERTH_DATABASE", value_name = "PATH|URL", hide_env_values = true, global = true)]
    database: Option<String>,
    /// The static agent to put into containers and on machines reached over SSH; without it there is neither
    #[arg(long, env = "BERTH_AGENT_BINARY", value_name = "FILE")]
    agent_binary: Option<PathBuf>,
    /// The key that seals the credentials of machines in the database; made when there is none
    /// [default: data/secrets.key]
    #[arg(long, env = "BERTH_SECRETS_KEY", value_name = "FILE")]
    secrets_key: Option<PathBuf>,
    /// Let machines that are reached over SSH, and listed servers, have link-local addresses, where clouds tell secrets
    #[arg(long, env = "BERTH_ALLOW_LINK_LOCAL")]
    #[serde(default)]
    allow_link_local: bool,
    /// Seconds after which a silent machine counts as unreachable [default: 90]
    #[arg(long, env = "BERTH_TTL", value_name = "SECONDS")]
    ttl: Option<u64>,
    /// How much work it is to check a password: one more is twice as much [default: 12]
    #[arg(long, env = "BERTH_BCRYPT_COST", value_name = "COST")]
    bcrypt_cost: Option<u32>,
    /// Requests a second that one account or address may make; ten times as many at once [default: 100]
    #[arg(long, env = "BERTH_REQUESTS_PER_SECOND", value_name = "N")]
    requests_per_second: Option<u32>,
    /// With containers: what the VMs of `/checkout_vm` are made of [default: berth-debian]
    #[arg(long, env = "BERTH_VM_POOL_IMAGE", value_name = "IMAGE")]
    vm_pool_image: Option<String>,
    /// How much of the processors and memory that such a VM is said to have it really has [default: 0.0625]
    #[arg(long, env = "BERTH_VM_POOL_SCALE", value_name = "FACTOR")]
    vm_pool_scale: Option<f64>,
    /// What accounts may have that have no limits of their own; in the file only
    #[arg(skip)]
    #[serde(default)]
    quota: Quotas,
}

pub struct Config {
    pub listen: SocketAddr,
    pub agent_listen: Vec<String>,
    pub tls: Option<Files>,
    pub behind_proxy: bool,
    pub database: String,
    pub agent_binary: Option<PathBuf>,
    pub secrets_key: PathBuf,
    pub allow_link_local: bool,
    pub ttl: Duration,
    pub gate: GateSettings,
    pub vm_pool: VmPool,
}

impl Flags {
    /// The database alone, for what is done without serving.
    pub fn database(&self) -> anyhow::Result<String> {
        let file = self.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        Ok(self.values.database.clone().or(file.database).unwrap_or_else(default_database))
    }

    pub fn into_config(self) -> anyhow::Result<Config> {
        let file = self.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let own = self.values;
        let agent_listen = if own.agent_listen.is_empty() { file.agent_listen } else { own.agent_listen };
        let config = Config {
            listen: own.listen.or(file.listen).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080))),
            agent_listen: if agent_listen.is_empty() {
                vec!["unix:data/agent/agent.sock".to_owned()]
            } else {
                agent_listen
            },
            tls: certificate(own.tls_certificate.or(file.tls_certificate), own.tls_key.or(file.tls_key))?,
            behind_proxy: own.behind_proxy || file.behind_proxy,
            database: own.database.or(file.database).unwrap_or_else(default_database),
            agent_binary: own.agent_binary.or(file.agent_binary),
            secrets_key: own.secrets_key.or(file.secrets_key).unwrap_or_else(|| "data/secrets.key".into()),
            allow_link_local: own.allow_link_local || file.allow_link_local,
            ttl: Duration::from_secs(own.ttl.or(file.ttl).unwrap_or(90)),
            gate: GateSettings {
                bcrypt_cost: own.bcrypt_cost.or(file.bcrypt_cost).unwrap_or(12),
                requests_per_second: own.requests_per_second.or(file.requests_per_second).unwrap_or(100),
                quotas: file.quota,
                setup_token: None,
            },
            vm_pool: VmPool {
                image: own.vm_pool_image.or(file.vm_pool_image).unwrap_or_else(|| "berth-debian".to_owned()),
                scale: own.vm_pool_scale.or(file.vm_pool_scale).unwrap_or(1.0 / 16.0),
                ..VmPool::default()
            },
        };
        let scale = config.vm_pool.scale;
        ensure!(scale > 0.0 && scale <= 1.0, "`vm_pool_scale` must be more than 0 and at most 1");
        ensure!((10..=86_400).contains(&config.ttl.as_secs()), "`ttl` must be 10 to 86400 seconds");
        ensure!((10..=16).contains(&config.gate.bcrypt_cost), "`bcrypt_cost` must be 10 to 16");
        ensure!(config.gate.requests_per_second > 0, "`requests_per_second` must be 1 or more");
        ensure!(
            config.listen.ip().is_loopback() || config.tls.is_some() || config.behind_proxy,
            "`listen` is {}, which others can reach: give `tls-certificate` and `tls-key`, or `behind-proxy` if something \
             before us speaks TLS",
            config.listen
        );
        Ok(config)
    }
}

fn default_database() -> String {
    "data/berth.db".to_owned()
}

fn certificate(certificate: Option<PathBuf>, key: Option<PathBuf>) -> anyhow::Result<Option<Files>> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(Files { certificate, key })),
        (None, None) => Ok(None),
        (Some(_), None) => bail!("`tls-certificate` is given without its key: give `tls-key` too"),
        (None, Some(_)) => bail!("`tls-key` is given without its certificate: give `tls-certificate` too"),
    }
}

fn read_file(path: &Path) -> anyhow::Result<Values> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    parse(&text).with_context(|| format!("`{}` is wrong", path.display()))
}

pub(crate) fn parse(text: &str) -> anyhow::Result<Values> {
    toml::from_str(text).map_err(|error| match meant(error.message()) {
        Some(meant) => anyhow!("{error}did you mean `{meant}`?"),
        None => anyhow!("{error}"),
    })
}

/// Of the keys that an error about an unknown one lists, the one that is most like it.
fn meant(error: &str) -> Option<&str> {
    let mut quoted = error.strip_prefix("unknown field `")?.split('`').step_by(2);
    let unknown = quoted.next()?;
    let likeness = |known: &str| strsim::jaro_winkler(unknown, known);
    let nearest = quoted.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(nearest) > 0.8).then_some(nearest)
}

impl Config {
    /// Opens the doors; `tls` is what was loaded from our own files. The folder of the first Unix socket is what containers
    /// are given.
    pub async fn open(self, tls: Option<Arc<Tls>>) -> anyhow::Result<(Settings, Doors)> {
        prepare_database(&self.database)?;
        let mut agents = Vec::new();
        let mut door_folder = None;
        for door in &self.agent_listen {
            match door.strip_prefix("unix:") {
                Some(path) => {
                    let path = std::path::absolute(path)?;
                    door_folder = door_folder.or_else(|| path.parent().map(Path::to_path_buf));
                    agents.push(Listener::Unix(bind_socket(&path).await?));
                }
                None => agents.push(bind_door(door, tls.as_ref()).await?),
            }
        }
        let setup_token_file = self.secrets_key.with_file_name("setup-token");
        let agent_binary = self.agent_binary.map(|file| agent_file(&file)).transpose()?;
        let docker = match (agent_binary.clone(), door_folder) {
            (Some(agent_binary), Some(agent_door)) => Some(DockerSettings { agent_binary, agent_door }),
            (Some(_), None) => bail!("containers need a Unix socket to dial: add `--agent-listen unix:PATH`"),
            (None, _) => None,
        };
        let visits = match agent_binary {
            Some(agent) => {
                let allow_link_local = self.allow_link_local;
                let ssh = SshSettings { agents: vec![agent], allow_link_local, ..SshSettings::default() };
                Some(VisitSettings { ssh, secrets_key: self.secrets_key })
            }
            None => None,
        };
        let api = TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("cannot listen on {}: is another server running there?", self.listen))?;
        let vm_pool = match docker {
            Some(_) => VmPool { provider: "docker".to_owned(), ..self.vm_pool },
            None => VmPool { image: String::new(), ..self.vm_pool },
        };
        let settings = Settings {
            database: self.database,
            ttl: self.ttl,
            docker,
            visits,
            allow_link_local: self.allow_link_local,
            vm_pool,
            gate: self.gate,
            is_exposed: !self.listen.ip().is_loopback(),
            setup_token_file: Some(setup_token_file),
            providers: Providers::default(),
            commit_hook: None,
        };
        let api = match tls {
            _ if self.behind_proxy => Listener::Proxied(api),
            Some(tls) => Listener::Tls(api, tls),
            None => Listener::Tcp(api),
        };
        Ok((settings, Doors { api, agents }))
    }
}

fn agent_file(file: &Path) -> anyhow::Result<PathBuf> {
    ensure!(file.is_file(), "`{}` is no agent: build it with `just build`", file.display());
    Ok(std::path::absolute(file)?)
}

/// The database holds password hashes: nobody but us reads it.
fn prepare_database(database: &str) -> anyhow::Result<()> {
    if database.contains("://") {
        return Ok(());
    }
    let path = Path::new(database);
    private::folder_of(path)?;
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot open the database `{database}`"))?;
    exposed(path).iter().for_each(|why| tracing::warn!("{why}"));
    Ok(())
}

/// What was there before us and is open to others, with what ends that. SQLite gives what it makes beside a database the
/// mode of the database.
fn exposed(database: &Path) -> Vec<String> {
    let is_open = |path: &Path| std::fs::metadata(path).is_ok_and(|found| found.mode() & 0o077 != 0);
    let beside = |suffix| PathBuf::from(format!("{}{suffix}", database.display()));
    let files =
        [database.to_owned(), beside("-wal"), beside("-shm")].into_iter().filter(|file| is_open(file));
    let files = files.map(|file| {
        let file = file.display();
        format!("others may read `{file}`, which holds what lets people in: run `chmod 600 {file}`")
    });
    let folder = match database.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    let folder = is_open(folder).then(|| {
        let folder = folder.display();
        format!("others may look into `{folder}`, where the database is: run `chmod 700 {folder}`")
    });
    files.chain(folder).collect()
}

async fn bind_socket(path: &Path) -> anyhow::Result<UnixListener> {
    private::folder_of(path)?;
    if UnixStream::connect(path).await.is_ok() {
        bail!("another server answers on `{}`: stop it first", path.display());
    }
    // Left behind by a server that was killed.
    let _ = std::fs::remove_file(path);
    UnixListener::bind(path).with_context(|| format!("cannot listen on `{}`", path.display()))
}

async fn bind_door(door: &str, tls: Option<&Arc<Tls>>) -> anyhow::Result<Listener> {
    let (address, is_tls) = match door.strip_prefix("tls:") {
        Some(address) => (address, true),
        None => (door, false),
    };
    let address: SocketAddr = address.parse().with_context(|| {
        format!("`agent-listen` is `{door}`: give `unix:PATH`, `tls:ADDRESS:PORT` or `127.0.0.1:PORT`")
    })?;
    ensure!(
        is_tls || address.ip().is_loopback(),
        "`agent-listen` is {address}: without TLS it must be loopback or `unix:PATH`; give `tls:{address}`"
    );
    let bind =
        async || TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"));
    match tls {
        Some(tls) if is_tls => Ok(Listener::Tls(bind().await?, tls.clone())),
        None if is_tls => bail!("`agent-listen` is `{door}`: give `tls-certificate` and `tls-key`"),
        Some(_) | None => Ok(Listener::Tcp(bind().await?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_database_is_for_us_alone_and_an_open_one_is_complained_of() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("data");
        let database = folder.join("berth.db");
        let url = database.display().to_string();
        prepare_database(&url).unwrap();
        let _open = Store::open(&url, Duration::from_secs(60), model::Timestamp::UNIX_EPOCH, None).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        let log = folder.join("berth.db-wal");
        let modes = [mode(&folder), mode(&database), mode(&log), mode(&folder.join("berth.db-shm"))];
        assert_eq!(modes, [0o700, 0o600, 0o600, 0o600]);
        assert_eq!(exposed(&database), Vec::<String>::new());
        for (path, mode, remedy) in [(&database, 0o640, "600"), (&log, 0o604, "600"), (&folder, 0o750, "700")]
        {
            let before = std::fs::metadata(path).unwrap().permissions();
            set_permissions(path, Permissions::from_mode(mode)).unwrap();
            let [complaint] = &exposed(&database)[..] else { panic!("{:?}", exposed(&database)) };
            assert!(complaint.ends_with(&format!("run `chmod {remedy} {}`", path.display())), "{complaint}");
            set_permissions(path, before).unwrap();
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_the_one_that_was_meant() {
        let said = |text| parse(text).unwrap_err().to_string();
        let (close, far, deep) = (said("lisen = 1"), said("colour = 1"), said("[quota.user]\nmachine = 1"));
        assert!(
            close.contains("unknown field `lisen`") && close.ends_with("did you mean `listen`?"),
            "{close}"
        );
        assert!(far.contains("unknown field `colour`") && !far.contains("did you mean"), "{far}");
        assert!(deep.ends_with("did you mean `machines`?"), "{deep}");
        let values = parse("requests_per_second = 7\n[quota.user]\nmachines = 3").unwrap();
        assert_eq!((values.requests_per_second, values.quota.user.machines), (Some(7), Some(3)));
    }
}
