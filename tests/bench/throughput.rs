//! How many reservations a second are made durable, by a server process of its own, over HTTP.

use super::ask;
use futures_util::future::join_all;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tests::Database;
use tests::port::free_port;
use tests::real::{binary, until};

const CLIENTS: usize = 64;
const MACHINES: u32 = 512;
const LASTS: Duration = Duration::from_secs(10);

/// Reservations made, and given back, in a second.
pub(super) async fn both() -> Vec<(&'static str, f64)> {
    vec![
        ("SQLite", rate(Database::Sqlite).await),
        ("PostgreSQL (fsync off: a test cluster)", rate(Database::Postgres).await),
    ]
}

/// Each client makes a reservation of one machine, gives it back, and makes the next.
async fn rate(database: Database) -> f64 {
    let server = Server::start(database).await;
    let began = Instant::now();
    let done = join_all((0..CLIENTS).map(|_| tokio::spawn(client(server.url.clone(), began)))).await;
    let (mut made, mut refused) = (0, 0);
    for client in done {
        let client = client.unwrap();
        (made, refused) = (made + client.0, refused + client.1);
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{database:?}: {made} reservations in {seconds:.1} s, {refused} asks refused");
    f64::from(made) / seconds
}

/// How many reservations it made, and how many asks were refused because no machine was clean yet.
async fn client(url: String, began: Instant) -> (u32, u32) {
    let http = reqwest::Client::new();
    let mut body = ask(1);
    body.password = None;
    body.ssh_keys = vec![KEY.to_owned()];
    body.wait = Some(0);
    let body = serde_json::to_string(&body).unwrap();
    let (mut made, mut refused) = (0_u32, 0_u32);
    while began.elapsed() < LASTS {
        let answer = http.post(format!("{url}/v1/reservations")).body(body.clone()).send().await.unwrap();
        if answer.status() == reqwest::StatusCode::CONFLICT {
            refused += 1;
            continue;
        }
        let reservation: serde_json::Value = answer.json().await.unwrap();
        let id = reservation["id"].as_str().unwrap_or_else(|| panic!("{reservation}"));
        made += 1;
        let released = http.delete(format!("{url}/v1/reservations/{id}?wait=0")).send().await.unwrap();
        assert!(released.status().is_success(), "{released:?}");
    }
    (made, refused)
}

/// A server with one pool of simulated machines.
struct Server {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start(database: Database) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let folder = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(folder.path().join("api.log")).unwrap();
        let process = Command::new(binary("release", "berth-server"))
            .args(["--listen", &address, "--agent-listen", "unix:agent.sock"])
            .args(["--database", &database.url(folder.path())])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self { process, url: format!("http://{address}"), _folder: folder };
        let http = reqwest::Client::new();
        let get = async |path: &str| {
            let answer = http.get(format!("{}{path}", server.url)).send().await.ok()?;
            answer.json::<serde_json::Value>().await.ok()
        };
        until("the server answers", async || get("/healthz").await.is_some()).await;
        let pool = format!(r#"{{"provider":"simulated","size":{MACHINES}}}"#);
        let made = http.put(format!("{}/v1/pools/sim", server.url)).body(pool).send().await.unwrap();
        assert!(made.status().is_success(), "{made:?}");
        let free = async || get("/v1/availability").await.is_some_and(|all| all["free"] == MACHINES);
        until("every machine is free", free).await;
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a@b";
