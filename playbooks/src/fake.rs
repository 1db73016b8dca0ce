//! A machine in memory that fails on demand. The handle is cheap to clone, so that a test can look at the machine,
//! change it from outside and break it while an agent holds it.

mod host;

use crate::host::{Db, Found, Litter};
use model::cleaning::Residue;
use model::report::Facts;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::{io, time::Duration};

/// How many writes a full disk takes once the ballast is dropped.
const BALLAST: u32 = 20;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing happens.
    Before,
    /// It happens, and the error comes all the same.
    After,
    /// Nothing happens until the next call begins.
    Late,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeHome {
    pub owner: u32,
    /// Absent: there is no `.ssh`.
    pub keys: Option<Vec<u8>>,
    pub unfinished: bool,
}

/// Everything there is on the machine; two that are equal have nothing left of each other's past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    pub files: BTreeMap<Db, Vec<u8>>,
    pub homes: BTreeMap<String, FakeHome>,
    pub programs: BTreeSet<String>,
    /// Absent: sudo is not installed.
    pub sudoers: Option<BTreeMap<String, Vec<u8>>>,
    pub mail: BTreeSet<String>,
    /// PID to UID.
    pub processes: BTreeMap<i32, u32>,
    pub ledger: Option<Vec<u8>>,
    /// What accounts leave elsewhere, each thing by its name: what it is and whose.
    pub litter: BTreeMap<(Litter, String), (Residue, u32)>,
    /// Names of litter that cannot be removed.
    pub immovable: BTreeSet<String>,
    /// Absent: sshd reads no folder of root's.
    pub root_keys: Option<BTreeMap<String, Vec<u8>>>,
    /// The line for all and the status.
    pub notice: (String, Vec<u8>),
    /// The highest one that the kernel allows; absent: any.
    pub uid_limit: Option<u32>,
    pub facts: Facts,
}

impl World {
    fn litter_of(&self, uids: &[u32], litter: Litter) -> impl Iterator<Item = Found> {
        let theirs =
            self.litter.iter().filter(move |((of, _), (_, uid))| *of == litter && uids.contains(uid));
        theirs.map(|((_, name), (kind, uid))| Found {
            uid: *uid,
            kind: *kind,
            what: name.clone(),
            removed: if self.immovable.contains(name) { Err("it cannot be moved".into()) } else { Ok(()) },
        })
    }
}

type Effect = Box<dyn FnOnce(&mut World) + Send>;

struct State {
    world: World,
    faults: BTreeMap<u64, When>,
    late: Vec<Effect>,
    calls: u64,
    writes: u64,
    crashed: bool,
    immortal: bool,
    /// Of a full disk: how many writes there is room for; absent: it is not full.
    room: Option<u32>,
    ballast: bool,
    told: Vec<(u32, String)>,
    uptime: Duration,
}

#[derive(Clone)]
pub struct FakeHost(Arc<Mutex<State>>);

impl Default for FakeHost {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeHost {
    /// A small Debian with `bob`, the group `web`, bash and sudo.
    pub fn new() -> Self {
        let world = World {
            files: debian(),
            homes: BTreeMap::from([("bob".into(), FakeHome { owner: 1000, keys: None, unfinished: false })]),
            programs: ["/bin/sh", "/bin/bash"].map(String::from).into(),
            sudoers: Some(BTreeMap::new()),
            mail: BTreeSet::new(),
            processes: BTreeMap::from([(1, 0), (100, 1000)]),
            ledger: None,
            litter: BTreeMap::new(),
            immovable: BTreeSet::new(),
            root_keys: None,
            notice: Default::default(),
            uid_limit: None,
            facts: Facts {
                os: "Fake".into(),
                arch: "x86_64".into(),
                boot_id: "boot-1".into(),
                ..Facts::default()
            },
        };
        let state = State {
            world,
            faults: BTreeMap::new(),
            late: Vec::new(),
            calls: 0,
            writes: 0,
            crashed: false,
            immortal: false,
            room: None,
            ballast: false,
            told: Vec::new(),
            uptime: Duration::ZERO,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Looks at the machine or changes it behind the agent's back.
    pub fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.state().world)
    }

    pub fn world(&self) -> World {
        self.with(|world| world.clone())
    }

    pub fn text(&self, db: Db) -> String {
        self.with(|world| {
            String::from_utf8_lossy(world.files.get(&db).map_or(&[], Vec::as_slice)).into_owned()
        })
    }

    /// The call after so many more of them fails, once; 0 is the next one.
    pub fn fail_at(&self, call: u64, when: When) {
        let mut state = self.state();
        let at = state.calls + call;
        state.faults.insert(at, when);
    }

    /// Forgets faults that were not met, and says whether there were any.
    pub fn clear_faults(&self) -> bool {
        !std::mem::take(&mut self.state().faults).is_empty()
    }

    /// Every call fails until [`FakeHost::revive`].
    pub fn crash(&self) {
        self.state().crashed = true;
    }

    pub fn revive(&self) {
        self.state().crashed = false;
    }

    /// A new boot id; no process but the first one lives on, and nothing that the kernel held.
    pub fn reboot(&self) {
        let calls = self.calls();
        self.with(|world| {
            world.processes.retain(|pid, _| *pid == 1);
            world.litter.retain(|(litter, _), _| !matches!(litter, Litter::Mounts | Litter::Ipc));
            world.facts.boot_id = format!("boot-after-{calls}");
        });
    }

    /// Processes survive being killed, as those in uninterruptible sleep do.
    pub fn set_immortal(&self, immortal: bool) {
        self.state().immortal = immortal;
    }

    /// No new file can be written, unless the ballast is dropped; removing works.
    pub fn set_full(&self, full: bool) {
        self.state().room = full.then_some(0);
    }

    /// Something that is found as litter of this UID.
    pub fn leave(&self, litter: Litter, kind: Residue, name: &str, uid: u32) {
        self.with(|world| world.litter.insert((litter, name.to_owned()), (kind, uid)));
    }

    /// sshd reads keys from a folder of root's.
    pub fn use_root_keys(&self) {
        self.with(|world| world.root_keys = Some(BTreeMap::new()));
    }

    /// What was written to terminals, and to whose.
    pub fn told(&self) -> Vec<(u32, String)> {
        self.state().told.clone()
    }

    pub fn has_ballast(&self) -> bool {
        self.state().ballast
    }

    pub fn spawn(&self, uid: u32) -> i32 {
        self.with(|world| {
            let pid = world.processes.keys().next_back().map_or(1, |last| last + 1);
            world.processes.insert(pid, uid);
            pid
        })
    }

    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// How many calls changed the machine or its ledger.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn see<T>(&self, look: impl FnOnce(&World) -> T) -> io::Result<T> {
        let mut state = self.state();
        match state.begin()? {
            None => Ok(look(&state.world)),
            Some(_) => Err(injected()),
        }
    }

    fn change<T>(&self, act: impl FnOnce(&mut World) -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let mut state = self.state();
        let fault = state.begin()?;
        if fault != Some(When::Before) {
            state.writes += 1;
        }
        match fault {
            None => act(&mut state.world),
            Some(When::Before) => Err(injected()),
            Some(When::After) => act(&mut state.world).and_then(|_| Err(injected())),
            Some(When::Late) => {
                state.late.push(Box::new(move |world| drop(act(world))));
                Err(injected())
            }
        }
    }

    /// A change that needs free disk.
    fn store(&self, act: impl FnOnce(&mut World) -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let has_room = self.state().room.is_none_or(|room| room > 0);
        if !has_room {
            return self.no_room();
        }
        let stored = self.change(act);
        let mut state = self.state();
        state.room = state.room.map(|room| room.saturating_sub(1));
        stored
    }

    fn no_room(&self) -> io::Result<()> {
        self.see(|_| ()).and(Err(io::ErrorKind::StorageFull.into()))
    }
}

impl State {
    fn begin(&mut self) -> io::Result<Option<When>> {
        if self.crashed {
            return Err(io::Error::other("the machine is down"));
        }
        for effect in std::mem::take(&mut self.late) {
            effect(&mut self.world);
        }
        let call = self.calls;
        self.calls += 1;
        Ok(self.faults.remove(&call))
    }
}

fn injected() -> io::Error {
    io::Error::other("injected fault")
}

fn debian() -> BTreeMap<Db, Vec<u8>> {
    [
        (Db::Passwd, "root:x:0:0:root:/root:/bin/bash\nbob:x:1000:1000::/home/bob:/bin/bash\n"),
        (Db::Shadow, "root:*:19000:0:99999:7:::\nbob:!:19000:0:99999:7:::\n"),
        (Db::Group, "root:x:0:\nweb:x:33:bob\nbob:x:1000:\n"),
        (Db::Gshadow, "root:*::\nweb:!::bob\nbob:!::\n"),
        (Db::Subuid, "bob:100000:65536\n"),
        (Db::Subgid, "bob:100000:65536\n"),
    ]
    .map(|(db, text)| (db, text.as_bytes().to_vec()))
    .into()
}
