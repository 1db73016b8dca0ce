//! A thousand accounts on fifty machines end in the same second, and there is no server: each machine sees to it alone.
//! All fifty share the cores of this one with whatever else is tested, so the short form makes do with fewer.

use crate::is_long;
use model::Timestamp;
use model::spec::AccountSpec;
use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Stdio};
use std::thread::{scope, sleep};
use std::time::Duration;
use tests::container::{Container, account, now, said, spec};
use tests::inventory::Inventory;

const MACHINES: u32 = 50;
const FEWER: u32 = 15;
const ACCOUNTS: u32 = 20;
/// From then on nobody gets in and nothing runs.
const LOCKED_WITHIN: f64 = 5.0;
/// From then on nothing is left.
const CLEAN_WITHIN: f64 = 60.0;
/// As long as it takes to tell fifty machines, and more.
const UNTIL_THE_END: Duration = Duration::from_secs(20);
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// One machine with its accounts, each with something that runs.
struct Machine {
    container: Container,
    accounts: Vec<AccountSpec>,
    _running: Vec<Child>,
}

/// When, in seconds after the end, an account was first seen to be so.
struct Ended {
    uid: u32,
    machine: usize,
    locked: Option<f64>,
    clean: Option<f64>,
}

#[test]
fn accounts_on_many_machines_end_in_one_second_without_a_server() {
    let count = if is_long() { MACHINES } else { FEWER };
    let machines = each((0..count).collect(), Machine::with_accounts);
    let end = now().saturating_add(UNTIL_THE_END).unwrap();
    let machines = each(machines, |machine| machine.ends_at(end));
    let all = machines.iter().enumerate().flat_map(|(machine, of)| {
        of.accounts.iter().map(move |account| Ended { uid: account.uid, machine, locked: None, clean: None })
    });
    let mut all: Vec<Ended> = all.collect();
    let before = look(&machines, &mut all, end);
    assert!(before < 0.0, "it took too long to tell all of them");
    assert!(all.iter().all(|of| of.locked.is_none()), "they can log in until the end");
    while look(&machines, &mut all, end) < CLEAN_WITHIN && all.iter().any(|of| of.clean.is_none()) {
        sleep(BETWEEN_LOOKS);
    }
    report("locked", all.iter().map(|of| of.locked), LOCKED_WITHIN);
    report("clean", all.iter().map(|of| of.clean), CLEAN_WITHIN);
    for machine in &machines {
        let inventory = Inventory::take(&machine.container.path("/"), &[]);
        let left = machine.accounts.iter().flat_map(|account| inventory.of(account.uid));
        assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new());
    }
}

impl Machine {
    fn with_accounts(number: u32) -> Self {
        let image = if number.is_multiple_of(2) { "berth-debian" } else { "berth-alpine" };
        let container = Container::idle(image, &[]);
        let first = 66_000 + number * ACCOUNTS;
        let accounts: Vec<_> =
            (first..first + ACCOUNTS).map(|uid| account(&format!("u{uid}"), uid)).collect();
        let report = container.visit(Some(&spec(1, accounts.clone())));
        assert_eq!(report.accounts.len(), accounts.len(), "{report:?}");
        let run = |account: &AccountSpec| {
            let uid = account.uid.to_string();
            let mut sleep = container.enter(&["-S", &uid, "-G", &uid]);
            sleep.args(["sleep", "1000"]).stdout(Stdio::null()).spawn().unwrap()
        };
        let running = accounts.iter().map(run).collect();
        Self { container, accounts, _running: running }
    }

    /// Tells it when all of them end, and leaves it alone with its agent.
    fn ends_at(self, end: Timestamp) -> Self {
        let ending = |account: &AccountSpec| AccountSpec { not_after: end, ..account.clone() };
        self.container.visit(Some(&spec(2, self.accounts.iter().map(ending).collect())));
        let identity = r#"{"server": "unix:/nowhere", "credential": "berth_agent_x", "machine": "m",
            "incarnation": "01900000-0000-7000-8000-000000000002"}"#;
        fs::write(self.container.path("/var/lib/berth/identity.json"), identity).unwrap();
        let mut docker = std::process::Command::new("docker");
        docker.args(["exec", "-d", &self.container.id, "/usr/local/sbin/berth-agent"]);
        said(docker.args(["run", "--server", "unix:/nowhere"]));
        self
    }

    /// Nobody gets in, by what is in the files; whether anything runs is seen elsewhere.
    fn is_shut(&self, name: &str) -> bool {
        let shadow = self.read("/etc/shadow");
        let hash = shadow.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        hash.is_none_or(|rest| rest.starts_with('!'))
            && !self.container.path(&format!("/home/{name}/.ssh")).exists()
    }

    fn is_gone(&self, name: &str) -> bool {
        let files = ["/etc/passwd", "/etc/shadow", "/etc/group"];
        let is_named = files.into_iter().any(|file| self.read(file).contains(name));
        !is_named && !self.container.path(&format!("/home/{name}")).exists() && !self.is_managed(name)
    }

    /// The agent has not seen yet that it is gone.
    fn is_managed(&self, name: &str) -> bool {
        let ledger: serde_json::Value =
            serde_json::from_str(&self.read("/var/lib/berth/ledger.json")).unwrap();
        ledger["accounts"].as_array().unwrap().iter().any(|account| account["name"] == name)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.container.path(file)).unwrap_or_default()
    }
}

/// Notes what has become so, and returns how long ago the end was when the look began.
fn look(machines: &[Machine], all: &mut [Ended], end: Timestamp) -> f64 {
    let since = now().duration_since(end).as_secs_f64();
    let alive = uids_alive();
    for of in all.iter_mut().filter(|of| of.clean.is_none()) {
        let (machine, name) = (&machines[of.machine], format!("u{}", of.uid));
        if of.locked.is_none() && !alive.contains(&of.uid) && machine.is_shut(&name) {
            of.locked = Some(since);
        }
        if of.locked.is_some() && machine.is_gone(&name) {
            of.clean = Some(since);
        }
    }
    since
}

/// Of all processes on this machine, in whatever container.
fn uids_alive() -> BTreeSet<u32> {
    let statuses = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let dead = status.lines().any(|line| line.starts_with("State:") && line.contains("zombie"));
        (!dead).then_some(status)
    });
    let uids = statuses.filter_map(|status| {
        status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
    });
    uids.collect()
}

fn report(what: &str, seconds: impl Iterator<Item = Option<f64>>, within: f64) {
    let mut seconds: Vec<f64> = seconds.map(|seconds| seconds.unwrap_or(f64::INFINITY)).collect();
    seconds.sort_by(f64::total_cmp);
    let at = |part: f64| seconds[((seconds.len() - 1) as f64 * part) as usize];
    let (median, most, last) = (at(0.5), at(0.99), at(1.0));
    println!("{} accounts {what} after: p50 {median:.2} s, p99 {most:.2} s, max {last:.2} s", seconds.len());
    assert!(last <= within, "{what} after {last} s, not {within}");
}

/// A few at a time.
fn each<T: Send, U: Send>(items: Vec<T>, act: impl Fn(T) -> U + Sync) -> Vec<U> {
    let act = &act;
    let mut done = Vec::new();
    let mut items = items.into_iter().peekable();
    while items.peek().is_some() {
        let few: Vec<T> = items.by_ref().take(5).collect();
        done.extend(scope(|scope| {
            let doing: Vec<_> = few.into_iter().map(|item| scope.spawn(move || act(item))).collect();
            doing.into_iter().map(|doing| doing.join().unwrap()).collect::<Vec<_>>()
        }));
    }
    done
}
