//! Machines that have an SSH server and nothing of ours: OpenSSH on Debian and Alpine, dropbear on both.

use crate::container::{Container, said};
use model::ssh::Secret;
use model::{MachineId, Timestamp};
use server::reach::ssh::{Auth, HostKey, Login, PrivateKey, Target, read_key};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

pub const PASSWORD: &str = "correct-horse-7";
/// Somebody who may become root in one way or another.
pub const SUDOER: &str = "op";
const LOG: &str = "/run/sshd.log";

/// Removed when dropped.
pub struct Sshd {
    pub container: Container,
    pub port: u16,
    /// Logs in as root and as [`SUDOER`].
    pub key: Arc<PrivateKey>,
    host_key: &'static str,
}

impl Sshd {
    pub fn debian(options: &str) -> Self {
        Self::openssh("berth-debian", &[], options)
    }

    /// `flags` are those of `docker run`, `options` those of `sshd`.
    pub fn openssh(image: &str, flags: &[&str], options: &str) -> Self {
        let start = format!(
            "mkdir -p /run/sshd; ssh-keygen -qA; chmod 644 /etc/ssh/*_key.pub; \
             sed -i -e /^MaxStartups/d -e /^PerSource/d /etc/ssh/sshd_config.d/berth.conf; \
             /usr/sbin/sshd -E {LOG} -o PermitRootLogin=yes {options}"
        );
        Self::start(image, flags, &start, "/etc/ssh/ssh_host_ed25519_key.pub")
    }

    /// Debian's dropbear, brought along with its libraries: neither image has one.
    pub fn dropbear(image: &str) -> Self {
        let mounts = dropbear_files().into_iter().map(|file| format!("{file}:{file}:ro"));
        let flags: Vec<String> = mounts.flat_map(|mount| ["-v".to_owned(), mount]).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let start = format!(
            "mkdir -p /etc/dropbear; \
             dropbearkey -t ed25519 -f /etc/dropbear/key | grep ^ssh- >/etc/dropbear/key.pub; \
             dropbear -E -r /etc/dropbear/key -p 22 2>{LOG}"
        );
        Self::start(image, &flags, &start, "/etc/dropbear/key.pub")
    }

    fn start(image: &str, flags: &[&str], start: &str, host_key: &'static str) -> Self {
        let (key, public) = key_pair("ed25519", "");
        let script = format!(
            "adduser -D {SUDOER} 2>/dev/null || useradd -m {SUDOER}; \
             printf '%s\\n' root:{PASSWORD} {SUDOER}:{PASSWORD} | chpasswd; \
             for home in /root /home/{SUDOER}; do mkdir -p $home/.ssh; echo '{public}' >$home/.ssh/authorized_keys; \
             chmod 700 $home/.ssh; done; chown -R {SUDOER} /home/{SUDOER}/.ssh; \
             {start}; touch /run/up; while :; do sleep 1; done"
        );
        let container = Container::with(image, flags, &script);
        let port = container.ssh_port();
        Self { container, port, key: read_key(&key, None).unwrap(), host_key }
    }

    pub fn by_key(&self, user: &str) -> Login {
        Login { user: user.to_owned(), auth: Auth::Key(self.key.clone()), sudo_password: None }
    }

    pub fn by_password(&self, user: &str) -> Login {
        Login { user: user.to_owned(), auth: Auth::Password(secret(PASSWORD)), sudo_password: None }
    }

    /// From outside, as root by key.
    pub fn target(&self) -> Target {
        self.target_by(self.by_key("root"))
    }

    /// Each is a machine of its own.
    pub fn target_by(&self, login: Login) -> Target {
        Target {
            machine: machine(),
            host: "127.0.0.1".to_owned(),
            port: self.port,
            login,
            host_key: self.host_key(),
            jump: None,
        }
    }

    pub fn host_key(&self) -> HostKey {
        std::fs::read_to_string(self.container.path(self.host_key)).unwrap().parse().unwrap()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.container.path(LOG)).unwrap()
    }

    /// How often its log has these words.
    pub fn count(&self, words: &str) -> usize {
        self.log().matches(words).count()
    }

    /// What lies where the agent is put, over all folders.
    pub fn agents(&self) -> String {
        self.container.run("for d in /var/lib/berth/bin /usr/local/lib/berth /opt/berth; do [ ! -d $d ] || find $d -type f; done")
    }
}

pub fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

#[allow(clippy::disallowed_methods, reason = "ids are made of the time, and these are of real machines")]
pub fn machine() -> MachineId {
    MachineId::new(Timestamp::now())
}

/// A fresh private key as `ssh-keygen` writes it, and the line for `authorized_keys`.
pub fn key_pair(kind: &str, passphrase: &str) -> (Secret, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", kind, "-N", passphrase, "-C", "test", "-f"]).arg(&file);
    said(&mut keygen);
    let read = |file: &Path| std::fs::read_to_string(file).unwrap();
    (Secret::from(read(&file)), read(&file.with_extension("pub")).trim().to_owned())
}

/// The programs, and each library they name, where they look for it.
fn dropbear_files() -> Vec<String> {
    let programs = ["/usr/sbin/dropbear", "/usr/bin/dropbearkey"];
    for program in programs {
        assert!(Path::new(program).exists(), "`{program}` is missing: apt-get install dropbear-bin");
    }
    let libraries = said(Command::new("ldd").args(programs));
    let paths = libraries.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    let mut files: Vec<String> = programs.into_iter().chain(paths).map(str::to_owned).collect();
    files.sort();
    files.dedup();
    files
}

/// The same machine, known by another key.
pub fn pinned(target: Target, host_key: HostKey) -> Target {
    Target { machine: machine(), host_key, ..target }
}
