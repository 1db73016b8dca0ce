//! A server, its database, and machines with real agents over pretend hosts. When a farm is dropped, the law of the
//! house is checked (see [`crate::law`]), so that every story is a safety test as well.

use crate::real::agent_binary;
use crate::{Database, FakeClock, Yard, law};
use agent::identity::Identity;
use agent::link::Link;
use cli::Client;
use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use model::auth::Deed;
use model::report::Report;
use model::wire::{
    EnrolRequest, MachineCreate, MachineView, Page, ReservationCreate, ReservationView, SyncRequest,
};
use playbooks::FakeHost;
use provision::Provider;
use server::api::accept::Listener;
use server::app::{App, Desk, GateSettings, Shown, VmPool};
use server::reach::ssh::SshSettings;
use server::serve::{Doors, Settings, VisitSettings, serve};
use server::store::{CommitHook, Received, Store};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

pub const TTL: Duration = Duration::from_secs(3600);

const SOCKET: &str = "agent.sock";

pub struct Farm {
    pub folder: tempfile::TempDir,
    database: String,
    pub clock: FakeClock,
    server: Option<Server>,
    /// What older clients' VMs are, from the next start of the server on; the yard's machines unless somebody says else.
    pub vm_pool: VmPool,
    pub machines: Vec<Lent>,
    /// Where machines of pools are made.
    pub yard: Yard,
    /// For plain requests; an admin's once there are accounts.
    pub http: reqwest::Client,
    admin: Option<String>,
}

struct Server {
    runtime: Runtime,
    url: String,
}

/// A pretend machine whose agent is real.
pub struct Lent {
    pub name: String,
    pub host: FakeHost,
    identity: Identity,
    agent: Option<JoinHandle<()>>,
}

/// Passwords are checked fast, and nobody asks too often.
pub fn gate() -> GateSettings {
    GateSettings { bcrypt_cost: 4, requests_per_second: 1_000_000, ..GateSettings::default() }
}

/// What somebody on the server's computer may do while there are no accounts.
pub async fn desk(app: &App) -> Desk {
    app.admit(Shown::nothing(), Deed::Accounts).await.unwrap()
}

pub const ADMIN: &str = "opens every door";

/// A client that shows this token.
pub fn by(token: &str) -> reqwest::Client {
    let mut header = reqwest::header::HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    header.set_sensitive(true);
    let headers = [(reqwest::header::AUTHORIZATION, header)].into_iter().collect();
    reqwest::Client::builder().default_headers(headers).build().unwrap()
}

/// `username` for `minutes` on `count` machines.
pub fn ask(username: &str, count: i64, minutes: i64) -> ReservationCreate {
    ReservationCreate {
        username: username.to_owned(),
        password: Some("correct horse".to_owned()),
        count: Some(count),
        duration: Some(model::wire::DurationText::Minutes(minutes)),
        ..ReservationCreate::default()
    }
}

impl Lent {
    /// What its agent shows, and in which life of the machine.
    pub fn credential(&self) -> (&str, Option<model::Incarnation>) {
        (self.identity.credential(), self.identity.incarnation)
    }
}

impl Farm {
    pub async fn new(database: Database) -> Self {
        Self::with_hook(database, None).await
    }

    pub async fn with_hook(database: Database, hook: Option<CommitHook>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = database.url(folder.path());
        let (http, clock) = (reqwest::Client::new(), FakeClock::default());
        let address = format!("unix:{}", folder.path().join(SOCKET).display());
        let yard = Yard::new(address, clock.clone());
        let vm_pool = VmPool { provider: "docker".to_owned(), image: "yard".to_owned(), ..VmPool::default() };
        let mut farm = Self {
            folder,
            database,
            clock,
            server: None,
            vm_pool,
            machines: vec![],
            yard,
            http,
            admin: None,
        };
        farm.start_server(hook);
        farm
    }

    /// Makes the first account, `root`, and goes on as that one: from now on nobody else gets in.
    pub async fn lock(&mut self) {
        let body = serde_json::json!({ "name": "root", "password": ADMIN, "role": "admin" }).to_string();
        let answer = self.http.post(format!("{}/v1/accounts", self.url())).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        let token = self.log_in("root", ADMIN).await.unwrap();
        self.admit(&token);
    }

    /// Goes on as whoever this token is of: an admin, for the look at the end.
    pub fn admit(&mut self, token: &str) {
        self.http = by(token);
        self.admin = Some(token.to_owned());
    }

    /// A token of somebody, or the status.
    pub async fn log_in(&self, account: &str, password: &str) -> Result<String, u16> {
        let body = serde_json::json!({ "account": account, "password": password }).to_string();
        let login = reqwest::Client::new().post(format!("{}/v1/login", self.url())).body(body);
        let answer = login.send().await.unwrap();
        match answer.status().as_u16() {
            200 => {
                Ok(answer.json::<serde_json::Value>().await.unwrap()["token"].as_str().unwrap().to_owned())
            }
            status => Err(status),
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }

    /// Starts the server on the same database, as a new process would.
    pub fn start_server(&mut self, commit_hook: Option<CommitHook>) {
        assert!(self.server.is_none(), "one server at a time");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let _ = std::fs::remove_file(self.socket());
        let entered = runtime.enter();
        let api = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        api.set_nonblocking(true).unwrap();
        let url = format!("http://{}", api.local_addr().unwrap());
        let doors = Doors {
            api: Listener::Tcp(tokio::net::TcpListener::from_std(api).unwrap()),
            agents: vec![Listener::Unix(tokio::net::UnixListener::bind(self.socket()).unwrap())],
        };
        drop(entered);
        let (database, yard) = (self.database.clone(), Arc::new(self.yard.clone()));
        let providers = HashMap::from([("docker", yard as Arc<dyn Provider>)]);
        let ssh = SshSettings { agents: vec![agent_binary()], ..SshSettings::default() };
        let visits = Some(VisitSettings { ssh, secrets_key: self.folder.path().join("secrets.key") });
        let settings = Settings {
            database,
            ttl: TTL,
            docker: None,
            visits,
            allow_link_local: false,
            vm_pool: self.vm_pool.clone(),
            gate: gate(),
            is_exposed: false,
            setup_token_file: Some(self.folder.path().join("setup-token")),
            providers,
            commit_hook,
        };
        let clock = Arc::new(self.clock.clone());
        runtime.spawn(async move { serve(settings, doors, clock, std::future::pending()).await.unwrap() });
        self.server = Some(Server { runtime, url });
    }

    /// Nothing of it runs on, and nothing is said good-bye to.
    pub async fn kill_server(&mut self) {
        let server = self.server.take().expect("a server runs");
        tokio::task::spawn_blocking(move || server.runtime.shutdown_timeout(Duration::from_secs(5)))
            .await
            .unwrap();
    }

    pub fn url(&self) -> &str {
        &self.server.as_ref().expect("a server runs").url
    }

    /// A path or a URL.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Another server's view of the same database.
    pub fn other_store(&self) -> Store {
        Store::open(&self.database, TTL, self.clock.now(), None).unwrap()
    }

    /// Every byte of an SQLite database, what is not yet in its main file included.
    pub fn stored(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let of_database = |path: &PathBuf| path.to_string_lossy().starts_with(&self.database);
        files.filter(of_database).flat_map(|path| std::fs::read(path).unwrap()).collect()
    }

    /// A copy of the SQLite database of a server that was killed.
    pub async fn backup(&self) -> Vec<u8> {
        self.until_closed().await;
        std::fs::read(&self.database).unwrap()
    }

    pub async fn restore(&self, backup: &[u8]) {
        self.until_closed().await;
        std::fs::write(&self.database, backup).unwrap();
    }

    /// The lock of a killed server goes with the last of its tasks.
    pub async fn until_unclaimed(&self) {
        self.until_closed().await;
        for _ in 0..500 {
            if server::store::claim(&self.database).is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the killed server holds its database");
    }

    /// Moves what is in the log into the file, which SQLite refuses as long as anybody else has it open.
    async fn until_closed(&self) {
        assert!(self.server.is_none(), "it is written to");
        let mut conn = SqliteConnection::establish(&self.database).unwrap();
        for _ in 0..500 {
            if conn.batch_execute("PRAGMA journal_mode = DELETE").is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the killed server goes on");
    }

    pub fn client(&self) -> Client {
        Client::new(self.url()).unwrap()
    }

    /// Registers a machine and starts its agent.
    pub async fn add_machine(&mut self, name: &str) {
        self.enrol(name).await;
        self.start_agent(self.machines.len() - 1);
    }

    /// Registers a machine whose agent enrols and does not start.
    pub async fn enrol(&mut self, name: &str) {
        let body = MachineCreate {
            name: name.to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 2201 + self.machines.len() as u16,
            labels: format!("name={name}").parse().unwrap(),
            uids: None,
            ssh: None,
        };
        let created: serde_json::Value = self.post("/v1/machines", &body).await.json().await.unwrap();
        let token = created["join_token"].as_str().unwrap_or_else(|| panic!("{created}"));
        let address = format!("unix:{}", self.socket().display());
        let mut identity = Identity::new(&address).unwrap();
        identity.enrol(&mut Link::new(&address).unwrap(), token).await.unwrap();
        self.machines.push(Lent { name: name.to_owned(), host: FakeHost::new(), identity, agent: None });
    }

    pub async fn add_machines(&mut self, count: usize) {
        for number in 1..=count {
            self.add_machine(&format!("m{number}")).await;
        }
        self.until_free(count as u32).await;
    }

    /// Sets a pool of the yard's machines, with these further fields.
    pub async fn pool_set(&self, name: &str, size: u32, more: serde_json::Value) {
        let mut body = serde_json::json!({ "provider": "docker", "image": "yard", "size": size });
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let path = format!("{}/v1/pools/{name}", self.url());
        let answer = self.http.put(path).body(body.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// The same, and waits for the machines.
    pub async fn pool(&self, name: &str, size: u32, more: serde_json::Value) {
        self.pool_set(name, size, more).await;
        self.until(&format!("pool {name} has its machines"), async || {
            let states = self.get(&format!("/v1/pools/{name}")).await["states"].clone();
            let count = |state: &str| states[state].as_u64().unwrap_or_default();
            count("free") + count("held") == u64::from(size)
        })
        .await;
    }

    /// A copy of a machine, disk and all, that was switched on beside it.
    pub fn clone_machine(&mut self, machine: usize) {
        let lent = &self.machines[machine];
        let (name, host) = (format!("clone of {}", lent.name), FakeHost::new());
        host.with(|world| *world = lent.host.world());
        let identity = lent.identity.clone();
        self.machines.push(Lent { name, host, identity, agent: None });
        self.start_agent(self.machines.len() - 1);
    }

    /// A letter in a machine's name, whoever wrote it. What it comes to, or the refusal.
    pub async fn letter(&self, machine: usize, session: &str, report: Report) -> Result<Received, String> {
        let identity = &self.machines[machine].identity;
        let (incarnation, session) = (identity.incarnation.unwrap(), session.to_owned());
        let request = SyncRequest { incarnation, session, challenge: None, report };
        let heard = self.other_store().machine_report(identity.digest(), request, 1, self.clock.now()).await;
        heard.map_err(|failure| failure.to_string())
    }

    /// Puts another machine in the place of one, with a join token of its own.
    pub async fn replace_machine(&mut self, machine: usize) {
        self.stop_agent(machine).await;
        let (name, store) = (self.machines[machine].name.clone(), self.other_store());
        let id = store.machine_get(&name).await.unwrap().id;
        let token = format!("another token of {name}");
        let until = self.clock.now() + Duration::from_secs(60);
        store.join_token_add(id, server::secret::digest(&token), until).await.unwrap();
        let address = format!("unix:{}", self.socket().display());
        let mut identity = Identity::new(&address).unwrap();
        identity.enrol(&mut Link::new(&address).unwrap(), &token).await.unwrap();
        let former = std::mem::replace(&mut self.machines[machine].identity, identity);
        self.machines[machine].host = FakeHost::new();
        let refused = Link::new(&address).unwrap().enrol(&enrol_request(&former, &token)).await;
        assert!(refused.is_err(), "a token is for one agent");
    }

    /// What happened, by kind.
    pub async fn events(&self, kind: &str) -> Vec<String> {
        let events = self.get("/v1/events?limit=1000").await["items"].as_array().unwrap().clone();
        let of_kind = events.iter().filter(|event| event["kind"] == kind);
        of_kind.map(|event| event["detail"].as_str().unwrap_or_default().to_owned()).collect()
    }

    pub fn start_agent(&mut self, machine: usize) {
        let clock: Arc<dyn agent::clock::Clock> = Arc::new(self.clock.clone());
        let lent = &mut self.machines[machine];
        let link = Link::new(&lent.identity.server).unwrap();
        let agent =
            agent::sync::run(lent.host.clone(), link, lent.identity.clone(), clock, std::future::pending());
        lent.agent = Some(tokio::spawn(async move {
            let _ = agent.await;
        }));
    }

    pub async fn stop_agent(&mut self, machine: usize) {
        if let Some(agent) = self.machines[machine].agent.take() {
            agent.abort();
            let _ = agent.await;
        }
    }

    pub fn machine(&self, name: &str) -> &Lent {
        self.machines.iter().find(|lent| lent.name == name).unwrap()
    }

    /// The status of a request at the agents' door by whoever this credential is of.
    pub async fn at_agents_door(
        &self,
        path: &str,
        credential: Option<&str>,
        body: &serde_json::Value,
    ) -> u16 {
        let body = body.to_string();
        let shown = credential.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: berth\r\nconnection: close\r\n{shown}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut door = tokio::net::UnixStream::connect(self.socket()).await.unwrap();
        door.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        door.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no answer at the agents' door: {answer}"))
    }

    pub async fn post(&self, path: &str, body: &(impl body::Body + ?Sized)) -> reqwest::Response {
        let request = self.http.post(format!("{}{path}", self.url())).body(body.json());
        request.send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> serde_json::Value {
        self.http.get(format!("{}{path}", self.url())).send().await.unwrap().json().await.unwrap()
    }

    pub async fn reserve(&self, body: &ReservationCreate) -> Result<ReservationView, String> {
        answer(self.post("/v1/reservations", body).await).await
    }

    pub async fn reservation(&self, id: impl std::fmt::Display) -> ReservationView {
        answer(self.http.get(format!("{}/v1/reservations/{id}", self.url())).send().await.unwrap())
            .await
            .unwrap()
    }

    pub async fn release(&self, id: impl std::fmt::Display) -> ReservationView {
        let path = format!("{}/v1/reservations/{id}", self.url());
        answer(self.http.delete(path).send().await.unwrap()).await.unwrap()
    }

    pub async fn extend(
        &self,
        id: impl std::fmt::Display,
        duration: &str,
    ) -> Result<ReservationView, String> {
        let path = format!("{}/v1/reservations/{id}", self.url());
        let body = serde_json::json!({ "duration": duration }).to_string();
        answer(self.http.patch(path).body(body).send().await.unwrap()).await
    }

    pub async fn machine_views(&self) -> Vec<MachineView> {
        let page: Page<MachineView> = self
            .http
            .get(format!("{}/v1/machines?limit=1000", self.url()))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        page.items
    }

    pub async fn until_free(&self, count: u32) {
        self.until(&format!("{count} machines are free"), async || {
            self.get("/v1/availability").await["free"].as_u64() == Some(u64::from(count))
        })
        .await;
    }

    /// Waits until something has come true; what is awaited takes no time by the farm's clock.
    pub async fn until(&self, what: &str, met: impl AsyncFn() -> bool) {
        for _ in 0..1500 {
            if met().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {what}; machines: {:#?}", self.machine_views().await);
    }

    /// The pretend machines by name.
    pub fn hosts(&self) -> Vec<(String, FakeHost)> {
        let lent = self.machines.iter().map(|lent| (lent.name.clone(), lent.host.clone()));
        lent.chain(self.yard.hosts()).collect()
    }
}

fn enrol_request(identity: &Identity, token: &str) -> EnrolRequest {
    EnrolRequest { join_token: token.to_owned(), credential_sha256: identity.digest() }
}

async fn answer(response: reqwest::Response) -> Result<ReservationView, String> {
    let status = response.status();
    let text = response.text().await.unwrap();
    if status.is_success() {
        Ok(serde_json::from_str(&text).unwrap())
    } else {
        Err(format!("{} {text}", status.as_u16()))
    }
}

/// Bodies of requests: wire types, or JSON as text.
pub mod body {
    pub trait Body {
        fn json(&self) -> String;
    }
    impl Body for str {
        fn json(&self) -> String {
            self.to_owned()
        }
    }
    impl Body for model::wire::MachineCreate {
        fn json(&self) -> String {
            serde_json::to_string(self).unwrap()
        }
    }
    impl Body for model::wire::ReservationCreate {
        fn json(&self) -> String {
            serde_json::to_string(self).unwrap()
        }
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.server.take().into_iter().for_each(|server| server.runtime.shutdown_background());
            return;
        }
        if self.server.is_none() {
            // A story that ends without a server gets one, to say what the facts are.
            self.start_server(None);
        }
        let (url, hosts, admin) = (self.url().to_owned(), self.hosts(), self.admin.take());
        // On a thread of its own: the story's runtime must not be blocked on.
        let http = admin.map_or_else(reqwest::Client::new, |token| by(&token));
        let look = move || Runtime::new().unwrap().block_on(law::breaches_that_stay(&http, &url, &hosts));
        let found = std::thread::spawn(look).join().expect("one can look");
        self.server.take().into_iter().for_each(|server| server.runtime.shutdown_background());
        assert!(found.is_empty(), "the law of the house is broken:\n{}", found.join("\n"));
    }
}
