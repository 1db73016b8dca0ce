//! What there is of somebody on a machine: looked for from outside, by kinds, with nobody's help.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tests::container::{Container, said};
use tests::inventory::{Entry, Inventory};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Traces(BTreeMap<&'static str, Vec<String>>);

impl Traces {
    pub(super) fn with(mut self, kind: &'static str, found: Vec<String>) -> Self {
        if !found.is_empty() {
            self.0.entry(kind).or_default().extend(found);
        }
        self
    }

    pub(super) fn has(&self, kind: &str) -> bool {
        self.0.contains_key(kind)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

pub(super) fn look(container: &Container, name: &str, uid: u32) -> (Traces, Inventory) {
    let mounts = mounts(container, name, uid);
    let shut: Vec<PathBuf> = mounts.iter().map(|(point, _)| point.clone()).collect();
    let inventory = Inventory::take(&container.path("/"), &shut);
    let pids = container.processes(uid).into_iter().map(|pid| format!("process {pid}"));
    let found = Traces(BTreeMap::new())
        .with("mount", mounts.into_iter().map(|(_, line)| line).collect())
        .with("process", pids.collect())
        .with("ipc", ipc(container, uid))
        .with("socket", abstract_sockets(container, name))
        .with("entry", entries(container, name, uid, ""))
        .with("backup", entries(container, name, uid, "-"))
        .of_files(&inventory, name, uid);
    (found, inventory)
}

/// Where, and the line of the kernel's table.
fn mounts(container: &Container, name: &str, uid: u32) -> Vec<(PathBuf, String)> {
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", container.pid)).unwrap();
    let theirs = |line: &&str| {
        let point = line.split(' ').nth(4).unwrap_or_default();
        line.contains(&format!("user_id={uid},")) || point.starts_with(&format!("/home/{name}/"))
    };
    let point = |line: &str| line.split(' ').nth(4).unwrap_or_default().trim_start_matches('/').into();
    table.lines().filter(theirs).map(|line| (point(line), line.to_owned())).collect()
}

fn ipc(container: &Container, uid: u32) -> Vec<String> {
    let mut cat = container.lend(&["-i"]);
    let tables = said(cat.args(["cat", "/proc/sysvipc/shm", "/proc/sysvipc/msg", "/proc/sysvipc/sem"]));
    let theirs = |line: &&str| line.split_whitespace().any(|field| field.parse() == Ok(uid));
    tables.lines().filter(theirs).map(str::to_owned).collect()
}

fn abstract_sockets(container: &Container, name: &str) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/{}/net/unix", container.pid)).unwrap();
    let sought = format!("@berth-hidden-{name}");
    table.lines().filter(|line| line.ends_with(&sought)).map(str::to_owned).collect()
}

/// Lines with the name or the number as a field or as a part of one.
fn entries(container: &Container, name: &str, uid: u32, suffix: &str) -> Vec<String> {
    let uid = uid.to_string();
    let mut found = Vec::new();
    for file in ["passwd", "shadow", "group", "gshadow", "subuid", "subgid"] {
        let path = container.path(&format!("/etc/{file}{suffix}"));
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let theirs = |line: &&str| line.split([':', ',']).any(|part| part == name || part == uid);
        found.extend(text.lines().filter(theirs).map(|line| format!("{file}{suffix}: {line}")));
    }
    found
}

/// What a file's place says of what it is.
const PLACES: [(&str, &str); 9] = [
    ("home/", "home"),
    ("var/spool/cron/crontabs/", "cron"),
    ("etc/crontabs/", "cron"),
    ("var/lib/systemd/linger/", "linger"),
    ("var/mail/", "mail"),
    ("etc/sudoers.d/", "sudo"),
    ("etc/sudoers.d/berth-", "sudo"),
    ("etc/ssh/berth-keys/", "key"),
    ("run/user/", "runtime"),
];

impl Traces {
    fn of_files(mut self, inventory: &Inventory, name: &str, uid: u32) -> Self {
        let id = uid.to_string();
        for (path, entry) in &inventory.0 {
            let text = path.to_string_lossy();
            for (place, kind) in PLACES {
                if text.strip_prefix(place).is_some_and(|rest| rest == name || rest == id) {
                    self = self.with(kind, vec![text.to_string()]);
                }
            }
            if let Some(kind) = kind(path, entry, uid) {
                self = self.with(kind, vec![format!("{text} {}:{}", entry.uid, entry.gid)]);
            }
        }
        self
    }
}

fn kind(path: &Path, entry: &Entry, uid: u32) -> Option<&'static str> {
    let owns = entry.uid == uid || entry.gid == uid;
    let is_job = path.starts_with("var/spool/cron/atjobs") || path.starts_with("var/spool/cron/atspool");
    let is_setuid = entry.mode & 0o6000 != 0 && entry.mode & 0o170_000 == 0o100_000;
    match () {
        () if owns && is_job => Some("at"),
        () if owns && is_setuid => Some("setuid"),
        () if owns && !path.starts_with("home") => Some("file"),
        () if owns => Some("home"),
        () if entry.listed.contains(&uid) => Some("acl"),
        () => None,
    }
}
