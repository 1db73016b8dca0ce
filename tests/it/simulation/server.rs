//! The server without its sockets: use-cases, loops and store, and its death at any commit.

use jiff::{SignedDuration, Timestamp};
use model::machine::Machine;
use model::reservation::Reservation;
use server::app::{App, VmPool};
use server::reconcile::{self, Hub};
use server::store::{CommitSide, Store};
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests::farm::gate;

pub(super) const TTL: Duration = Duration::from_secs(600);

/// The true time. It moves when it is told to.
#[derive(Clone)]
pub(super) struct Time(Arc<AtomicI64>);

impl Time {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(tests::clock::start().as_millisecond())))
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::Relaxed)).unwrap()
    }

    pub(super) fn pass(&self, lasts: SignedDuration) {
        self.0.fetch_add(lasts.as_millis() as i64, Ordering::Relaxed);
    }
}

impl server::clock::Clock for Time {
    fn now(&self) -> Timestamp {
        Time::now(self)
    }

    /// Nobody waits here: whoever would have to is answered with what there is.
    fn sleep_until(&self, _: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}

pub(super) struct Server {
    folder: tempfile::TempDir,
    time: Time,
    pub(super) hub: Arc<Hub>,
    pub(super) app: App,
    fuse: Arc<Mutex<Fuse>>,
    /// Counted by the hook of the commits.
    commits: Arc<AtomicI64>,
}

/// How a server comes to die over a commit.
#[derive(Default, PartialEq, Eq)]
enum Fuse {
    #[default]
    Safe,
    Lit(CommitSide),
    Burnt,
}

/// What the database says.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) machines: Vec<Machine>,
    pub(super) reservations: Vec<Reservation>,
    as_of: i64,
}

impl Server {
    pub(super) fn new(time: &Time) -> Self {
        // In memory where there is such a folder: a thousand lives wear a disk out for nothing.
        let memory = std::path::Path::new("/dev/shm");
        let make = tempfile::Builder::new();
        let folder = if memory.is_dir() { make.tempdir_in(memory) } else { make.tempdir() }.unwrap();
        let (fuse, commits) = (Arc::default(), Arc::default());
        let (hub, app) = open(&folder, time, &fuse, &commits);
        Self { folder, time: time.clone(), hub, app, fuse, commits }
    }

    /// All that it knew beside its database is gone.
    pub(super) async fn restart(&mut self) {
        *self.fuse.lock().unwrap() = Fuse::Safe;
        (self.hub, self.app) = open(&self.folder, &self.time, &self.fuse, &self.commits);
        reconcile::sweep(&self.hub).await;
    }

    pub(super) fn die_at_next_commit(&self, side: CommitSide) {
        *self.fuse.lock().unwrap() = Fuse::Lit(side);
    }

    pub(super) fn is_dead(&self) -> bool {
        *self.fuse.lock().unwrap() == Fuse::Burnt
    }

    /// Reads the database, if anything was written since.
    pub(super) async fn refresh(&self, facts: &mut Facts) {
        let as_of = self.commits.load(Ordering::Relaxed);
        if facts.as_of == as_of {
            return;
        }
        let store = &self.hub.store;
        let machines = store.machine_list(None, 1000).await.unwrap().items;
        let mut reservations = store.reservation_list(None, None, false, None, 1000).await.unwrap().items;
        reservations.reverse();
        *facts = Facts { machines, reservations, as_of };
    }

    /// One turn of the expiry loop.
    pub(super) async fn expire(&self) {
        if let Ok(ended) = self.hub.store.reservations_expire(self.time.now()).await {
            let seats = ended.iter().flat_map(|reservation| &reservation.seats);
            seats.for_each(|seat| self.hub.queue.add(seat.machine));
        }
    }

    /// One turn of the machine loop; with a sweep before it, everything that has not settled gets its look.
    pub(super) async fn look(&self) {
        let (due, _) = self.hub.queue.take_due(self.time.now());
        for machine in due {
            reconcile::look(&self.hub, machine).await;
        }
    }

    pub(super) async fn sweep(&self) {
        reconcile::sweep(&self.hub).await;
    }
}

fn open(
    folder: &tempfile::TempDir,
    time: &Time,
    fuse: &Arc<Mutex<Fuse>>,
    commits: &Arc<AtomicI64>,
) -> (Arc<Hub>, App) {
    let (fuse, commits) = (fuse.clone(), commits.clone());
    let hook = move |_, side| {
        commits.fetch_add(1, Ordering::Relaxed);
        let mut fuse = fuse.lock().unwrap();
        if *fuse != Fuse::Lit(side) {
            return Ok(());
        }
        *fuse = Fuse::Burnt;
        Err(format!("it dies {side:?} a commit"))
    };
    let url = folder.path().join("berth.db").display().to_string();
    let store = Store::open(&url, TTL, time.now(), Some(Box::new(hook))).unwrap();
    let hub = Hub::new(store, Arc::new(time.clone()), None, false);
    (hub.clone(), App::new(hub, gate(), VmPool::default()))
}
