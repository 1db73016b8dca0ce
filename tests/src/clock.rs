//! A clock that stands until a test turns it.

use futures_util::future::BoxFuture;
use model::Timestamp;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const TICK: Duration = Duration::from_millis(5);

#[derive(Clone)]
pub struct FakeClock {
    now: Arc<watch::Sender<Timestamp>>,
}

/// When every test begins; also when its machines were booted.
pub fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

impl Default for FakeClock {
    fn default() -> Self {
        Self { now: Arc::new(watch::Sender::new(start())) }
    }
}

impl FakeClock {
    pub fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now += by);
    }

    /// Lets time pass, twenty times as fast as outside, until the guard is dropped.
    pub fn run(&self) -> Running {
        self.advancing(Duration::from_millis(100))
    }

    /// The same, as fast as outside.
    pub fn walk(&self) -> Running {
        self.advancing(TICK)
    }

    fn advancing(&self, by: Duration) -> Running {
        let clock = self.clone();
        Running(tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                clock.advance(by);
            }
        }))
    }

    fn until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let mut now = self.now.subscribe();
        Box::pin(async move {
            if now.wait_for(|now| *now >= at).await.is_err() {
                // The clock is gone, and with it everybody who could wait for it.
                std::future::pending().await
            }
        })
    }
}

/// Time passes while this lives.
pub struct Running(tokio::task::JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl server::clock::Clock for FakeClock {
    fn now(&self) -> Timestamp {
        self.now()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        self.until(at)
    }
}

impl agent::clock::Clock for FakeClock {
    fn wall(&self) -> Timestamp {
        self.now()
    }

    fn boottime(&self) -> Duration {
        self.now().duration_since(start()).unsigned_abs()
    }

    fn sleep_until(&self, boottime: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.until(start() + boottime)
    }
}
