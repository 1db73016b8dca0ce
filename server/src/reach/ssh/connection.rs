//! From a machine's name to a connection that somebody is logged in on.

use super::super::address;
use super::door::Doors;
use super::line::{Hold, Line, Stream};
use super::{Auth, HostKey, Login, Phase, SshSettings, Target, Timeouts, VisitError};
use model::ssh::Secret;
use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse as Prompted, Msg};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelOpenFailure, MethodKind, MethodSet, Preferred, cipher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

/// PAM asks once, and may say something after it.
const MOST_PROMPTS: usize = 3;

/// How connections are made.
pub(super) struct Way {
    pub(super) timeouts: Timeouts,
    pub(super) allow_link_local: bool,
    doors: Doors,
}

/// Somebody is logged in. Ends when it is dropped.
pub(super) struct Connection {
    handle: Handle<Guard>,
    _hold: Hold,
    /// Stands as long as what goes through it.
    via: Option<Arc<Connection>>,
    /// Given back when the host has opened a channel: until then its sshd may count us among those who come in.
    place: Mutex<Option<OwnedSemaphorePermit>>,
    is_spent: AtomicBool,
    to_open: Duration,
}

/// Up to the host key, which is not the pinned one or is.
struct Greeted {
    handle: Result<Handle<Guard>, russh::Error>,
    hold: Hold,
    place: Option<OwnedSemaphorePermit>,
    seen: Option<HostKey>,
}

/// Lets the handshake go on with the pinned key only, and without one with none.
struct Guard {
    pinned: Option<HostKey>,
    seen: Arc<OnceLock<HostKey>>,
}

impl client::Handler for Guard {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let key = HostKey::from(shown.public_key());
        // A certificate is nothing that was asked for.
        let is_pinned = shown.certificate().is_none() && self.pinned.as_ref() == Some(&key);
        let _ = self.seen.set(key);
        Ok(is_pinned)
    }
}

impl Way {
    pub(super) fn new(settings: SshSettings) -> Self {
        let SshSettings { agents: _, allow_link_local, timeouts } = settings;
        Self { timeouts, allow_link_local, doors: Doors::default() }
    }

    pub(super) async fn scan(
        &self,
        host: &str,
        port: u16,
        via: Option<Arc<Connection>>,
    ) -> Result<HostKey, VisitError> {
        let Greeted { handle, seen, .. } = self.greet(host, port, via.as_deref(), None).await?;
        match (seen, handle) {
            (Some(key), _) => Ok(key),
            (None, Err(error)) => Err(no_handshake(host, port, error)),
            (None, Ok(_)) => Err(no_handshake(host, port, russh::Error::NoAuthMethod)),
        }
    }

    pub(super) async fn connect(
        &self,
        target: &Target,
        via: Option<Arc<Connection>>,
    ) -> Result<Connection, VisitError> {
        let Target { host, port, login, host_key, .. } = target;
        let greeted = self.greet(host, *port, via.as_deref(), Some(host_key)).await?;
        let Greeted { handle, hold, place, seen } = greeted;
        if let Some(seen) = seen.filter(|seen| seen != host_key) {
            return Err(VisitError::HostKeyChanged { pinned: host_key.clone(), seen });
        }
        let mut handle = handle.map_err(|error| no_handshake(host, *port, error))?;
        within(Phase::LogIn, self.timeouts.log_in, log_in(&mut handle, login)).await?;
        hold.trust();
        Ok(Connection {
            handle,
            _hold: hold,
            via,
            place: Mutex::new(place),
            is_spent: AtomicBool::new(false),
            to_open: self.timeouts.connect,
        })
    }

    /// The key exchange, over TCP or through the jump host.
    async fn greet(
        &self,
        host: &str,
        port: u16,
        via: Option<&Connection>,
        pinned: Option<&HostKey>,
    ) -> Result<Greeted, VisitError> {
        let (stream, place) = match via {
            None => self.dial(host, port).await?,
            Some(jump) => {
                let place = self.doors.enter(host.to_owned()).await;
                (jump.forward(host, port).await?, place)
            }
        };
        let (line, hold) = Line::new(stream);
        let seen = Arc::new(OnceLock::new());
        let guard = Guard { pinned: pinned.cloned(), seen: seen.clone() };
        let config = Arc::new(self.config(pinned));
        let shaking = client::connect_stream(config, line, guard);
        let handle = match tokio::time::timeout(self.timeouts.handshake, shaking).await {
            Ok(handle) => handle,
            // What it has shown counts, however it goes on.
            Err(_) if seen.get().is_some_and(|seen| Some(seen) != pinned) => Err(russh::Error::UnknownKey),
            Err(_) => return Err(VisitError::TimedOut { phase: Phase::Handshake }),
        };
        Ok(Greeted { handle, hold, place, seen: seen.get().cloned() })
    }

    async fn dial(
        &self,
        host: &str,
        port: u16,
    ) -> Result<(Box<dyn Stream>, Option<OwnedSemaphorePermit>), VisitError> {
        let limit = self.timeouts.connect;
        let resolving = address::resolve(host, port, self.allow_link_local);
        let addresses = within(Phase::Connect, limit, resolving).await?;
        let door = addresses.first().map(|address| address.ip().to_string()).unwrap_or_default();
        let place = self.doors.enter(door).await;
        let stream = within(Phase::Connect, limit, connect_first(host, &addresses)).await?;
        Ok((Box::new(stream), place))
    }

    fn config(&self, pinned: Option<&HostKey>) -> client::Config {
        client::Config {
            preferred: preferred(pinned),
            keepalive_interval: Some(self.timeouts.keep_alive),
            keepalive_max: 3,
            ..client::Config::default()
        }
    }
}

/// A host with several keys shows the one of the first algorithm in our list that it has.
fn preferred(pinned: Option<&HostKey>) -> Preferred {
    let mut keys = Preferred::DEFAULT.key.into_owned();
    keys.sort_by_key(|algorithm| !pinned.is_some_and(|pinned| pinned.is_shown_by(algorithm)));
    let mut ciphers = Preferred::DEFAULT.cipher.into_owned();
    ciphers.sort_by_key(|cipher| *cipher != cipher::AES_256_GCM);
    Preferred { key: keys.into(), cipher: ciphers.into(), ..Preferred::DEFAULT }
}

async fn connect_first(host: &str, addresses: &[SocketAddr]) -> Result<TcpStream, VisitError> {
    let mut reason = String::new();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Without it small packets wait for each other; it only costs time.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => reason = format!("{}: {error}", address.ip()),
        }
    }
    let port = addresses.first().map_or(0, SocketAddr::port);
    Err(VisitError::Unreachable { host: host.to_owned(), port, reason })
}

/// Each method is tried once: hosts count what fails, and shut out who fails often.
async fn log_in(handle: &mut Handle<Guard>, login: &Login) -> Result<(), VisitError> {
    let broken = VisitError::broken(Phase::LogIn);
    let user = login.user.as_str();
    let answer = match &login.auth {
        Auth::Key(key) => {
            let hash = hash_for(handle, key).await.map_err(&broken)?;
            handle.authenticate_publickey(user, PrivateKeyWithHashAlg::new(key.clone(), hash)).await
        }
        Auth::Password(password) => handle.authenticate_password(user, password.expose()).await,
    };
    let offered = match answer.map_err(&broken)? {
        AuthResult::Success => return Ok(()),
        AuthResult::Failure { remaining_methods, .. } => remaining_methods,
    };
    let offered = match &login.auth {
        Auth::Password(password) if asks_only_by_prompt(&offered) => {
            match by_prompt(handle, user, password).await.map_err(&broken)? {
                None => return Ok(()),
                Some(offered) => offered,
            }
        }
        Auth::Password(_) | Auth::Key(_) => offered,
    };
    // The client says the same of a host that refuses and of one that is gone.
    if handle.is_closed() && offered.is_empty() {
        return Err(broken(russh::Error::Disconnect));
    }
    let offered = offered.iter().map(String::from).collect();
    Err(VisitError::LogInRefused { user: login.user.clone(), offered })
}

/// SHA-1 only for a host that says it knows nothing else; one that says nothing may know better.
async fn hash_for(handle: &Handle<Guard>, key: &PrivateKey) -> Result<Option<HashAlg>, russh::Error> {
    if !key.algorithm().is_rsa() {
        return Ok(None);
    }
    Ok(handle.best_supported_rsa_hash().await?.unwrap_or(Some(HashAlg::Sha256)))
}

fn asks_only_by_prompt(offered: &MethodSet) -> bool {
    offered.contains(&MethodKind::KeyboardInteractive) && !offered.contains(&MethodKind::Password)
}

/// The password as the answer to the one question that is asked. Returns what else is offered if that was not enough.
async fn by_prompt(
    handle: &mut Handle<Guard>,
    user: &str,
    password: &Secret,
) -> Result<Option<MethodSet>, russh::Error> {
    let mut password = Some(password.expose().to_owned());
    let mut asked = handle.authenticate_keyboard_interactive_start(user, None).await?;
    for _ in 0..MOST_PROMPTS {
        let answers = match asked {
            Prompted::Success => return Ok(None),
            Prompted::Failure { remaining_methods, .. } => return Ok(Some(remaining_methods)),
            Prompted::InfoRequest { prompts, .. } if prompts.is_empty() => Vec::new(),
            Prompted::InfoRequest { prompts, .. } if prompts.len() > 1 => break,
            Prompted::InfoRequest { .. } => match password.take() {
                Some(password) => vec![password],
                None => break,
            },
        };
        asked = handle.authenticate_keyboard_interactive_respond(answers).await?;
    }
    Ok(Some(MethodSet::from([MethodKind::KeyboardInteractive].as_slice())))
}

impl Connection {
    /// Whether a visit may go over it, by way of the jump host that counts now.
    pub(super) fn is_good(&self, via: Option<&Arc<Self>>) -> bool {
        let is_same_way = match (&self.via, via) {
            (None, None) => true,
            (Some(ours), Some(now)) => Arc::ptr_eq(ours, now),
            (Some(_), None) | (None, Some(_)) => false,
        };
        is_same_way && !self.is_spent.load(Ordering::Relaxed) && !self.handle.is_closed()
    }

    /// For no visit any more; what goes through it may go on.
    pub(super) fn spend(&self) {
        self.is_spent.store(true, Ordering::Relaxed);
    }

    /// For one command. A host that does not answer even this is gone, whatever TCP believes.
    pub(super) async fn session(&self) -> Result<Channel<Msg>, VisitError> {
        let gone = |_| Err(russh::Error::ConnectionTimeout);
        let opened = tokio::time::timeout(self.to_open, self.handle.channel_open_session()).await;
        let channel = opened.unwrap_or_else(gone).map_err(VisitError::broken(Phase::Visit))?;
        self.give_place_back();
        Ok(channel)
    }

    /// To what the host of this connection calls so.
    async fn forward(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, VisitError> {
        let opening = self.handle.channel_open_direct_tcpip(host, port.into(), "127.0.0.1", 0);
        let failed = |error| match error {
            russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited) => {
                VisitError::NotForwarded { host: host.to_owned(), port }
            }
            error => VisitError::Unreachable { host: host.to_owned(), port, reason: error.to_string() },
        };
        let open = async { opening.await.map_err(failed) };
        let channel = within(Phase::Connect, self.to_open, open).await.inspect_err(|error| {
            // It may be this connection that went silent.
            if matches!(error, VisitError::TimedOut { .. }) {
                self.spend();
            }
        })?;
        self.give_place_back();
        Ok(Box::new(channel.into_stream()))
    }

    fn give_place_back(&self) {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn no_handshake(host: &str, port: u16, error: russh::Error) -> VisitError {
    use russh::Error::{Disconnect, HUP, IO};
    match error {
        error @ (Disconnect | HUP | IO(_)) => VisitError::broken(Phase::Handshake)(error),
        error => VisitError::NoHandshake { host: host.to_owned(), port, reason: error.to_string() },
    }
}

pub(super) async fn within<T>(
    phase: Phase,
    limit: Duration,
    work: impl Future<Output = Result<T, VisitError>>,
) -> Result<T, VisitError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(VisitError::TimedOut { phase }))
}
