//! The same convergence on real files below a temporary root, as root.

use super::given::{HASH, account, at, id, spec};
use agent::converge::converge;
use agent::ledger::Ledger;
use agent::once::{Heard, once};
use agent::{Clock, Launch, turn};
use model::Timestamp;
use model::report::{AccountState, Report};
use model::spec::{AccountSpec, Spec};
use model::wire::Visit;
use playbooks::{Db, FakeHost, RealHost};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
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

/// Nothing can be started here.
fn nobody_watches(root: &TempDir) -> Launch {
    let state = root.path().join("var/lib/berth");
    Launch { program: "/nowhere/berth-agent".into(), state, root: root.path().to_owned() }
}

fn try_visit(root: &TempDir, input: &[u8], clock: Fixed) -> io::Result<Report> {
    let heard = Heard::read(input, &clock)?;
    let launch = nobody_watches(root);
    let _turn = turn::take(&launch.state)?;
    once(host(root), heard, Arc::new(clock), &launch)
}

fn visit(now: Timestamp, spec: Spec) -> Vec<u8> {
    serde_json::to_vec(&Visit { now, spec, kept: vec![] }).unwrap()
}

#[test]
fn one_visit_reads_a_spec_and_writes_a_report() {
    let root = machine();
    let input = visit(at(0), spec(1, vec![account(98_703)]));
    let report = try_visit(&root, &input, Fixed(at(0))).unwrap();
    assert_eq!((report.generation, &report.accounts[0].state), (1, &AccountState::Ready));
    assert_eq!(report.facts.agent_version, env!("CARGO_PKG_VERSION"));
    assert_eq!(report.facts.ends_by, None, "nobody could be started who would");
    let later = try_visit(&root, &visit(at(60), spec(1, vec![account(98_703)])), Fixed(at(0))).unwrap();
    assert!(later.accounts.is_empty());
}

#[test]
fn a_visit_brings_the_servers_clock() {
    let root = machine();
    // The machine's own is a year behind, or ahead.
    for (number, wall) in [(0_u32, at(-365 * 24 * 60)), (1, at(365 * 24 * 60))] {
        let spec = |generation| spec(u64::from(number) * 2 + generation, vec![account(98_704 + number)]);
        let report = try_visit(&root, &visit(at(59), spec(1)), Fixed(wall)).unwrap();
        assert_eq!(report.accounts[0].state, AccountState::Ready, "{report:?}");
        let without = try_visit(&root, b"\n", Fixed(wall)).unwrap();
        assert_eq!(without.accounts[0].state, AccountState::Ready, "it was written down: {without:?}");
        let report = try_visit(&root, &visit(at(60), spec(1)), Fixed(wall)).unwrap();
        assert!(report.accounts.is_empty(), "{report:?}");
    }
}

#[test]
fn a_visit_is_told_of_cleanings_until_the_server_has_them() {
    let root = machine();
    let made = visit(at(0), spec(1, vec![account(98_706)]));
    try_visit(&root, &made, Fixed(at(0))).unwrap();
    let gone = Visit { now: at(1), spec: spec(2, vec![]), kept: vec![] };
    for _ in 0..2 {
        let report = try_visit(&root, &serde_json::to_vec(&gone).unwrap(), Fixed(at(1))).unwrap();
        assert_eq!(report.cleanings.len(), 1, "{report:?}");
        assert_eq!(report.cleanings[0].uid, 98_706);
    }
    let kept = Visit { kept: vec![id(98_706).parse().unwrap()], ..gone.clone() };
    for input in [&kept, &gone] {
        let report = try_visit(&root, &serde_json::to_vec(input).unwrap(), Fixed(at(1))).unwrap();
        assert_eq!(report.cleanings, [], "forgotten, also on disk");
    }
}

#[test]
fn what_is_no_visit_is_an_error_that_says_what_one_is_and_changes_nothing() {
    let root = machine();
    let spec = spec(1, vec![account(98_707)]);
    let bare = serde_json::to_vec(&spec).unwrap();
    let unknown = serde_json::json!({"now": at(0), "spec": spec, "then": 1}).to_string();
    let timeless = serde_json::json!({"spec": spec}).to_string();
    let before = files(root.path());
    for bad in [b"{", &bare[..], unknown.as_bytes(), timeless.as_bytes(), b"[]", b"\0"] {
        let error = try_visit(&root, bad, Fixed(at(0))).unwrap_err().to_string();
        assert!(error.contains("this is no visit") && error.contains("\"now\""), "{error}");
        assert!(!error.contains(HASH), "{error}");
    }
    assert_eq!(files(root.path()), before);
    assert!(!root.path().join("var").exists(), "not even a folder");
}

#[test]
fn a_damaged_ledger_is_an_error_and_not_an_empty_one() {
    let root = machine();
    fs::create_dir_all(root.path().join("var/lib/berth")).unwrap();
    fs::write(root.path().join("var/lib/berth/ledger.json"), "{\"accounts\":").unwrap();
    assert!(Ledger::load(&mut host(&root)).is_err());
}
