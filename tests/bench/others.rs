//! The same job done by others, as root over SSH on the same containers: what needs no program over there but `useradd`.

use crate::USER;
use crate::hosts::{Host, Hosts, each};
use crate::rounds::Way;
use futures_util::future::BoxFuture;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Of the password that is logged in with, with 5,000 rounds, as Berth makes it.
pub(crate) const HASH: &str = "$6$saltsaltsaltsalt$GkzgkzVbauGAKXpOTbypQEKy/9yJWVjcvXvDw7CxoJjnJ1.w.g1rV8bhCVTpHrRrO/h6b3DAwPN3y5qmHXZ1R1";

/// Panics with what it said if it fails.
pub(crate) fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));
}

/// `ssh root@machine useradd`, for all machines at once, each over a connection of its own.
pub(crate) struct Bare<'a> {
    hosts: &'a Hosts,
    count: usize,
}

impl<'a> Bare<'a> {
    pub(crate) fn new(hosts: &'a Hosts) -> Self {
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

/// Its `server.user`, in a folder of its own.
pub(crate) struct Pyinfra<'a> {
    hosts: &'a Hosts,
    folder: PathBuf,
    pub(crate) version: String,
}

impl<'a> Pyinfra<'a> {
    /// Says so if there is none.
    pub(crate) fn find(hosts: &'a Hosts) -> Option<Self> {
        let output = Command::new("pyinfra").arg("--version").output().ok();
        let Some(output) = output.filter(|output| output.status.success()) else {
            eprintln!("no `pyinfra` here, so there will be no rows of it: `pip install pyinfra`");
            return None;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.trim().trim_start_matches("pyinfra: v").to_owned();
        let folder = hosts.folder.join("pyinfra");
        std::fs::create_dir(&folder).unwrap();
        Some(Self { hosts, folder, version })
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.join(name), text).unwrap();
    }

    fn inventory(&self, hosts: &[Host]) -> String {
        let key = self.hosts.key.display();
        let mut text = "hosts = [\n".to_owned();
        for Host { name, address, port } in hosts {
            writeln!(text, "    ('{name}', {{'ssh_hostname': '{address}', 'ssh_port': {port}}}),").unwrap();
        }
        let common = format!("'ssh_user': 'root', 'ssh_key': '{key}', 'ssh_strict_host_key_checking': 'off'");
        writeln!(text, "]\nall_hosts = (hosts, {{{common}, 'ssh_known_hosts_file': '/dev/null'}})").unwrap();
        text
    }

    fn deploy(&self, operations: &str) {
        self.write("deploy.py", &format!("from pyinfra.operations import files, server\n{operations}\n"));
        run(Command::new("pyinfra").args(["-y", "inventory.py", "deploy.py"]).current_dir(&self.folder));
    }
}

impl Way for Pyinfra<'_> {
    fn name(&self) -> &'static str {
        "pyinfra"
    }

    fn create(&mut self, count: usize) -> BoxFuture<'_, Vec<Host>> {
        Box::pin(async move {
            let hosts = &self.hosts.all[..count];
            self.write("inventory.py", &self.inventory(hosts));
            self.deploy(&format!(
                "server.user(user='{USER}', password='{HASH}', shell='/bin/bash', create_home=True)"
            ));
            hosts.to_vec()
        })
    }

    /// It leaves the home of an account that it removes.
    fn delete(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.deploy(&format!(
                "server.user(user='{USER}', present=False)\nfiles.directory(path='/home/{USER}', present=False)"
            ));
        })
    }
}
