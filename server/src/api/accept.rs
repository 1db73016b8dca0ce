//! The accept loop. Warp's own limits neither the time for headers, nor connections, nor the time to drain.

use super::Routes;
use super::connection::Connection;
use super::crowd::{Admission, Crowd};
use super::peer::Peer;
use crate::tls::Tls;
use std::{io, sync::Arc, time::Duration};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// `accept` fails when file descriptors run out; a pause lets some come back.
const PAUSE: Duration = Duration::from_millis(100);

pub enum Listener {
    Tcp(TcpListener),
    /// Our own proxy comes here, and says for whom.
    Proxied(TcpListener),
    Tls(TcpListener, Arc<Tls>),
    Unix(UnixListener),
}

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Beyond so many connections newcomers wait to be accepted.
    pub connections: usize,
    /// Beyond so many of one client's his further ones are closed at once.
    pub per_client: usize,
    /// For a TLS handshake, and for the headers of a request. So long an idle connection of HTTP/1.1 is kept as well.
    pub headers: Duration,
    /// So long nothing at all may be taken of what we write.
    pub stall: Duration,
    /// So long a connection of HTTP/2 is kept that asks nothing.
    pub idle: Duration,
}

impl Limits {
    /// For people and their programs.
    pub const API: Self = Self {
        connections: 2_048,
        per_client: 256,
        headers: Duration::from_secs(10),
        stall: Duration::from_secs(30),
        idle: Duration::from_secs(60),
    };
    /// Many machines may share one address.
    pub const AGENTS: Self = Self { connections: 10_000, per_client: 1_024, ..Self::API };
}

/// Serves until `stop` is true or its sender is gone; requests at work then have `drain`, and no longer.
pub async fn serve(
    listener: Listener,
    routes: Routes,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
    drain: Duration,
) {
    let seats = Arc::new(Semaphore::new(limits.connections));
    let crowd = Arc::new(Crowd::new(limits.per_client));
    // Dropped when this function is left, in whatever way: no connection outlives it.
    let (leaving, left) = watch::channel(());
    loop {
        let (socket, seat) = tokio::select! {
            // A connection that is not accepted yet stays in the kernel's queue; a free seat stays free.
            next = next(&listener, &seats, &crowd) => next,
            // Changes nothing but this loop.
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (routes, stop, left, seat) = (routes.clone(), stop.clone(), left.clone(), Arc::new(seat));
        let connection = |peer| Connection { routes, limits, peer, is_proxied: false, stop, left, seat };
        match (socket, &listener) {
            (Socket::Unix(socket), _) => tokio::spawn(connection(Peer::Unix).run(socket)),
            (Socket::Tcp(socket, peer), Listener::Tls(_, tls)) => {
                tokio::spawn(connection(peer).run_tls(socket, tls.acceptor()))
            }
            (Socket::Tcp(socket, peer), Listener::Proxied(_)) => {
                tokio::spawn(Connection { is_proxied: true, ..connection(peer) }.run(socket))
            }
            (Socket::Tcp(socket, peer), _) => tokio::spawn(connection(peer).run(socket)),
        };
    }
    drop(listener);
    // All seats are back: every connection is gone, and every handler.
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    if tokio::time::timeout(drain, seats.acquire_many(all)).await.is_err() {
        tracing::warn!("requests still at work at the end of the drain time are cut off");
    }
    drop(leaving);
    let _ = seats.acquire_many(all).await;
}

enum Socket {
    Tcp(TcpStream, Peer),
    Unix(UnixStream),
}

/// Held as long as anything of a connection is.
pub(super) struct Seat {
    _seat: OwnedSemaphorePermit,
    _admission: Option<Admission>,
}

async fn next(listener: &Listener, seats: &Arc<Semaphore>, crowd: &Arc<Crowd>) -> (Socket, Seat) {
    // Never closed, so that this is always a seat.
    let Ok(seat) = seats.clone().acquire_owned().await else { std::future::pending().await };
    loop {
        let socket = match accept(listener).await {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let counted = match (&socket, listener) {
            (Socket::Unix(_), _) | (_, Listener::Proxied(_)) => None,
            (Socket::Tcp(_, peer), _) => peer.network(),
        };
        match counted.map(|network| crowd.admit(network)) {
            Some(None) => tracing::debug!(client = ?counted, "has too many connections: one more is closed"),
            admission => return (socket, Seat { _seat: seat, _admission: admission.flatten() }),
        }
    }
}

async fn accept(listener: &Listener) -> io::Result<Socket> {
    match listener {
        Listener::Unix(listener) => Ok(Socket::Unix(listener.accept().await?.0)),
        Listener::Tcp(listener) | Listener::Proxied(listener) | Listener::Tls(listener, _) => {
            let (socket, address) = listener.accept().await?;
            // An answer is one small write: it shall not wait for another. Without it, slower but right.
            let _ = socket.set_nodelay(true);
            Ok(Socket::Tcp(socket, address.into()))
        }
    }
}

#[cfg(test)]
mod tests;
