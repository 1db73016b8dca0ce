//! Somebody who looks at every machine, again and again, and notes who could log in, and when.

use model::Timestamp;
use playbooks::{Db, FakeHost};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests::container::now;
use tests::look::login_of;

#[derive(Clone)]
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) host: FakeHost,
}

/// Between the first look at which an account was there, and the last one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stay {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

#[derive(Default)]
pub(super) struct Seen {
    /// By machine and UID.
    pub(super) stays: BTreeMap<(String, u32), Stay>,
    /// The longest time that passed between two looks: nothing is known more exactly.
    pub(super) blur: Duration,
}

pub(super) struct Sight {
    machines: Vec<Machine>,
    seen: Arc<Mutex<Seen>>,
    looking: tokio::task::JoinHandle<()>,
}

impl Sight {
    pub(super) fn of(machines: Vec<Machine>) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let looking = tokio::spawn(look(machines.clone(), seen.clone()));
        Self { machines, seen, looking }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.machines.iter().map(|machine| machine.name.clone()).collect()
    }

    pub(super) fn close(self) -> (Vec<Machine>, Seen) {
        self.looking.abort();
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        (self.machines, seen)
    }
}

async fn look(machines: Vec<Machine>, seen: Arc<Mutex<Seen>>) {
    let mut before = now();
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        for machine in &machines {
            let accounts = accounts(&machine.host);
            let (at, mut seen) = (now(), seen.lock().unwrap());
            for uid in accounts {
                let stay =
                    seen.stays.entry((machine.name.clone(), uid)).or_insert(Stay { first: at, last: at });
                stay.last = at;
            }
        }
        let at = now();
        let mut seen = seen.lock().unwrap();
        seen.blur = seen.blur.max(at.duration_since(before).unsigned_abs());
        before = at;
    }
}

/// The UIDs of ours that can log in.
fn accounts(host: &FakeHost) -> Vec<u32> {
    let world = host.world();
    let passwd = String::from_utf8_lossy(&world.files[&Db::Passwd]).into_owned();
    passwd.lines().filter_map(|line| login_of(&world, line.split(':').next()?)).collect()
}
