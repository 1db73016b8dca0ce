//! Ansible's `user` module, in three settings: tuned, tuned with Mitogen, and as it comes.

use crate::USER;
use crate::hosts::{Host, Hosts};
use crate::others::{HASH, run};
use crate::rounds::Way;
use futures_util::future::BoxFuture;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `ansible-playbook` itself: what the path finds first may be a launcher that takes time of its own.
pub(crate) struct Program {
    path: PathBuf,
    pub(crate) version: String,
    /// Runs it.
    python: PathBuf,
}

/// What speeds Ansible up from within: of the same Python.
pub(crate) struct Mitogen {
    strategies: PathBuf,
    pub(crate) version: String,
}

impl Program {
    pub(crate) fn find() -> Option<Self> {
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
        let after = |words| text.lines().find_map(|line| line.trim().strip_prefix(words));
        let path = after("executable location = ")?.into();
        let python = after("python version = ")?.rsplit_once('(')?.1.trim_end_matches(')').into();
        Some(Self { path, version, python })
    }

    pub(crate) fn mitogen(&self) -> Option<Mitogen> {
        let found = self.ask_for_mitogen();
        if found.is_none() {
            let python = self.python.display();
            eprintln!("no Mitogen here, so there will be no rows of it: `{python} -m pip install mitogen`");
        }
        found
    }

    fn ask_for_mitogen(&self) -> Option<Mitogen> {
        let output = Command::new(&self.python).args(["-c", WHERE_IS_MITOGEN]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let (version, folder) = text.trim().split_once(' ')?;
        Some(Mitogen { strategies: Path::new(folder).join("plugins/strategy"), version: version.to_owned() })
    }
}

const WHERE_IS_MITOGEN: &str = "import ansible_mitogen, mitogen
print('.'.join(map(str, mitogen.__version__)), ansible_mitogen.__path__[0])";

#[derive(Clone, Copy)]
pub(crate) enum Tuning<'a> {
    Tuned,
    Mitogen(&'a Mitogen),
    Defaults,
}

impl Tuning<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Tuned => "Ansible, tuned",
            Self::Mitogen(_) => "Ansible with Mitogen",
            Self::Defaults => "Ansible, defaults",
        }
    }

    /// What is set besides the way in, which is the same for all: lines for two sections.
    fn settings(self) -> (&'static str, String) {
        let defaults = "forks = 50\ngathering = explicit\ninterpreter_python = /usr/bin/python3".to_owned();
        match self {
            Self::Tuned => {
                ("pipelining = True\nssh_args = -C -o ControlMaster=auto -o ControlPersist=1h", defaults)
            }
            Self::Mitogen(mitogen) => {
                let strategies = mitogen.strategies.display();
                let ours = format!("strategy = mitogen_linear\nstrategy_plugins = {strategies}");
                ("pipelining = True", format!("{defaults}\n{ours}"))
            }
            Self::Defaults => ("", String::new()),
        }
    }
}

/// One play of one task with Ansible's `user` module, in a folder of its own.
pub(crate) struct Ansible<'a> {
    program: &'a Program,
    hosts: &'a Hosts,
    tuning: Tuning<'a>,
    folder: PathBuf,
}

impl<'a> Ansible<'a> {
    pub(crate) fn new(program: &'a Program, hosts: &'a Hosts, tuning: Tuning<'a>) -> Self {
        let folder = hosts.folder.join(tuning.name().replace([' ', ','], ""));
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
        run(&mut command(&self.program.path, &self.folder));
    }
}

/// Lets nothing of the caller's own settings in.
fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["-i", "hosts.ini", "play.yml"]).current_dir(folder);
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
            for Host { name, address, port } in hosts {
                writeln!(inventory, "{name} ansible_host={address} ansible_port={port}").unwrap();
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
