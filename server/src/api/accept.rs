//! The accept loop. Warp's own limits neither the time for headers, nor connections, nor the time to drain.

use super::Routes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::{io, sync::Arc, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Also how long an idle connection is kept.
const SLOWEST_HEADER: Duration = Duration::from_secs(10);
/// `accept` fails when file descriptors run out; a pause lets some come back.
const PAUSE: Duration = Duration::from_millis(100);

pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Beyond so many connections newcomers wait to be accepted.
    pub connections: usize,
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
    let graceful = GracefulShutdown::new();
    // Dropped when this function is left, in whatever way: no connection outlives it.
    let (leaving, left) = watch::channel(());
    loop {
        let (socket, seat) = tokio::select! {
            // A connection that is not accepted yet stays in the kernel's queue; a free seat stays free.
            next = next(&listener, &seats) => next,
            // Changes nothing but this loop.
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let connection =
            Connection { routes: routes.clone(), watcher: graceful.watcher(), left: left.clone(), seat };
        match socket {
            Socket::Tcp(socket) => tokio::spawn(connection.run(socket)),
            Socket::Unix(socket) => tokio::spawn(connection.run(socket)),
        };
    }
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests still at work at the end of the drain time are cut off");
    }
    drop(leaving);
    // All seats are back: every handler is gone when this returns.
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let _ = seats.acquire_many(all).await;
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

async fn next(listener: &Listener, seats: &Arc<Semaphore>) -> (Socket, OwnedSemaphorePermit) {
    loop {
        // Never closed, so that this is always a seat.
        let Ok(seat) = seats.clone().acquire_owned().await else { std::future::pending().await };
        match accept(listener).await {
            Ok(socket) => return (socket, seat),
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn accept(listener: &Listener) -> io::Result<Socket> {
    match listener {
        Listener::Unix(listener) => Ok(Socket::Unix(listener.accept().await?.0)),
        Listener::Tcp(listener) => {
            let (socket, _) = listener.accept().await?;
            // An answer is one small write: it shall not wait for another. Without it, slower but right.
            let _ = socket.set_nodelay(true);
            Ok(Socket::Tcp(socket))
        }
    }
}

struct Connection {
    routes: Routes,
    watcher: Watcher,
    left: watch::Receiver<()>,
    /// Held as long as the connection is.
    seat: OwnedSemaphorePermit,
}

impl Connection {
    /// HTTP/1.1 only: every client here speaks it, and it alone has a time limit for headers.
    async fn run(mut self, socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let _seat = self.seat;
        let service = TowerToHyperService::new(warp::service(self.routes));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(SLOWEST_HEADER)
            .serve_connection(TokioIo::new(socket), service);
        let outcome = tokio::select! {
            // When the client hangs up this ends, and the handler's future with it.
            outcome = self.watcher.watch(connection) => outcome,
            // The drain time is over: whatever is still at work has lost its right to an answer.
            _ = self.left.changed() => return,
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;
    use tokio::task::JoinHandle;
    use warp::{Filter, Reply};

    struct Server {
        address: SocketAddr,
        stop: watch::Sender<bool>,
        /// Hears of every handler that begins; closed when no handler is left that could tell.
        began: mpsc::Receiver<mpsc::Sender<()>>,
        serving: JoinHandle<()>,
    }

    /// Its handlers never answer; each hands out a sender that lives as long as the handler does.
    async fn silent_server(limits: Limits) -> Server {
        let (tell, began) = mpsc::channel(8);
        let routes = warp::any()
            .and_then(move || {
                let tell = tell.clone();
                async move {
                    let (alive, mut asked) = mpsc::channel(1);
                    tell.send(alive).await.unwrap();
                    // Closed for the test as soon as this future is dropped.
                    while asked.recv().await.is_some() {}
                    Err::<warp::reply::Response, _>(warp::reject())
                }
            })
            .map(Reply::into_response)
            .boxed();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve(Listener::Tcp(listener), routes, limits, stopped, Duration::ZERO));
        Server { address, stop, began, serving }
    }

    async fn ask(address: SocketAddr) -> TcpStream {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        socket
    }

    #[tokio::test]
    async fn who_hangs_up_takes_the_handler_along() {
        let mut server = silent_server(Limits { connections: 8 }).await;
        let client = ask(server.address).await;
        let handler = server.began.recv().await.unwrap();
        drop(client);
        handler.closed().await;
    }

    #[tokio::test]
    async fn nothing_outlives_the_drain_time() {
        let mut server = silent_server(Limits { connections: 8 }).await;
        let mut client = ask(server.address).await;
        let handler = server.began.recv().await.unwrap();
        server.stop.send(true).unwrap();
        server.serving.await.unwrap();
        assert!(handler.is_closed());
        assert_eq!(client.read(&mut [0; 16]).await.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn beyond_the_limit_one_waits_for_a_seat() {
        let mut server = silent_server(Limits { connections: 1 }).await;
        let first = ask(server.address).await;
        let handler = server.began.recv().await.unwrap();
        let _second = ask(server.address).await;
        drop(first);
        handler.closed().await;
        assert!(server.began.recv().await.is_some());
    }
}
