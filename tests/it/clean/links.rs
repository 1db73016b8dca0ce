//! Somebody swaps folders for links while root works in them: nothing outside of a home changes.

use playbooks::{Db, FakeHost, Host, Litter, RealHost, Who};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use tempfile::TempDir;
use tests::container::{account, spec};

const ROUNDS: u32 = 10_000;
/// Rounds of an agent, which does more in each and writes its ledger.
const CONVERGENCES: u32 = 300;
const UID: u32 = 98_800;
const KEYS: &[u8] = b"ssh-ed25519 AAAA somebody\n";

#[test]
fn swapped_links_lead_nowhere() {
    let machine = Machine::new();
    let before = machine.outside();
    let mut host = machine.host();
    let who = who();
    let swaps = machine.while_swapping(|_| {
        for round in 0..ROUNDS {
            // Most of these fail; what they must not do is to write or remove anywhere else.
            let _ = host.home_create(&who, KEYS);
            let _ = host.home(&who);
            let _ = host.keys_write(&who, KEYS);
            let _ = host.keys_remove(&who);
            let _ = host.home_remove(&who);
            if round % 100 == 0 {
                let _ = host.litter_remove(std::slice::from_ref(&who), Litter::Files);
                assert_eq!(machine.outside(), before, "round {round}");
            }
        }
    });
    machine.is_clean_in_the_end(&mut host);
    assert_eq!(machine.outside(), before);
    println!("{ROUNDS} rounds against {swaps} swaps");
    assert!(swaps > u64::from(ROUNDS), "the swapper kept up: {swaps}");
}

#[test]
fn an_agent_is_not_led_astray() {
    let machine = Machine::new();
    let before = machine.outside();
    let (mut host, mut ledger) = (machine.host(), agent::ledger::Ledger::default());
    let now = "2026-01-01T00:00:00Z".parse::<model::Timestamp>().unwrap();
    machine.while_swapping(|uid| {
        for round in 0..CONVERGENCES {
            let alice = account("alice", UID + round);
            uid.store(alice.uid, Ordering::Relaxed);
            for accounts in [vec![alice], vec![]] {
                let generation = ledger.generation() + 1;
                agent::converge::converge(&mut host, &mut ledger, Some(spec(generation, accounts)), now);
            }
            assert_eq!(machine.outside(), before, "round {round}");
        }
    });
    let ours: Vec<u32> = ledger.accounts.iter().map(|managed| managed.who.uid).collect();
    machine.remove_others(&ours);
    let report = agent::converge::converge(&mut host, &mut ledger, None, now);
    assert!(report.accounts.is_empty(), "{report:?}");
    assert_eq!(machine.outside(), before);
}

fn who() -> Who {
    let assignment = "01900000-0000-7000-8000-000000000001".parse().unwrap();
    Who { assignment, name: "alice".parse().unwrap(), uid: UID }
}

struct Machine(TempDir);

type Files = BTreeMap<PathBuf, (u32, u32, Vec<u8>)>;

impl Machine {
    fn new() -> Self {
        // In memory, where a sync costs nothing.
        let root = tempfile::Builder::new().tempdir_in("/dev/shm").unwrap();
        for folder in
            ["etc/skel/.config", "etc/sudoers.d", "etc/ssh", "home", "root/.ssh", "bin", "tmp", "var/mail"]
        {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let fake = FakeHost::new();
        for db in Db::ALL {
            fs::write(root.path().join("etc").join(db.file_name()), fake.text(db)).unwrap();
        }
        for file in
            ["etc/skel/.profile", "etc/authorized_keys", "root/authorized_keys", "root/.ssh/authorized_keys"]
        {
            fs::write(root.path().join(file), "root's").unwrap();
        }
        for folder in ["home", "tmp"] {
            fs::set_permissions(root.path().join(folder), fs::Permissions::from_mode(0o777)).unwrap();
        }
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(root.path().join("bin/sh"), "").unwrap();
        fs::set_permissions(root.path().join("bin/sh"), fs::Permissions::from_mode(0o755)).unwrap();
        Self(root)
    }

    fn host(&self) -> RealHost {
        RealHost::new(self.0.path(), self.0.path().join("var/lib/berth"))
    }

    /// What is root's and the account's lines have no business in.
    fn outside(&self) -> Files {
        let mut found = Files::new();
        let mut folders = vec![self.0.path().join("etc"), self.0.path().join("root")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if is_of_an_account(&path) {
                    continue;
                }
                let meta = path.symlink_metadata().unwrap();
                let contents = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
                found.insert(path.clone(), (meta.mode(), meta.uid(), contents));
                if meta.is_dir() {
                    folders.push(path);
                }
            }
        }
        found
    }

    /// Whose rights the one who swaps has is up to what is done meanwhile. Returns how often something was swapped.
    fn while_swapping(&self, act: impl FnOnce(&AtomicU32)) -> u64 {
        let uid = AtomicU32::new(UID);
        let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let count = swaps.fetch_add(1, Ordering::Relaxed);
                    swap(self.0.path(), count, uid.load(Ordering::Relaxed));
                }
            });
            // Also when it fails, or the scope would wait for ever.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(&uid)));
            stop.store(true, Ordering::Relaxed);
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        swaps.load(Ordering::Relaxed)
    }

    /// Homes that are not ours to remove: of another account, or root's since a folder into which somebody still wrote
    /// while it was swept looked like one that holds files of others.
    fn remove_others(&self, ours: &[u32]) {
        for entry in fs::read_dir(self.0.path().join("home")).unwrap() {
            let (path, meta) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
            if !ours.contains(&meta.uid()) {
                if meta.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
            }
        }
    }

    fn is_clean_in_the_end(&self, host: &mut RealHost) {
        let who = who();
        self.remove_others(&[who.uid]);
        host.home_remove(&who).unwrap();
        host.litter_remove(std::slice::from_ref(&who), Litter::Files).unwrap();
        let left = host.litter_remove(std::slice::from_ref(&who), Litter::Files).unwrap();
        assert!(left.found.is_empty(), "{left:?}");
        assert_eq!(fs::read_dir(self.0.path().join("home")).unwrap().count(), 0);
    }
}

/// The six databases, their locks and copies on the way, and what is an account's own.
fn is_of_an_account(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    let is_database = Db::ALL.iter().any(|db| name.trim_start_matches('.').starts_with(db.file_name()));
    is_database || [".pwd.lock", "berth-alice", "motd", ".berth-ballast"].contains(&name.as_ref())
}

/// In turn each of the places goes aside and a link takes its place, and the other way round. With a tenant's rights, who
/// may do so to homes as well.
fn swap(root: &Path, count: u64, uid: u32) {
    nix::unistd::setfsuid(nix::unistd::Uid::from_raw(uid));
    let home = root.join("home/alice");
    let places = [home.clone(), home.join(".ssh"), home.join(".ssh/authorized_keys"), home.join(".config")];
    let targets = ["etc", "root", "root/.ssh", "etc/authorized_keys", "etc/skel"];
    let (place, number) = (&places[count as usize % 4], count / 4);
    if place.is_symlink() {
        let _ = fs::remove_file(place);
        return;
    }
    let aside = root.join("tmp/aside");
    if place.exists() && fs::rename(place, &aside).is_err() {
        let _ = fs::remove_dir_all(&aside).or_else(|_| fs::remove_file(&aside));
        let _ = fs::rename(place, &aside);
    }
    let target = root.join(targets[number as usize % targets.len()]);
    let _ = if number % 3 == 0 { fs::create_dir(place) } else { symlink(target, place) };
}
