//! A machine in memory that fails on demand. The handle is cheap to clone, so that a test can look at the machine,
//! change it from outside and break it while an agent holds it.

use crate::host::{Db, Home, Host, Who};
use crate::unix;
use model::report::Facts;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

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
    pub facts: Facts,
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
    full: bool,
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
            full: false,
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

    /// A new boot id; no process but the first one lives on.
    pub fn reboot(&self) {
        let calls = self.calls();
        self.with(|world| {
            world.processes.retain(|pid, _| *pid == 1);
            world.facts.boot_id = format!("boot-after-{calls}");
        });
    }

    /// Processes survive being killed, as those in uninterruptible sleep do.
    pub fn set_immortal(&self, immortal: bool) {
        self.state().immortal = immortal;
    }

    /// No new file can be written; removing works.
    pub fn set_full(&self, full: bool) {
        self.state().full = full;
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

    fn change(&self, act: impl FnOnce(&mut World) -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let mut state = self.state();
        let fault = state.begin()?;
        if fault != Some(When::Before) {
            state.writes += 1;
        }
        match fault {
            None => act(&mut state.world),
            Some(When::Before) => Err(injected()),
            Some(When::After) => act(&mut state.world).and_then(|()| Err(injected())),
            Some(When::Late) => {
                state.late.push(Box::new(move |world| drop(act(world))));
                Err(injected())
            }
        }
    }
}

impl FakeHost {
    /// A change that needs free disk.
    fn store(&self, act: impl FnOnce(&mut World) -> io::Result<()> + Send + 'static) -> io::Result<()> {
        if self.state().full {
            return self.see(|_| ()).and(Err(io::ErrorKind::StorageFull.into()));
        }
        self.change(act)
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

impl Host for FakeHost {
    fn facts(&mut self) -> io::Result<Facts> {
        self.see(|world| world.facts.clone())
    }

    fn read_ledger(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.see(|world| world.ledger.clone())
    }

    fn write_ledger(&mut self, bytes: &[u8]) -> io::Result<()> {
        let bytes = bytes.to_vec();
        self.store(move |world| {
            world.ledger = Some(bytes);
            Ok(())
        })
    }

    fn lock_accounts(&mut self) -> io::Result<()> {
        self.see(|_| ())
    }

    fn unlock_accounts(&mut self) -> io::Result<()> {
        self.see(|_| ())
    }

    fn read(&mut self, db: Db) -> io::Result<Option<Vec<u8>>> {
        self.see(|world| world.files.get(&db).cloned())
    }

    fn replace_all(&mut self, files: &[(Db, Vec<u8>)]) -> io::Result<()> {
        let files = files.to_vec();
        self.store(move |world| {
            world.files.extend(files);
            Ok(())
        })
    }

    fn password_spoil(&mut self, who: &Who) -> io::Result<()> {
        let who = who.clone();
        self.change(move |world| {
            let read = |db| world.files.get(&db).cloned().unwrap_or_default();
            let (passwd, mut shadow) = (read(Db::Passwd), read(Db::Shadow));
            if let Some(at) = unix::password_at(&passwd, &shadow, who.name.as_str(), who.uid) {
                shadow[at] = b'!';
                world.files.insert(Db::Shadow, shadow);
            }
            Ok(())
        })
    }

    fn has_program(&mut self, path: &str) -> io::Result<bool> {
        self.see(|world| world.programs.contains(path))
    }

    fn home(&mut self, who: &Who) -> io::Result<Home> {
        self.see(|world| match world.homes.get(who.name.as_str()) {
            None => Home::Absent,
            Some(home) if home.unfinished => Home::Unfinished,
            Some(home) => {
                Home::Present { owner: home.owner, keys: home.keys.clone(), ssh: home.keys.is_some() }
            }
        })
    }

    fn home_create(&mut self, who: &Who, keys: &[u8]) -> io::Result<()> {
        let (who, keys) = (who.clone(), keys.to_vec());
        self.store(move |world| {
            let name = who.name.to_string();
            if world.homes.get(&name).is_some_and(|home| !home.unfinished) {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("/home/{name} exists already"),
                ));
            }
            world.homes.insert(name, FakeHome { owner: who.uid, keys: Some(keys), unfinished: false });
            Ok(())
        })
    }

    fn home_remove(&mut self, who: &Who) -> io::Result<()> {
        let name = who.name.to_string();
        self.change(move |world| {
            world.homes.remove(&name);
            Ok(())
        })
    }

    fn keys_write(&mut self, who: &Who, keys: &[u8]) -> io::Result<()> {
        let (name, keys) = (who.name.to_string(), keys.to_vec());
        self.store(move |world| {
            let home = world.homes.get_mut(&name).ok_or(io::ErrorKind::NotFound)?;
            home.keys = Some(keys);
            Ok(())
        })
    }

    fn keys_remove(&mut self, who: &Who) -> io::Result<()> {
        let name = who.name.to_string();
        self.change(move |world| {
            if let Some(home) = world.homes.get_mut(&name) {
                home.keys = None;
            }
            Ok(())
        })
    }

    fn sudo(&mut self, who: &Who) -> io::Result<Option<Vec<u8>>> {
        self.see(|world| world.sudoers.as_ref().and_then(|rules| rules.get(who.name.as_str()).cloned()))
    }

    fn sudo_write(&mut self, who: &Who, rule: &[u8]) -> io::Result<()> {
        let (name, rule) = (who.name.to_string(), rule.to_vec());
        self.store(move |world| {
            world.sudoers.as_mut().ok_or(io::ErrorKind::NotFound)?.insert(name, rule);
            Ok(())
        })
    }

    fn sudo_remove(&mut self, who: &Who) -> io::Result<()> {
        let name = who.name.to_string();
        self.change(move |world| {
            if let Some(rules) = &mut world.sudoers {
                rules.remove(&name);
            }
            Ok(())
        })
    }

    fn has_sudo(&mut self) -> io::Result<bool> {
        self.see(|world| world.sudoers.is_some())
    }

    fn mail(&mut self, who: &Who) -> io::Result<bool> {
        self.see(|world| world.mail.contains(who.name.as_str()))
    }

    fn mail_remove(&mut self, who: &Who) -> io::Result<()> {
        let name = who.name.to_string();
        self.change(move |world| {
            world.mail.remove(&name);
            Ok(())
        })
    }

    fn processes(&mut self, uid: u32) -> io::Result<Vec<i32>> {
        self.see(|world| {
            world.processes.iter().filter(|(_, owner)| **owner == uid).map(|(pid, _)| *pid).collect()
        })
    }

    fn kill_all(&mut self, uid: u32) -> io::Result<()> {
        let immortal = self.state().immortal;
        self.change(move |world| {
            world.processes.retain(|_, owner| immortal || *owner != uid);
            Ok(())
        })
    }
}
