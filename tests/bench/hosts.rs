//! The containers that a part works on, each with a door for us.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use tests::container::said;
use tests::real::{By, RealFarm, inside, ssh_to, until};

/// A container: its machine's name, and where its SSH server is published.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) port: u16,
}

impl Host {
    pub(crate) fn ssh(&self, user: &str, by: &By<'_>, command: &str) -> Output {
        ssh_to(&self.address, self.port, user, by, command)
    }
}

/// Does the same for all machines at once.
pub(crate) fn each<T: Send>(hosts: &[Host], act: impl Fn(&Host) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let acting: Vec<_> = hosts.iter().map(|host| scope.spawn(|| act(host))).collect();
        acting.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Root's way in is by key.
pub(crate) struct Hosts {
    pub(crate) all: Vec<Host>,
    /// For what the other ways keep.
    pub(crate) folder: PathBuf,
    pub(crate) key: PathBuf,
    /// Started here, so removed when dropped.
    are_ours: bool,
}

impl Hosts {
    /// Lets us in to a farm's machines. Their image forbids that, so it is allowed in each of these containers.
    pub(crate) async fn open(farm: &RealFarm) -> Self {
        let machines = farm.get("/v1/machines").await;
        let host = |machine: &serde_json::Value| Host {
            name: machine["name"].as_str().unwrap().to_owned(),
            address: "127.0.0.1".to_owned(),
            port: machine["port"].as_u64().unwrap().try_into().unwrap(),
        };
        let all: Vec<_> = machines["items"].as_array().unwrap().iter().map(host).collect();
        let folder = farm.folder.path().to_path_buf();
        let (key, public) = key_pair(&folder);
        let door = OPEN_DOOR.replace("{key}", &public);
        each(&all, |host| inside(&host.name, &door));
        let hosts = Self { all, folder, key, are_ours: false };
        hosts.wait().await;
        hosts
    }

    /// Containers with an SSH server and nothing else, each at an address of its own: a host may turn away those who
    /// come in when there are many, and this is counted for each address.
    pub(crate) async fn start(image: &str, prefix: &str, count: u8, folder: &Path) -> Self {
        let folder = folder.join(prefix);
        std::fs::create_dir(&folder).unwrap();
        let (key, public) = key_pair(&folder);
        let script = NOTHING_BUT_SSH.replace("{key}", &public);
        let host = |number: u8| Host {
            name: format!("{prefix}-{number}"),
            address: format!("127.0.0.{}", 100 + number),
            port: 0,
        };
        let mut hosts = Self { all: (1..=count).map(host).collect(), folder, key, are_ours: true };
        for host in &mut hosts.all {
            let (name, door) = (format!("berth-{}", host.name), format!("{}::22", host.address));
            let mut docker = Command::new("docker");
            docker.args(["run", "-d", "--init", "--name", &name, "-p", &door, "--entrypoint", "/bin/sh"]);
            said(docker.args([image, "-c", &script]));
            let published = said(Command::new("docker").args(["port", &name, "22/tcp"]));
            host.port = published.rsplit(':').next().unwrap().parse().unwrap();
        }
        hosts.wait().await;
        hosts
    }

    async fn wait(&self) {
        let enters = |host: &Host| self.as_root(host, "true").is_ok();
        until("root can log in", async || each(&self.all, enters).iter().all(|entered| *entered)).await;
    }

    /// Gives Ansible the Python it needs on the other side. Says so if it cannot.
    pub(crate) fn install_python(&self) -> bool {
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

    pub(crate) fn as_root(&self, host: &Host, command: &str) -> Result<(), String> {
        let output = host.ssh("root", &By::Key(&self.key), command);
        if output.status.success() { Ok(()) } else { Err(format!("on {}: {output:?}", host.name)) }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        if self.are_ours {
            let names = self.all.iter().map(|host| format!("berth-{}", host.name));
            let _ = Command::new("docker").args(["rm", "-f", "-v"]).args(names).output();
        }
    }
}

/// The private key's file, and the line of the public one.
fn key_pair(folder: &Path) -> (PathBuf, String) {
    let key = folder.join("root_key");
    said(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    (key, public.trim().to_owned())
}

/// Of each setting sshd keeps the first value that it reads, so ours has to be in a file before the image's own. A
/// `HUP` lets it read them again; the oldest process is the one that listens.
const OPEN_DOOR: &str = "mkdir -p -m 700 /root/.ssh && echo '{key}' >/root/.ssh/authorized_keys &&
    echo 'PermitRootLogin prohibit-password' >/etc/ssh/sshd_config.d/00-bench.conf &&
    pkill -HUP -o -x sshd";

const NOTHING_BUT_SSH: &str =
    "mkdir -p -m 700 /root/.ssh /run/sshd && echo '{key}' >/root/.ssh/authorized_keys &&
    ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key &&
    exec /usr/sbin/sshd -D -E /run/sshd.log -o PermitRootLogin=prohibit-password";

/// What it wrote is on the disk before anything is measured.
const INSTALL_PYTHON: &str = "export DEBIAN_FRONTEND=noninteractive
    { command -v python3 || { apt-get update -q && apt-get install -q -y --no-install-recommends python3; }; } 2>&1 &&
    sync && echo 'python is there'";
