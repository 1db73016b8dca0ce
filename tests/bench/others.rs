//! The same by Ansible's user module, and by `useradd` over bare parallel ssh, as root on the same containers.

use super::{PASSWORD, ROUNDS, median};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tests::real::{RealFarm, inside};

pub(super) struct Other {
    pub name: String,
    pub one: Duration,
    pub ten: Duration,
}

struct Hosts {
    folder: PathBuf,
    ports: Vec<u64>,
}

pub(super) async fn all(farm: &RealFarm, machines: u32) -> Vec<Other> {
    let hosts = prepare(farm).await;
    assert_eq!(hosts.ports.len(), machines as usize);
    let mut rows = Vec::new();
    if Command::new("ansible-playbook").arg("--version").output().is_ok_and(|output| output.status.success())
    {
        rows.extend(measure("Ansible (forks 50, pipelining, no facts)", |count, present| {
            ansible(&hosts, count, present)
        }));
    } else {
        println!("no ansible-playbook here: `pip install ansible-core` for its rows");
    }
    rows.extend(measure("bare parallel ssh, useradd / userdel -r", |count, present| {
        bare(&hosts, count, present)
    }));
    rows
}

fn measure(name: &str, run: impl Fn(usize, bool)) -> [Other; 2] {
    let time = |count: usize| {
        let (mut creates, mut deletes) = (vec![], vec![]);
        for _ in 0..ROUNDS {
            for (present, times) in [(true, &mut creates), (false, &mut deletes)] {
                let began = Instant::now();
                run(count, present);
                times.push(began.elapsed());
            }
        }
        (median(creates), median(deletes))
    };
    let ((create_one, delete_one), (create_ten, delete_ten)) = (time(1), time(10));
    [
        Other { name: format!("{name}: create"), one: create_one, ten: create_ten },
        Other { name: format!("{name}: delete"), one: delete_one, ten: delete_ten },
    ]
}

/// Lets us in as root, and gives Ansible the Python it needs.
async fn prepare(farm: &RealFarm) -> Hosts {
    let folder = farm.folder.path().to_path_buf();
    let key = folder.join("root_key");
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap();
    assert!(made.success());
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let mut ports = Vec::new();
    for machine in farm.get("/v1/machines").await["items"].as_array().unwrap() {
        let name = machine["name"].as_str().unwrap();
        inside(
            name,
            &format!("mkdir -p -m 700 /root/.ssh && echo '{}' > /root/.ssh/authorized_keys", public.trim()),
        );
        let python = "command -v python3 || (apt-get update && apt-get install -y --no-install-recommends python3) 2>&1";
        inside(name, python);
        ports.push(machine["port"].as_u64().unwrap());
    }
    Hosts { folder, ports }
}

fn ansible(hosts: &Hosts, count: usize, present: bool) {
    let mut inventory = String::from("[all]\n");
    for port in &hosts.ports[..count] {
        writeln!(inventory, "m{port} ansible_host=127.0.0.1 ansible_port={port} ansible_user=root").unwrap();
    }
    let state = if present {
        format!("password: '{HASH}'")
    } else {
        "state: absent\n        remove: true".to_owned()
    };
    let play = format!(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - user:\n        name: mallory\n        {state}\n"
    );
    let write = |name: &str, text: &str| std::fs::write(hosts.folder.join(name), text).unwrap();
    write("hosts.ini", &inventory);
    write("play.yml", &play);
    let mut command = Command::new("ansible-playbook");
    command
        .args(["-i", "hosts.ini", "-f", "50", "--private-key", "root_key", "play.yml"])
        .current_dir(&hosts.folder);
    command.env("ANSIBLE_HOST_KEY_CHECKING", "False").env("ANSIBLE_PIPELINING", "True");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn bare(hosts: &Hosts, count: usize, present: bool) {
    let command = if present {
        format!("useradd -m mallory && echo 'mallory:{PASSWORD}' | chpasswd")
    } else {
        "userdel -r mallory 2>/dev/null".to_owned()
    };
    let started: Vec<_> =
        hosts.ports[..count].iter().map(|port| as_root(&hosts.folder, *port, &command)).collect();
    for mut ssh in started {
        assert!(ssh.wait().unwrap().success());
    }
}

fn as_root(folder: &Path, port: u64, command: &str) -> std::process::Child {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    ssh.args(["-o", "LogLevel=ERROR", "-p", &port.to_string(), "-i"]).arg(folder.join("root_key"));
    ssh.args(["root@127.0.0.1", command]).stdin(Stdio::null()).spawn().unwrap()
}

/// Of a password that is in no use.
const HASH: &str = "$6$saltsaltsaltsalt$YTLlmLSBhFPXRkQxyHfyR7BZxdWWvJJBZDMBM9.vhf8mRLjVTcTYAXGjbkyZ0BKmCHNHXcAcRq0Mre1VrGK0l.";
