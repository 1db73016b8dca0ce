//! A container with a distribution, an SSH server and the agent, but without a Berth server: visited from outside, as
//! root of the machine it runs on.

use crate::real::agent_binary;
use model::Timestamp;
use model::report::Report;
use model::spec::{AccountSpec, Spec};
use model::wire::Visit;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const START: &str = "mkdir -p /run/sshd; ssh-keygen -qA; /usr/sbin/sshd";
/// Takes in orphans.
const STAY: &str = "touch /run/up; while :; do sleep 1; done";

/// Removed when dropped.
pub struct Container {
    pub id: String,
    /// Of its first process, as seen from outside.
    pub pid: u32,
}

impl Container {
    /// With an SSH server; `flags` are those of `docker run`.
    pub fn start(image: &str, flags: &[&str]) -> Self {
        Self::with(image, flags, &format!("{START}; {STAY}"))
    }

    /// With nothing that runs.
    pub fn idle(image: &str, flags: &[&str]) -> Self {
        Self::with(image, flags, STAY)
    }

    /// `script` is its first process and makes `/run/up` when others may come in.
    pub fn with(image: &str, flags: &[&str], script: &str) -> Self {
        let agent = format!("{}:/usr/local/sbin/berth-agent:ro", agent_binary().display());
        let mut docker = Command::new("docker");
        docker.args(["run", "-d", "-p", "127.0.0.1::22", "--entrypoint", "/bin/sh", "-v", &agent]);
        let id = said(docker.args(flags).args([image, "-c", script]));
        let pid = said(Command::new("docker").args(["inspect", "-f", "{{.State.Pid}}", &id]));
        let container = Self { id, pid: pid.parse().unwrap() };
        eventually("the container is up", || container.path("/run/up").exists());
        container
    }

    /// A place inside as seen from outside.
    pub fn path(&self, absolute: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.pid)).join(absolute.trim_start_matches('/'))
    }

    pub fn ssh_port(&self) -> u16 {
        let port = said(Command::new("docker").args(["port", &self.id, "22/tcp"]));
        port.lines().next().and_then(|line| line.rsplit(':').next()).unwrap().parse().unwrap()
    }

    /// A command of its own programs, as root of the machine outside: nothing is forbidden to it.
    pub fn enter(&self, flags: &[&str]) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["-t", &self.pid.to_string(), "-a"]).args(flags).stdin(Stdio::null());
        nsenter
    }

    /// Runs a script; panics if it fails.
    pub fn run(&self, script: &str) -> String {
        said(self.enter(&[]).args(["sh", "-euc", script]))
    }

    /// A command of the machine outside, in a namespace or two of this one: `-i`, `-p`.
    pub fn lend(&self, namespaces: &[&str]) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["-t", &self.pid.to_string()]).args(namespaces).stdin(Stdio::null());
        nsenter
    }

    /// One visit of the agent, with what the engine lets it do. Without a spec it goes by the newest it knows.
    pub fn visit(&self, spec: Option<&Spec>) -> Report {
        let output = self.try_visit(spec);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {output:?}"))
    }

    pub fn try_visit(&self, spec: Option<&Spec>) -> Output {
        let mut docker = Command::new("timeout");
        docker.args(["100", "docker", "exec", "-i", &self.id, "/usr/local/sbin/berth-agent", "once"]);
        fed(&mut docker, spec)
    }

    /// Agents inside that were started for this: `once`, `watch`, `run`.
    pub fn agents(&self, what: &str) -> Vec<u32> {
        let mut all = self.processes(0);
        all.retain(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            words.next().is_some_and(|program| program.ends_with(b"berth-agent"))
                && words.any(|word| word == what.as_bytes())
        });
        all
    }

    /// Processes of this UID inside.
    pub fn processes(&self, uid: u32) -> Vec<u32> {
        let ours = std::fs::read_link(format!("/proc/{}/ns/pid", self.pid)).ok();
        let here = |pid: &u32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok() == ours;
        processes_of(uid).into_iter().filter(here).collect()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", "-v", &self.id]).output();
    }
}

/// Everywhere on this machine, in whatever container.
pub fn processes_of(uid: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_alive_as(*pid, uid)).collect()
}

fn is_alive_as(pid: u32, uid: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let dead = field("State:").trim_start().starts_with(['Z', 'X']);
    !dead && field("Uid:").split_whitespace().any(|text| text.parse() == Ok(uid))
}

/// Runs the agent, or what starts it, with a visit of this moment on its standard input.
pub fn fed(agent: &mut Command, spec: Option<&Spec>) -> Output {
    given(agent, &spec.map_or(Vec::new(), visit))
}

/// As a server says it now.
pub fn visit(spec: &Spec) -> Vec<u8> {
    serde_json::to_vec(&Visit { now: now(), spec: spec.clone(), kept: vec![] }).unwrap()
}

#[allow(clippy::disallowed_methods, reason = "the agents here are real, and so is their time")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Runs a command with this on its standard input.
pub fn given(command: &mut Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may have died already.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// Likewise, but waits for nobody else: a tracer stays with the watcher that a visit leaves, and has its output open.
pub fn given_alone(command: &mut Command, input: &[u8]) -> Output {
    let files = [(); 2].map(|()| tempfile::NamedTempFile::new().unwrap());
    let [stdout, stderr] = files.each_ref().map(|file| file.reopen().unwrap());
    let mut child = command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input);
    let status = child.wait().unwrap();
    let [stdout, stderr] = files.map(|file| std::fs::read(file.path()).unwrap());
    Output { status, stdout, stderr }
}

/// What a command printed; panics if it failed.
pub fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

pub fn eventually(what: &str, mut met: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if met() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("never: {what}");
}

/// Always of one database.
pub fn spec(generation: u64, accounts: Vec<AccountSpec>) -> Spec {
    let accounts: Vec<_> =
        accounts.into_iter().map(|account| serde_json::to_value(account).unwrap()).collect();
    let epoch = "01900000-0000-7000-8000-000000000001";
    serde_json::from_value(
        serde_json::json!({"epoch": epoch, "generation": generation, "accounts": accounts}),
    )
    .unwrap()
}

/// Until the end of the century, without a password.
pub fn account(name: &str, uid: u32) -> AccountSpec {
    serde_json::from_value(serde_json::json!({
        "assignment": format!("01900000-0000-7000-8000-{uid:012}"),
        "name": name, "uid": uid, "not_after": "2099-12-31T00:00:00Z",
    }))
    .unwrap()
}
