//! A small HTTP/1 client: one connection, JSON both ways, to the first of some servers that answers.

use crate::trust::Trust;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use model::dial::{Dial, DialError, Dials};
use model::wire::{EnrolAnswer, EnrolRequest, Problem, SyncAnswer, SyncRequest};
use serde::{Serialize, de::DeserializeOwned};
use std::{path::PathBuf, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::{task::JoinHandle, time::timeout};

const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_ANSWER: usize = 4 << 20;

/// Why a call gave no answer, by what there is to do about it.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("{0}")]
    Address(DialError),
    /// Wait.
    #[error("cannot reach the server: {0}")]
    Unreachable(String),
    /// Somebody answered who could not show to be the server; he was told nothing.
    #[error("cannot trust the server: {0}")]
    Untrusted(String),
    /// Says nothing about the machine: a server restored from a backup may not know us, and be restored again.
    #[error("the server does not accept this agent's credential")]
    Unauthorised,
    /// The machine is no longer wanted.
    #[error("the server has removed this machine")]
    Gone,
    #[error("the server answered {status}: {detail}")]
    Answered { status: u16, detail: String },
}

impl LinkError {
    /// Whether the same call may work later without anybody's doing.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Untrusted(_) => true,
            Self::Answered { status, .. } => *status >= 500 || *status == 429,
            Self::Address(_) | Self::Unauthorised | Self::Gone => false,
        }
    }
}

#[derive(Debug)]
enum Door {
    Unix(PathBuf),
    Tcp(String),
    Tls { host: String, port: u16, authority: String, trust: Trust },
}

#[derive(Debug)]
pub struct Link {
    /// Of servers on one database: never empty.
    doors: Vec<Door>,
    /// The one in use: stays as long as it answers.
    at: usize,
    connection: Option<Connection>,
}

impl Link {
    /// A server at `https` is known by the CAs that this machine trusts.
    pub fn new(server: &str) -> Result<Self, LinkError> {
        Ok(Self::trusting(&server.parse().map_err(LinkError::Address)?, &Trust::Machine))
    }

    pub fn trusting(servers: &Dials, trust: &Trust) -> Self {
        let doors = servers.all().iter().map(|dial| Door::new(dial, trust)).collect();
        Self { doors, at: 0, connection: None }
    }

    pub async fn enrol(&mut self, request: &EnrolRequest) -> Result<EnrolAnswer, LinkError> {
        self.post("/v1/agent/enrol", None, request, PATIENCE).await
    }

    /// Waits a little longer than the server said it would hold the answer back.
    pub async fn sync(
        &mut self,
        credential: &str,
        request: &SyncRequest,
        hold: Duration,
    ) -> Result<SyncAnswer, LinkError> {
        self.post("/v1/agent/sync", Some(credential), request, hold + PATIENCE).await
    }

    async fn post<A: DeserializeOwned>(
        &mut self,
        path: &str,
        credential: Option<&str>,
        body: &impl Serialize,
        patience: Duration,
    ) -> Result<A, LinkError> {
        let answer = self.post_there(path, credential, body, patience).await;
        if answer.as_ref().is_err_and(LinkError::is_passing) {
            self.at = (self.at + 1) % self.doors.len();
            self.connection = None;
        }
        answer
    }

    /// To the server in use.
    async fn post_there<A: DeserializeOwned>(
        &mut self,
        path: &str,
        credential: Option<&str>,
        body: &impl Serialize,
        patience: Duration,
    ) -> Result<A, LinkError> {
        let body = Bytes::from(serde_json::to_vec(body).map_err(unreachable)?);
        // A kept connection may have been closed by a server that restarted; a new one tells.
        let reused = self.connection.is_some();
        let mut answer = timeout(patience, self.exchange(path, credential, body.clone())).await;
        if reused && matches!(answer, Ok(Err(LinkError::Unreachable(_)))) {
            answer = timeout(patience, self.exchange(path, credential, body)).await;
        }
        let late = || LinkError::Unreachable(format!("no answer within {} s", patience.as_secs()));
        let (status, body) = answer.map_err(|_| late())??;
        match status {
            StatusCode::OK | StatusCode::CREATED => serde_json::from_slice(&body).map_err(unreachable),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(LinkError::Unauthorised),
            StatusCode::GONE => Err(LinkError::Gone),
            status => Err(LinkError::Answered { status: status.as_u16(), detail: detail(&body) }),
        }
    }

    /// The connection is taken out meanwhile: a cancelled or failed exchange leaves none behind to be misread.
    async fn exchange(
        &mut self,
        path: &str,
        credential: Option<&str>,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), LinkError> {
        let door = &self.doors[self.at];
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => door.connect().await?,
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, door.host())
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(credential) = credential {
            request = request.header(header::AUTHORIZATION, format!("Bearer {credential}"));
        }
        let request = request.body(Full::new(body)).map_err(unreachable)?;
        connection.sender.ready().await.map_err(unreachable)?;
        let answer = connection.sender.send_request(request).await.map_err(unreachable)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await.map_err(unreachable)?;
        self.connection = Some(connection);
        Ok((status, body.to_bytes()))
    }
}

fn unreachable(error: impl ToString) -> LinkError {
    LinkError::Unreachable(error.to_string())
}

fn detail(body: &[u8]) -> String {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => problem.detail,
        Err(_) => String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(),
    }
}

impl Door {
    fn new(dial: &Dial, trust: &Trust) -> Self {
        match dial {
            Dial::Unix(path) => Self::Unix(path.into()),
            Dial::Http(authority) => Self::Tcp(authority.clone()),
            Dial::Https { host, port } => Self::Tls {
                host: host.clone(),
                port: *port,
                authority: dial.to_string().trim_start_matches("https://").to_owned(),
                trust: trust.clone(),
            },
        }
    }

    fn host(&self) -> &str {
        match self {
            Self::Unix(_) => "localhost",
            Self::Tcp(authority) | Self::Tls { authority, .. } => authority,
        }
    }

    async fn connect(&self) -> Result<Connection, LinkError> {
        match self {
            Self::Unix(path) => {
                let named = |error| LinkError::Unreachable(format!("{}: {error}", path.display()));
                Connection::over(UnixStream::connect(path).await.map_err(named)?).await
            }
            Self::Tcp(authority) => {
                let socket = TcpStream::connect(authority).await;
                Connection::over(socket.map_err(|error| lost(authority, &error))?).await
            }
            Self::Tls { host, port, authority, trust } => {
                let socket = TcpStream::connect((host.as_str(), *port)).await;
                let socket = socket.map_err(|error| lost(authority, &error))?;
                let untrusted = |why| LinkError::Untrusted(format!("{authority}: {why}"));
                Connection::over(trust.connect(host, socket).await.map_err(untrusted)?).await
            }
        }
    }
}

fn lost(authority: &str, error: &std::io::Error) -> LinkError {
    LinkError::Unreachable(format!("{authority}: {error}"))
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Connection {
    async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Self, LinkError> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
        let driver = tokio::spawn(async move {
            // Whoever waits for the answer learns of the error.
            let _ = connection.await;
        });
        Ok(Self { sender, driver })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
