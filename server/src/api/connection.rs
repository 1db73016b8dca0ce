//! One connection: its handshake, HTTP/1.1 or HTTP/2, and how it ends.

use super::Routes;
use super::accept::{Limits, Seat};
use super::events::Stop;
use super::peer::Peer;
use super::steady::Steady;
use super::taken::{Taken, Untaken};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use warp::http::header::HOST;
use warp::http::{HeaderValue, Request, Response};

/// Of all headers of one request; more is answered with 431.
const LONGEST_HEADERS: u32 = 32 * 1024;
/// Requests that one connection of HTTP/2 may have at work.
const STREAMS: u32 = 64;
/// How often HTTP/2 asks a silent client whether it is there, and how long that may take to answer.
const PING: Duration = Duration::from_secs(20);

/// What warp answers with; the type of its body has no name.
type Answer = Response<Taken<<warp::reply::Response as HasBody>::Body>>;

trait HasBody {
    type Body;
}

impl<B> HasBody for Response<B> {
    type Body = B;
}

pub(super) struct Connection {
    pub(super) routes: Routes,
    pub(super) limits: Limits,
    pub(super) peer: Peer,
    /// The peer speaks for others.
    pub(super) is_proxied: bool,
    pub(super) stop: watch::Receiver<bool>,
    /// Closed when the drain time is over: whatever is still at work then has lost its right to an answer.
    pub(super) left: watch::Receiver<()>,
    pub(super) seat: Arc<Seat>,
}

impl Connection {
    pub(super) async fn run(self, socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let at_work = AtWork::default();
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.headers)
            .max_header_size(LONGEST_HEADERS as usize)
            .serve_connection(TokioIo::new(Steady::new(socket, self.limits.stall)), self.service(&at_work));
        // What is left to do is to write, which `Steady` looks after.
        self.drive(connection, at_work, std::future::pending()).await;
    }

    /// What is no handshake, or takes too long to become one, is cut.
    pub(super) async fn run_tls(
        mut self,
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        tls: TlsAcceptor,
    ) {
        let accepted = tokio::select! {
            accepted = tokio::time::timeout(self.limits.headers, tls.accept(socket)) => accepted,
            // Nobody has asked anything yet.
            _ = self.stop.wait_for(|stop| *stop) => return,
        };
        let socket = match accepted {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return tracing::debug!(client = %self.peer, %error, "no TLS came about"),
            Err(_) => return tracing::debug!(client = %self.peer, "a TLS handshake took too long"),
        };
        if socket.get_ref().1.alpn_protocol() == Some(b"h2") {
            self.run_http2(socket).await;
        } else {
            self.run(socket).await;
        }
    }

    async fn run_http2(self, socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let at_work = AtWork::default();
        let streams = Streams { left: self.left.clone(), seat: self.seat.clone(), stall: self.limits.stall };
        let connection = http2::Builder::new(streams)
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(LONGEST_HEADERS)
            .serve_connection(TokioIo::new(Steady::new(socket, self.limits.stall)), self.service(&at_work));
        // It may not even take its leave.
        let (leaving, idle) = (at_work.clone(), self.limits.idle);
        self.drive(connection, at_work, async move { leaving.idle(idle).await }).await;
    }

    /// Tells each request who asks, and `at_work` of each.
    fn service(
        &self,
        at_work: &AtWork,
    ) -> impl Service<Request<Incoming>, Response = Answer, Error = Infallible, Future: Send> + Send + use<>
    {
        let routes = TowerToHyperService::new(warp::service(self.routes.clone()));
        let (peer, is_proxied, at_work) = (self.peer, self.is_proxied, at_work.clone());
        let stop = Stop(self.stop.clone());
        service_fn(move |mut request: Request<Incoming>| {
            let peer = if is_proxied { peer.behind(request.headers()) } else { peer };
            name_host(&mut request);
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(stop.clone());
            let (begun, answer) = (at_work.begin(), routes.call(request));
            async move { answer.await.map(|answer| answer.map(|body| Taken::new(body, begun))) }
        })
    }

    /// Cut short after `leave`, once it is told to end.
    async fn drive<C: GracefulConnection<Error: Display>>(
        mut self,
        connection: C,
        at_work: AtWork,
        leave: impl Future<Output = ()>,
    ) {
        let mut connection = pin!(connection);
        let outcome = tokio::select! {
            // When the client hangs up this ends, and the handlers' futures with it.
            outcome = &mut connection => Some(outcome),
            _ = self.stop.wait_for(|stop| *stop) => None,
            () = at_work.idle(self.limits.idle) => None,
            _ = self.left.changed() => return,
        };
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    outcome = &mut connection => outcome,
                    () = leave => return,
                    _ = self.left.changed() => return,
                }
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(client = %self.peer, %error, "a connection ended early");
        }
    }
}

/// HTTP/2 says in the address whom a request is meant for.
fn name_host(request: &mut Request<Incoming>) {
    let authority = request.uri().authority().and_then(|name| HeaderValue::from_str(name.as_str()).ok());
    if let Some(authority) = authority.filter(|_| !request.headers().contains_key(HOST)) {
        request.headers_mut().insert(HOST, authority);
    }
}

/// How many requests are at work; every change is seen.
#[derive(Clone)]
struct AtWork(Arc<watch::Sender<usize>>);

impl Default for AtWork {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl AtWork {
    fn begin(&self) -> Begun {
        self.0.send_modify(|count| *count += 1);
        Begun(self.clone())
    }

    /// Ends when for so long no request began, ended or was at work.
    async fn idle(&self, lasts: Duration) {
        let mut count = self.0.subscribe();
        while tokio::time::timeout(lasts, count.changed()).await.is_ok() || *count.borrow() > 0 {}
    }
}

/// A request, until its answer is taken.
pub(super) struct Begun(AtWork);

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

/// Where the requests of one connection of HTTP/2 are at work: none outlives the drain time, and its seat is not free
/// before they are gone.
#[derive(Clone)]
struct Streams {
    left: watch::Receiver<()>,
    seat: Arc<Seat>,
    stall: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let Self { mut left, seat, stall } = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = Untaken::within(stall, stream) => {}
                _ = left.changed() => {}
            }
            drop(seat);
        });
    }
}
