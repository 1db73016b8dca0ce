//! Two server processes on a PostgreSQL of their own, and pretend machines whose agents are real and dial either.

use super::sight::Machine;
use agent::clock::Clock;
use agent::identity::Identity;
use agent::link::Link;
use model::Timestamp;
use model::wire::{MachineView, Page};
use playbooks::FakeHost;
use serde_json::{Value, json};
use std::fs::File;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tests::container::now;
use tests::database::Cluster;
use tests::port::free_port;
use tests::real::{agent_binary, binary, until};

pub(super) struct Pair {
    pub(super) folder: tempfile::TempDir,
    pub(super) cluster: Cluster,
    pub(super) database: String,
    servers: [Process; 2],
    http: reqwest::Client,
    /// What nobody may find anywhere.
    pub(super) canaries: Vec<String>,
}

struct Process {
    folder: PathBuf,
    key: PathBuf,
    port: u16,
    agents_port: u16,
    child: Option<Child>,
}

impl Pair {
    /// Both start at once, on a database that has no tables yet.
    pub(super) async fn start() -> Self {
        Self::start_with(["secrets.key", "secrets.key"]).await
    }

    /// Each with its own key file, below the folder of both.
    pub(super) async fn start_with(keys: [&str; 2]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cluster = Cluster::start();
        let database = cluster.create();
        let servers = [("one", keys[0]), ("two", keys[1])].map(|(name, key)| Process {
            folder: folder.path().join(name),
            key: folder.path().join(key),
            port: free_port(),
            agents_port: free_port(),
            child: None,
        });
        // A server that stood still closes connections that were kept, at any moment.
        let http = reqwest::Client::builder().timeout(Duration::from_secs(75)).pool_max_idle_per_host(0);
        let http = http.build().unwrap();
        let mut pair = Self { folder, cluster, database, servers, http, canaries: vec![] };
        for number in [0, 1] {
            std::fs::create_dir_all(&pair.servers[number].folder).unwrap();
            pair.spawn_server(number);
        }
        for number in [0, 1] {
            pair.until_served(number).await;
        }
        pair
    }

    pub(super) async fn start_server(&mut self, number: usize) {
        self.spawn_server(number);
        self.until_served(number).await;
    }

    fn spawn_server(&mut self, number: usize) {
        let Process { folder, key, port, agents_port, child } = &mut self.servers[number];
        let log = File::options().create(true).append(true).open(folder.join("api.log")).unwrap();
        let mut server = Command::new(binary("debug", "berth-server"));
        server.args(["--listen", &format!("127.0.0.1:{port}"), "--database", &self.database]);
        server.args([
            "--agent-listen",
            "unix:agent.sock",
            "--agent-listen",
            &format!("127.0.0.1:{agents_port}"),
        ]);
        server.args(["--requests-per-second", "1000000", "--agent-binary"]).arg(agent_binary());
        server
            .arg("--secrets-key")
            .arg(key)
            .env("NO_COLOR", "1")
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(log);
        *child = Some(server.spawn().expect("the server is built: run the tests with `just test`"));
    }

    async fn until_served(&self, number: usize) {
        let url = format!("{}/healthz", self.url(number));
        let answers = async || {
            let log = self.log(number);
            assert!(!log.contains("Error: "), "{log}");
            self.http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success())
        };
        until(&format!("server {number} answers"), answers).await;
    }

    /// As `kill -9` does.
    pub(super) fn kill_server(&mut self, number: usize) {
        let mut child = self.servers[number].child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(super) fn signal(&self, number: usize, name: &str) {
        let pid = self.servers[number].child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").arg(format!("-{name}")).arg(pid).status().unwrap().success());
    }

    pub(super) fn url(&self, number: usize) -> String {
        format!("http://127.0.0.1:{}", self.servers[number].port)
    }

    /// What an agent is told that dials this one first, and what one is told that knows no other.
    pub(super) fn doors(&self, first: usize) -> String {
        format!("{},{}", self.door(first), self.door(1 - first))
    }

    pub(super) fn door(&self, number: usize) -> String {
        format!("http://127.0.0.1:{}", self.servers[number].agents_port)
    }

    pub(super) fn log(&self, number: usize) -> String {
        std::fs::read_to_string(self.servers[number].folder.join("api.log")).unwrap_or_default()
    }

    /// What anybody sees of the processes' command lines.
    pub(super) fn command_lines(&self) -> String {
        let pids = self.servers.iter().filter_map(|server| server.child.as_ref().map(Child::id));
        pids.map(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()).collect()
    }

    pub(super) async fn send(&self, number: usize, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}{path}", self.url(number));
        let answer =
            self.http.request(method.parse().unwrap(), url).body(body.to_string()).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    pub(super) async fn text(&self, number: usize, path: &str) -> String {
        self.http.get(format!("{}{path}", self.url(number))).send().await.unwrap().text().await.unwrap()
    }

    pub(super) async fn get(&self, number: usize, path: &str) -> Value {
        self.send(number, "GET", path, &Value::Null).await.1
    }

    /// Registers machines and starts their agents, half of them at each server.
    pub(super) async fn lend(&mut self, count: usize) -> Vec<Machine> {
        let mut machines = Vec::new();
        for number in 0..count {
            machines.push(self.lend_one(&format!("m{number}"), &self.doors(number % 2)).await);
        }
        self.until_free(0, count).await;
        machines
    }

    pub(super) async fn lend_one(&mut self, name: &str, doors: &str) -> Machine {
        let (_, made) =
            self.send(0, "POST", "/v1/machines", &json!({"name": name, "host": "127.0.0.1"})).await;
        let token = made["join_token"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        let (mut identity, mut link) = (Identity::new(doors).unwrap(), Link::new(doors).unwrap());
        identity.enrol(&mut link, &token).await.unwrap();
        self.canaries.extend([token, identity.credential().to_owned()]);
        let host = FakeHost::new();
        let clock = Arc::new(Real { since: now() });
        let agent = agent::sync::run(host.clone(), link, identity, clock, std::future::pending());
        tokio::spawn(async move {
            let _ = agent.await;
        });
        Machine { name: name.to_owned(), host }
    }

    pub(super) async fn until_free(&self, number: usize, count: usize) {
        let free = async || self.get(number, "/v1/availability").await["free"].as_u64() == Some(count as u64);
        until(&format!("{count} machines are free"), free).await;
    }

    /// Until each of these was heard since.
    pub(super) async fn until_heard_since(&self, since: Timestamp, names: Vec<String>) {
        let number = usize::from(self.servers[0].child.is_none());
        let are_heard = async || {
            let page = self.get(number, "/v1/machines?limit=1000").await;
            let Ok(page) = serde_json::from_value::<Page<MachineView>>(page) else { return false };
            let heard = page.items.iter().filter(|machine| machine.seen_at > Some(since));
            heard.filter(|machine| names.iter().any(|name| name == machine.name.as_str())).count()
                == names.len()
        };
        until("all machines are heard", are_heard).await;
    }

    /// How many servers PostgreSQL believes to live.
    pub(super) fn lines(&self) -> usize {
        let locks = "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND classid = 4212201";
        self.cluster.rows(&self.database, locks).len()
    }

    /// Ends what is still there, and waits until database, agents and machines agree.
    pub(super) async fn until_quiet(&self) {
        let live = "SELECT id FROM reservation WHERE ended_at IS NULL";
        for id in self.cluster.rows(&self.database, live) {
            let path = format!("/v1/reservations/{id}?wait=0");
            let (status, said) = self.send(0, "DELETE", &path, &Value::Null).await;
            assert!(matches!(status, 200 | 202), "{said}");
        }
        let open = "SELECT machine_id, last_error FROM assignment WHERE cleaned_at IS NULL";
        until("every machine is clean", async || self.cluster.rows(&self.database, open).is_empty()).await;
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for number in [0, 1] {
                eprintln!("server {number} said last:\n{}", last(&self.log(number), 12));
            }
        }
        for child in self.servers.iter_mut().filter_map(|server| server.child.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn last(log: &str, count: usize) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Time as it passes.
struct Real {
    since: Timestamp,
}

impl Clock for Real {
    fn wall(&self) -> Timestamp {
        now()
    }

    fn boottime(&self) -> Duration {
        now().duration_since(self.since).unsigned_abs()
    }

    fn sleep_until(&self, boottime: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(boottime.saturating_sub(self.boottime())))
    }
}
