//! Somebody on the way: passes bytes on, and stops at one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Takes everything and passes nothing on.
    Silent,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Machine,
    Us,
}

/// After so many bytes from one side, in each connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) from: Side,
    pub(super) after: u64,
    pub(super) then: Then,
}

pub(super) struct Between {
    pub(super) port: u16,
    from_machine: Arc<AtomicU64>,
    from_us: Arc<AtomicU64>,
    stop: watch::Sender<Option<Then>>,
}

impl Between {
    pub(super) async fn passing(to: u16) -> Self {
        Self::start(to, None).await
    }

    pub(super) async fn start(to: u16, fault: Option<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (from_machine, from_us) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let counts = [from_machine.clone(), from_us.clone()];
        let (stop, stopped) = watch::channel(None);
        tokio::spawn(async move {
            while let Ok((ours, _)) = listener.accept().await {
                let Ok(theirs) = TcpStream::connect(("127.0.0.1", to)).await else { continue };
                let at =
                    |from| fault.filter(|fault| fault.from == from).map(|fault| (fault.after, fault.then));
                let ((our_read, our_write), (their_read, their_write)) =
                    (ours.into_split(), theirs.into_split());
                let mut now = stopped.clone();
                now.mark_unchanged();
                let [machine, us] = counts.clone();
                tokio::spawn(pass(their_read, our_write, at(Side::Machine), machine, now.clone()));
                tokio::spawn(pass(our_read, their_write, at(Side::Us), us, now));
            }
        });
        Self { port, from_machine, from_us, stop }
    }

    /// How many bytes came from the machine and from us, over all connections.
    pub(super) fn seen(&self) -> (u64, u64) {
        (self.from_machine.load(Ordering::SeqCst), self.from_us.load(Ordering::SeqCst))
    }

    /// All connections that there are; later ones pass.
    pub(super) fn stop_all(&self, then: Then) {
        self.stop.send_replace(Some(then));
    }
}

async fn pass(
    mut read: OwnedReadHalf,
    mut write: OwnedWriteHalf,
    fault: Option<(u64, Then)>,
    count: Arc<AtomicU64>,
    mut stop: watch::Receiver<Option<Then>>,
) {
    let mut left = fault.map_or(u64::MAX, |(after, _)| after);
    let mut then = fault.map(|(_, then)| then);
    let mut buffer = vec![0; 16 << 10];
    while left > 0 {
        let n = tokio::select! {
            read = read.read(&mut buffer) => read.unwrap_or(0),
            changed = stop.changed() => {
                if changed.is_ok() {
                    then = *stop.borrow();
                }
                break;
            }
        };
        let passed = left.min(n as u64);
        if n == 0 || write.write_all(&buffer[..passed as usize]).await.is_err() {
            return;
        }
        count.fetch_add(passed, Ordering::SeqCst);
        left -= passed;
    }
    match then {
        // Both halves stay open until the other side has had enough.
        Some(Then::Silent) => while read.read(&mut buffer).await.is_ok_and(|n| n > 0) {},
        Some(Then::Closed) | None => {}
    }
}
