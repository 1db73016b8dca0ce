//! On Debian and on Alpine, seen from outside.

use model::Timestamp;
use model::report::{AccountState, EndsBy, Report};
use model::spec::AccountSpec;
use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::container::{Container, account, eventually, given, now, said, spec, visit};
use tests::real::agent_binary;

pub(super) const IMAGES: [&str; 2] = ["berth-debian", "berth-alpine"];
const UID: u32 = 66_000;
const AGENT: &str = "/usr/local/sbin/berth-agent";
/// Long enough for a visit or two, and a look.
const SOON: Duration = Duration::from_secs(6);

fn soon() -> Timestamp {
    now().saturating_add(SOON).unwrap()
}

pub(super) fn alice(not_after: Timestamp) -> Vec<AccountSpec> {
    vec![AccountSpec { not_after, ..account("alice", UID) }]
}

pub(super) fn far() -> Timestamp {
    "2099-12-31T00:00:00Z".parse().unwrap()
}

/// Processes that are hers, her home, or her name anywhere.
pub(super) fn is_there(container: &Container) -> bool {
    let files = ["/etc/passwd", "/etc/shadow", "/etc/group"];
    let is_named = |file| fs::read_to_string(container.path(file)).unwrap().contains("alice");
    files.into_iter().any(is_named)
        || container.path("/home/alice").exists()
        || !container.processes(UID).is_empty()
}

/// Something that runs as her.
fn run_as_alice(container: &Container) -> Child {
    let id = UID.to_string();
    let mut sleep = container.enter(&["-S", &id, "-G", &id]);
    let sleep = sleep.args(["sleep", "9999"]).stdout(Stdio::null()).spawn().unwrap();
    eventually("it runs", || !container.processes(UID).is_empty());
    sleep
}

/// The one watcher there is.
pub(super) fn watcher(container: &Container) -> u32 {
    let all = container.agents("watch");
    assert_eq!(all.len(), 1, "{all:?}");
    all[0]
}

pub(super) fn nobody_watches(container: &Container) {
    eventually("nobody watches", || container.agents("watch").is_empty());
}

fn signal(pid: u32, name: &str) {
    said(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]));
}

fn is_ready(report: &Report) -> bool {
    report.problems.is_empty() && report.accounts.iter().all(|account| account.state == AccountState::Ready)
}

#[test]
fn an_account_ends_in_time_though_nobody_visits_any_more() {
    for image in IMAGES {
        let container = Container::idle(image, &[]);
        let end = soon();
        let report = container.visit(Some(&spec(1, alice(end))));
        assert!(is_ready(&report), "{report:?}");
        assert_eq!(report.facts.ends_by, Some(EndsBy::Watcher));
        watcher(&container);
        let mut process = run_as_alice(&container);
        assert!(now() < end && is_there(&container), "{image}: not before its time");
        eventually("she is gone", || !is_there(&container));
        assert!(now() >= end, "{image}: not before its time");
        assert!(!process.wait().unwrap().success());
        nobody_watches(&container);
        // The next visit brings home what came of it.
        let report = container.visit(None);
        assert!(report.accounts.is_empty() && report.facts.ends_by.is_none(), "{report:?}");
        assert!(report.cleanings[0].ended_at.is_some_and(|at| at >= end), "{report:?}");
    }
}

#[test]
fn a_later_visit_extends_and_releases() {
    for image in IMAGES {
        let container = Container::idle(image, &[]);
        let end = soon();
        container.visit(Some(&spec(1, alice(end))));
        let first = watcher(&container);
        let report = container.visit(Some(&spec(2, alice(far()))));
        assert_eq!((is_ready(&report), report.facts.ends_by), (true, Some(EndsBy::Watcher)), "{report:?}");
        // Another account shows that the watcher has been through the old end.
        let report = container.visit(Some(&spec(3, [alice(far()), vec![bob(end)]].concat())));
        assert!(is_ready(&report), "{report:?}");
        eventually("bob2 is gone", || !container.path("/home/bob2").exists());
        assert!(is_there(&container), "{image}: she was extended");
        assert_eq!(watcher(&container), first, "{image}: the same one all the time");
        let report = container.visit(Some(&spec(4, vec![])));
        assert!(report.accounts.is_empty() && report.facts.ends_by.is_none(), "{report:?}");
        assert!(!is_there(&container), "{image}: released at once");
        nobody_watches(&container);
    }
}

fn bob(not_after: Timestamp) -> AccountSpec {
    AccountSpec { not_after, ..account("bob2", UID + 1) }
}

#[test]
fn a_visit_that_asks_for_less_time_is_heeded_at_once() {
    let container = Container::idle("berth-alpine", &[]);
    container.visit(Some(&spec(1, alice(far()))));
    container.visit(Some(&spec(2, alice(soon()))));
    eventually("she is gone", || !is_there(&container));
    nobody_watches(&container);
}

#[test]
fn one_watches_however_many_visit_and_a_killed_one_is_replaced() {
    for image in IMAGES {
        let container = Container::idle(image, &[]);
        std::thread::scope(|scope| {
            let visits = [1, 2, 3, 4].map(|generation| {
                let (container, spec) = (&container, spec(generation, alice(far())));
                scope.spawn(move || container.try_visit(Some(&spec)))
            });
            for visit in visits.map(|visit| visit.join().unwrap()) {
                assert!(visit.status.success(), "{visit:?}");
            }
        });
        let first = watcher(&container);
        signal(first, "HUP");
        assert_eq!(container.visit(None).facts.ends_by, Some(EndsBy::Watcher));
        assert_eq!(watcher(&container), first, "{image}");
        signal(first, "KILL");
        nobody_watches(&container);
        assert_eq!(container.visit(None).facts.ends_by, Some(EndsBy::Watcher));
        assert_ne!(watcher(&container), first, "{image}");
        container.visit(Some(&spec(5, alice(soon()))));
        eventually("she is gone", || !is_there(&container));
        nobody_watches(&container);
    }
}

/// What a connection leaves open or a session takes along would show here: `ssh` returns when the channel is closed.
#[test]
fn the_end_of_the_connection_is_not_the_watchers() {
    for image in IMAGES {
        let container = Container::idle(image, &[]);
        container.run(
            "echo PermitRootLogin prohibit-password >/etc/ssh/sshd_config.d/00-test.conf
            mkdir -p /run/sshd; ssh-keygen -qA; /usr/sbin/sshd",
        );
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        said(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
        fs::create_dir_all(container.path("/root/.ssh")).unwrap();
        fs::copy(folder.path().join("key.pub"), container.path("/root/.ssh/authorized_keys")).unwrap();
        container.run("chmod 700 /root/.ssh; chown -R 0:0 /root/.ssh");
        let mut ssh = Command::new("timeout");
        ssh.args(["60", "ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"]);
        ssh.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-i"]).arg(&key);
        ssh.args(["-p", &container.ssh_port().to_string(), "root@127.0.0.1", AGENT, "once"]);
        let end = soon();
        let output = given(&mut ssh, &visit(&spec(1, alice(end))));
        assert!(output.status.success(), "{image}: {output:?}");
        let report: Report = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((is_ready(&report), report.facts.ends_by), (true, Some(EndsBy::Watcher)));
        let pid = watcher(&container);
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let open: Vec<_> = open.filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
        assert!(open.iter().all(|file| !file.to_string_lossy().starts_with("pipe:")), "{open:?}");
        assert_eq!(
            fs::read_link(format!("/proc/{pid}/cwd")).unwrap(),
            fs::read_link("/proc/self/root").unwrap()
        );
        eventually("she is gone", || !is_there(&container));
        nobody_watches(&container);
    }
}

/// Somebody visits all the time while the account ends: each waits for the others, and none for ever.
#[test]
fn visits_at_the_very_end_wait_for_their_turn() {
    for image in IMAGES {
        let container = Container::idle(image, &[]);
        container.visit(Some(&spec(1, alice(soon()))));
        let mut process = run_as_alice(&container);
        eventually("she is gone", || {
            let output = container.try_visit(None);
            assert!(output.status.success(), "{image}: {output:?}");
            !is_there(&container)
        });
        process.wait().unwrap();
        nobody_watches(&container);
    }
}

/// The visit that makes an account is killed in the middle: what there is of it ends in time all the same.
#[test]
fn a_visit_that_dies_has_left_a_watcher_before_it_made_anything() {
    for image in IMAGES {
        let container = Container::idle(image, &[]);
        // Somebody edits the account databases, so that the visit waits.
        container.run("echo -n 1 >/etc/passwd.lock");
        let mut docker = Command::new("docker");
        docker.args(["exec", "-i", &container.id, AGENT, "once"]).stdin(Stdio::piped());
        let mut visiting = docker.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let end = soon();
        visiting.stdin.take().unwrap().write_all(&visit(&spec(1, alice(end)))).unwrap();
        eventually("she is in the ledger", || managed(&container) == 1);
        signal(container.agents("once")[0], "KILL");
        visiting.wait().unwrap();
        eventually("there is a watcher", || container.agents("watch").len() == 1);
        container.run("rm /etc/passwd.lock");
        eventually("it has ended her", || managed(&container) == 0);
        assert!(now() >= end && !is_there(&container), "{image}");
        nobody_watches(&container);
    }
}

/// How many accounts the ledger has.
fn managed(container: &Container) -> usize {
    let ledger = fs::read(container.path("/var/lib/berth/ledger.json")).unwrap_or_default();
    let ledger: serde_json::Value = serde_json::from_slice(&ledger).unwrap_or_default();
    ledger["accounts"].as_array().map_or(0, Vec::len)
}

/// Neither a visit that says nothing nor one that nobody listens to keeps others out.
#[test]
fn a_connection_that_hangs_keeps_nobody_out() {
    let container = Container::idle("berth-debian", &[]);
    let mut docker = Command::new("docker");
    docker.args(["exec", "-i", &container.id, AGENT, "once"]).stdin(Stdio::piped());
    let mut hanging = docker.stdout(Stdio::null()).spawn().unwrap();
    eventually("it waits for its spec", || container.agents("once").len() == 1);
    let report = container.visit(Some(&spec(1, alice(soon()))));
    assert!(is_ready(&report), "{report:?}");
    eventually("she is gone", || !is_there(&container));
    assert_eq!(container.agents("once").len(), 1, "it waits still");
    drop(hanging.stdin.take());
    assert!(hanging.wait().unwrap().success());
}

#[test]
fn an_agent_that_is_a_service_takes_over_and_visits_are_refused() {
    for image in IMAGES {
        let container = Container::idle(image, &[]);
        let end = soon();
        container.visit(Some(&spec(1, alice(end))));
        watcher(&container);
        let identity = r#"{"server": "unix:/nowhere", "credential": "berth_agent_x", "machine": "m",
            "incarnation": "01900000-0000-7000-8000-000000000002"}"#;
        fs::write(container.path("/var/lib/berth/identity.json"), identity).unwrap();
        let service = [&container.id, AGENT, "run", "--server", "unix:/nowhere"];
        said(Command::new("docker").args(["exec", "-d"]).args(service));
        nobody_watches(&container);
        let refused = container.try_visit(Some(&spec(2, vec![])));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("stop that one first"), "{refused:?}");
        eventually("she is gone", || !is_there(&container));
        assert!(now() >= end && container.agents("watch").is_empty(), "{image}");
    }
}

/// A machine on which none can be started is visited all the same, and the report does not claim one.
#[test]
fn without_a_watcher_the_report_claims_none() {
    let container = Container::idle("berth-debian", &[]);
    container.visit(None);
    container.run("mkdir /var/lib/berth/resident.lock");
    let report = container.visit(Some(&spec(1, alice(far()))));
    assert_eq!((is_ready(&report), report.facts.ends_by), (true, None), "{report:?}");
    assert!(container.visit(Some(&spec(2, vec![]))).accounts.is_empty());
    container.run("rmdir /var/lib/berth/resident.lock");
    assert_eq!(container.visit(Some(&spec(3, bobs()))).facts.ends_by, Some(EndsBy::Watcher));
}

fn bobs() -> Vec<AccountSpec> {
    vec![bob(far())]
}

#[test]
fn a_newer_program_replaces_the_watcher_of_an_older_one() {
    let container = Container::idle("berth-debian", &[]);
    fs::copy(agent_binary(), container.path("/root/berth-agent")).unwrap();
    let mut older = Command::new("docker");
    older.args(["exec", "-i", &container.id, "/root/berth-agent", "once"]);
    let output = given(&mut older, &visit(&spec(1, alice(far()))));
    assert!(output.status.success(), "{output:?}");
    let first = watcher(&container);
    assert_eq!(container.visit(None).facts.ends_by, Some(EndsBy::Watcher));
    assert_ne!(watcher(&container), first);
    let program = |pid| fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert!(program(watcher(&container)).ends_with(&AGENT[1..]));
    container.visit(Some(&spec(2, alice(soon()))));
    eventually("she is gone", || !is_there(&container));
}
