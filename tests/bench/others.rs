//! The same job done by others, as root over SSH on the same containers.

use super::{Host, USER, Way, each};
use futures_util::future::BoxFuture;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use tests::real::{By, RealFarm, inside, until};

/// Of the password that is logged in with, with 5,000 rounds, as Berth makes it.
const HASH: &str = "$6$saltsaltsaltsalt$GkzgkzVbauGAKXpOTbypQEKy/9yJWVjcvXvDw7CxoJjnJ1.w.g1rV8bhCVTpHrRrO/h6b3DAwPN3y5qmHXZ1R1";

/// The farm's containers, with a door for us.
pub(super) struct Hosts {
    pub(super) all: Vec<Host>,
    folder: PathBuf,
    key: PathBuf,
}

impl Hosts {
    /// Lets us in as root by key. The image forbids that, so it is allowed in each of these containers.
    pub(super) async fn open(farm: &RealFarm) -> Self {
        let machines = farm.get("/v1/machines").await;
        let host = |machine: &serde_json::Value| Host {
            name: machine["name"].as_str().unwrap().to_owned(),
            port: machine["port"].as_u64().unwrap().try_into().unwrap(),
        };
        let all: Vec<_> = machines["items"].as_array().unwrap().iter().map(host).collect();
        let folder = farm.folder.path().to_path_buf();
        let key = folder.join("root_key");
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
        assert!(made.unwrap().success());
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        let door = OPEN_DOOR.replace("{key}", public.trim());
        each(&all, |host| inside(&host.name, &door));
        let hosts = Self { all, folder, key };
        let enters = |host: &Host| hosts.as_root(host, "true").is_ok();
        until("root can log in", async || each(&hosts.all, enters).iter().all(|entered| *entered)).await;
        hosts
    }

    /// Gives Ansible the Python it needs on the other side. Says so if it cannot.
    pub(super) fn install_python(&self) -> bool {
        let done = AtomicUsize::new(0);
        eprintln!("installing Python in {} containers", self.all.len());
        let installed = each(&self.all, |host| {
            let output = inside(&host.name, INSTALL_PYTHON);
            let installed = output.trim_end().ends_with("python is there");
            if installed {
                eprintln!("  {} of {}", done.fetch_add(1, Ordering::Relaxed) + 1, self.all.len());
            } else {
                eprintln!("no Python in {}, so there will be no rows of Ansible: {output}", host.name);
            }
            installed
        });
        installed.into_iter().all(|installed| installed)
    }

    fn as_root(&self, host: &Host, command: &str) -> Result<(), String> {
        let output = host.ssh("root", &By::Key(&self.key), command);
        if output.status.success() { Ok(()) } else { Err(format!("on {}: {output:?}", host.name)) }
    }
}

/// Of each setting sshd keeps the first value that it reads, so ours has to be in a file before the image's own. A
/// `HUP` lets it read them again; the oldest process is the one that listens.
const OPEN_DOOR: &str = "mkdir -p -m 700 /root/.ssh && echo '{key}' >/root/.ssh/authorized_keys &&
    echo 'PermitRootLogin prohibit-password' >/etc/ssh/sshd_config.d/00-bench.conf &&
    pkill -HUP -o -x sshd";

/// What it wrote is on the disk before anything is measured.
const INSTALL_PYTHON: &str = "export DEBIAN_FRONTEND=noninteractive
    { command -v python3 || { apt-get update -q && apt-get install -q -y --no-install-recommends python3; }; } 2>&1 &&
    sync && echo 'python is there'";

/// `ssh root@machine useradd`, for all machines at once, each over a connection of its own.
pub(super) struct Bare<'a> {
    hosts: &'a Hosts,
    count: usize,
}

impl<'a> Bare<'a> {
    pub(super) fn new(hosts: &'a Hosts) -> Self {
        Self { hosts, count: 0 }
    }

    fn everywhere(&self, command: &str) {
        let done = each(&self.hosts.all[..self.count], |host| self.hosts.as_root(host, command));
        done.into_iter().for_each(|done| done.unwrap());
    }
}

impl Way for Bare<'_> {
    fn name(&self) -> &'static str {
        "Bare ssh"
    }

    fn create(&mut self, count: usize) -> BoxFuture<'_, Vec<Host>> {
        Box::pin(async move {
            self.count = count;
            self.everywhere(&format!("useradd -m -s /bin/bash -p '{HASH}' {USER}"));
            self.hosts.all[..count].to_vec()
        })
    }

    fn delete(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.everywhere(&format!("userdel -r {USER}")) })
    }
}

/// `ansible-playbook` itself: what the path finds first may be a launcher that takes time of its own.
pub(super) struct Program {
    path: PathBuf,
    pub(super) version: String,
}

impl Program {
    pub(super) fn find() -> Option<Self> {
        let found = Self::ask();
        if found.is_none() {
            eprintln!(
                "no `ansible-playbook` here, so there will be no rows of it: `pip install ansible-core`"
            );
        }
        found
    }

    fn ask() -> Option<Self> {
        let output = Command::new("ansible-playbook").arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let version = text.split_once("[core ")?.1.split_once(']')?.0.to_owned();
        let path = text.lines().find_map(|line| line.trim().strip_prefix("executable location = "))?;
        Some(Self { path: path.into(), version })
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Tuning {
    Tuned,
    Defaults,
}

impl Tuning {
    fn name(self) -> &'static str {
        match self {
            Self::Tuned => "Ansible, tuned",
            Self::Defaults => "Ansible, defaults",
        }
    }

    /// What is set besides the way in, which is the same for both: lines for two sections.
    fn settings(self) -> (&'static str, &'static str) {
        match self {
            Self::Tuned => (
                "pipelining = True",
                "forks = 50\ngathering = explicit\ninterpreter_python = /usr/bin/python3",
            ),
            Self::Defaults => ("", ""),
        }
    }
}

/// One play of one task with Ansible's `user` module, in a folder of its own.
pub(super) struct Ansible<'a> {
    program: &'a Program,
    hosts: &'a Hosts,
    tuning: Tuning,
    folder: PathBuf,
}

impl<'a> Ansible<'a> {
    pub(super) fn new(program: &'a Program, hosts: &'a Hosts, tuning: Tuning) -> Self {
        let folder = hosts.folder.join(format!("{tuning:?}"));
        std::fs::create_dir(&folder).unwrap();
        let this = Self { program, hosts, tuning, folder };
        this.write("ansible.cfg", &this.config());
        this
    }

    /// Everything Ansible keeps, the sockets of its SSH connections too, stays in the folder.
    fn config(&self) -> String {
        let (ssh, defaults) = self.tuning.settings();
        let (folder, key) = (self.folder.display(), self.hosts.key.display());
        format!(
            "[ssh_connection]
ssh_common_args = -F none -o UserKnownHostsFile=/dev/null
control_path_dir = {folder}/cp
{ssh}
[defaults]
home = {folder}
remote_user = root
private_key_file = {key}
host_key_checking = False
{defaults}
"
        )
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.join(name), text).unwrap();
    }

    fn play(&self, user: &str) {
        self.write("play.yml", &format!("- hosts: all\n  tasks:\n    - user: {{name: {USER}, {user}}}\n"));
        let output = command(&self.program.path, &self.folder).output().unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));
    }
}

/// Lets nothing of the caller's own settings in.
fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["-i", "hosts.ini", "play.yml"]).current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ANSIBLE_")) {
        command.env_remove(name);
    }
    // Where it is set, Python would compile what it has no cache of again and again.
    command.env_remove("PYTHONDONTWRITEBYTECODE").env("ANSIBLE_CONFIG", folder.join("ansible.cfg"));
    command
}

impl Way for Ansible<'_> {
    fn name(&self) -> &'static str {
        self.tuning.name()
    }

    fn create(&mut self, count: usize) -> BoxFuture<'_, Vec<Host>> {
        Box::pin(async move {
            let hosts = &self.hosts.all[..count];
            let mut inventory = String::new();
            for Host { name, port } in hosts {
                writeln!(inventory, "{name} ansible_host=127.0.0.1 ansible_port={port}").unwrap();
            }
            self.write("hosts.ini", &inventory);
            self.play(&format!("password: '{HASH}', shell: /bin/bash"));
            hosts.to_vec()
        })
    }

    fn delete(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.play("state: absent, remove: true") })
    }
}
