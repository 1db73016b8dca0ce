//! The real thing: the server's binary, the static agent, and containers.

use crate::port::free_port;
use model::wire::{Page, ReservationCreate, ReservationView, SeatView};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A server process with pools of containers of its own. Everything it made goes with it.
pub struct RealFarm {
    pub folder: tempfile::TempDir,
    pub address: String,
    server: Option<Child>,
    http: reqwest::Client,
    owner: String,
    profile: &'static str,
    flags: Vec<String>,
    /// Of the environment.
    log: &'static str,
}

impl RealFarm {
    /// `profile` is the folder of the server's build: `debug` or `release`.
    pub async fn start(profile: &'static str) -> Self {
        Self::start_with(profile, &[]).await
    }

    /// With these flags of the server beside its own.
    pub async fn start_with(profile: &'static str, flags: &[&str]) -> Self {
        Self::start_telling(profile, flags, "info").await
    }

    /// With as many lines in its log.
    pub async fn start_telling(profile: &'static str, flags: &[&str], log: &'static str) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let folder = tempfile::tempdir().unwrap();
        let mut farm = Self {
            folder,
            address,
            server: None,
            http: reqwest::Client::new(),
            owner: String::new(),
            profile,
            flags: flags.iter().map(|flag| flag.to_string()).collect(),
            log,
        };
        farm.start_server().await;
        farm.owner = farm.get("/v1/version").await["owner"].as_str().unwrap().to_owned();
        farm
    }

    pub async fn start_server(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("api.log"))
            .unwrap();
        let mut server = Command::new(binary(self.profile, "berth-server"));
        server.args(["--listen", &self.address, "--database", "data/berth.db"]);
        server.args(["--agent-listen", "unix:data/agent/agent.sock", "--agent-binary"]).arg(agent_binary());
        server.args(&self.flags).env("BERTH_LOG", self.log);
        server.current_dir(self.folder.path()).stdout(Stdio::null()).stderr(log);
        self.server = Some(server.spawn().expect("the server is built: run the tests with `just test`"));
        until("the server answers", async || self.try_get("/healthz").await.is_some()).await;
    }

    /// As `kill -9` does.
    pub fn kill_server(&mut self) {
        let mut server = self.server.take().expect("a server runs");
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// As `kill` does.
    pub fn stop_server(&mut self) {
        let mut server = self.server.take().expect("a server runs");
        assert!(Command::new("kill").arg(server.id().to_string()).status().unwrap().success());
        assert!(server.wait().unwrap().success(), "{}", self.log());
    }

    async fn try_get(&self, path: &str) -> Option<serde_json::Value> {
        let response = self.http.get(format!("http://{}{path}", self.address)).send().await.ok()?;
        response.json().await.ok()
    }

    pub async fn get(&self, path: &str) -> serde_json::Value {
        self.try_get(path).await.unwrap_or_else(|| panic!("no answer to {path}: {}", self.log()))
    }

    /// Sends a body; returns the status and what came back.
    pub async fn send(&self, method: &str, path: &str, body: &serde_json::Value) -> (u16, serde_json::Value) {
        let url = format!("http://{}{path}", self.address);
        let request = self.http.request(method.parse().unwrap(), url).body(body.to_string());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    /// Waits until a machine is in this state.
    pub async fn machine_is(&self, name: &str, state: &str) {
        let path = format!("/v1/machines/{name}");
        let met = async || self.get(&path).await["state"] == state;
        until(&format!("machine `{name}` is {state}; see {}", self.log()), met).await;
    }

    /// Sets a pool's size and waits until its machines are free, or gone.
    pub async fn pool(&self, name: &str, image: &str, size: u32) {
        let body = serde_json::json!({"provider": "docker", "image": image, "size": size}).to_string();
        let url = format!("http://{}/v1/pools/{name}", self.address);
        assert!(self.http.put(url).body(body).send().await.unwrap().status().is_success());
        let met = async || {
            let pool = self.get(&format!("/v1/pools/{name}")).await;
            let states = pool["states"].as_object().unwrap();
            let free = states.get("free").and_then(serde_json::Value::as_u64).unwrap_or(0);
            free == u64::from(size)
                && states.values().filter_map(serde_json::Value::as_u64).sum::<u64>() == free
        };
        until(&format!("pool `{name}` has {size} free machines; see {}", self.log()), met).await;
    }

    pub async fn reserve(&self, body: &ReservationCreate) -> ReservationView {
        let url = format!("http://{}/v1/reservations", self.address);
        let response = self.http.post(url).body(serde_json::to_string(body).unwrap()).send().await.unwrap();
        let text = response.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}; {}", self.log()))
    }

    pub async fn release(&self, id: impl std::fmt::Display) -> ReservationView {
        let url = format!("http://{}/v1/reservations/{id}", self.address);
        self.http.delete(url).send().await.unwrap().json().await.unwrap()
    }

    pub async fn reservations(&self) -> Vec<ReservationView> {
        let page: Page<ReservationView> =
            serde_json::from_value(self.get("/v1/reservations").await).expect("a page of reservations");
        page.items
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("api.log")).unwrap_or_default()
    }
}

impl Drop for RealFarm {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        let label = format!("label=io.berth.owner={}", self.owner);
        let ids = Command::new("docker").args(["ps", "-aq", "--filter", &label]).output();
        let ids = ids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        if !self.owner.is_empty() && !ids.trim().is_empty() {
            let _ = Command::new("docker").args(["rm", "-f", "-v"]).args(ids.split_whitespace()).output();
        }
    }
}

/// How to log in.
pub enum By<'a> {
    Password(&'a str),
    Key(&'a Path),
}

/// Runs a command on a lent machine over the system's `ssh`.
pub fn ssh(seat: &SeatView, user: &str, by: &By<'_>, command: &str) -> Output {
    ssh_to(&seat.host, seat.port, user, by, command)
}

/// Runs a command over a new connection of the system's `ssh`, whatever the caller's own settings and keys are.
pub fn ssh_to(host: &str, port: u16, user: &str, by: &By<'_>, command: &str) -> Output {
    let mut ssh = match by {
        By::Password(password) => {
            let mut sshpass = Command::new("sshpass");
            sshpass.env("SSHPASS", password).args(["-e", "ssh", "-o", "PubkeyAuthentication=no"]);
            sshpass
        }
        By::Key(key) => {
            let mut ssh = Command::new("ssh");
            ssh.arg("-i").arg(key).args(["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]);
            ssh
        }
    };
    ssh.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    ssh.args(["-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10", "-p", &port.to_string()]);
    ssh.arg(format!("{user}@{host}")).arg(command).stdin(Stdio::null()).output().expect("ssh is installed")
}

/// Runs a command as root in a machine's container.
pub fn inside(machine: &str, command: &str) -> String {
    let output =
        Command::new("docker").args(["exec", &format!("berth-{machine}"), "sh", "-c", command]).output();
    let output = output.expect("docker is installed");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub async fn until(what: &str, met: impl AsyncFn() -> bool) {
    for _ in 0..600 {
        if met().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never: {what}");
}

/// A program of ours as it was built.
pub fn binary(profile: &str, name: &str) -> PathBuf {
    target().join(profile).join(name)
}

/// The folder everything is built into, found from where this program lies.
fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists())
        .expect("built by cargo")
        .to_path_buf()
}

pub fn agent_binary() -> PathBuf {
    let agent = target().join(format!("{}-unknown-linux-gnu/agent/berth-agent", std::env::consts::ARCH));
    assert!(agent.exists(), "the static agent is not built: run the tests with `just test`");
    agent
}
