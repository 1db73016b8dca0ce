//! The same convergence on real files below a temporary root, as root.

use super::given::{account, at, spec};
use agent::Clock;
use agent::converge::converge;
use agent::ledger::Ledger;
use agent::once::once;
use model::Timestamp;
use model::report::{AccountState, Report};
use model::spec::AccountSpec;
use playbooks::{Db, FakeHost, RealHost};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;
use tempfile::TempDir;

/// A clock that stands still.
struct Fixed(Timestamp);

impl Clock for Fixed {
    fn wall(&self) -> Timestamp {
        self.0
    }

    fn boottime(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep_until(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

fn machine() -> TempDir {
    let root = TempDir::new().unwrap();
    for folder in ["etc/sudoers.d", "etc/skel", "home/bob", "bin"] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    for db in Db::ALL {
        fs::write(root.path().join("etc").join(db.file_name()), FakeHost::new().text(db)).unwrap();
    }
    fs::set_permissions(root.path().join("etc/shadow"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(root.path().join("etc/skel/.profile"), "hello").unwrap();
    fs::write(root.path().join("etc/motd"), "Welcome.\n").unwrap();
    fs::write(root.path().join("bin/sh"), "").unwrap();
    fs::set_permissions(root.path().join("bin/sh"), fs::Permissions::from_mode(0o755)).unwrap();
    root
}

fn host(root: &TempDir) -> RealHost {
    RealHost::new(root.path(), root.path().join("var/lib/berth"))
}

/// Every file with mode and contents, but the agent's own and the kernel's lock.
fn files(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            if path.ends_with("var") || path.ends_with("run") || path.ends_with(".pwd.lock") {
                continue;
            }
            let contents = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            found.insert(path.clone(), (meta.mode(), contents));
            if meta.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

#[test]
fn an_account_comes_and_goes_and_every_byte_is_as_before() {
    let root = machine();
    let before = files(root.path());
    let mut ledger = Ledger::default();
    let alice = AccountSpec { sudo: true, groups: vec!["web".parse().unwrap()], ..account(98_702) };
    let report = converge(&mut host(&root), &mut ledger, Some(spec(1, vec![alice])), at(0));
    assert!(matches!(report.accounts[0].state, AccountState::Ready), "{report:?}");
    assert_eq!(fs::read_to_string(root.path().join("home/alice/.profile")).unwrap(), "hello");
    assert_eq!(root.path().join("etc/sudoers.d/berth-alice").metadata().unwrap().mode() & 0o777, 0o440);
    assert_eq!(root.path().join("var/lib/berth/ledger.json").metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(Ledger::load(&mut host(&root)).unwrap(), ledger);

    let report = converge(&mut host(&root), &mut ledger, None, at(60));
    assert_eq!((report.accounts.len(), report.problems.len()), (0, 0), "{report:?}");
    assert_eq!(files(root.path()), before);
}

#[test]
fn one_visit_reads_a_spec_and_writes_a_report() {
    let root = machine();
    let input = serde_json::to_vec(&spec(1, vec![account(98_703)])).unwrap();
    let report: Report =
        serde_json::from_slice(&once(&mut host(&root), &input, &Fixed(at(0))).unwrap()).unwrap();
    assert_eq!((report.generation, &report.accounts[0].state), (1, &AccountState::Ready));
    assert_eq!(report.facts.agent_version, env!("CARGO_PKG_VERSION"));
    let later: Report =
        serde_json::from_slice(&once(&mut host(&root), b"", &Fixed(at(60))).unwrap()).unwrap();
    assert!(later.accounts.is_empty());
    assert!(once(&mut host(&root), b"{", &Fixed(at(60))).is_err());
}

#[test]
fn a_damaged_ledger_is_an_error_and_not_an_empty_one() {
    let root = machine();
    fs::create_dir_all(root.path().join("var/lib/berth")).unwrap();
    fs::write(root.path().join("var/lib/berth/ledger.json"), "{\"accounts\":").unwrap();
    assert!(Ledger::load(&mut host(&root)).is_err());
}
