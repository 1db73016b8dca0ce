//! Secrets that would be recognised anywhere go in by every door, and are looked for everywhere: in logs that hold all there
//! is to say, files, answers, command lines and environments. They are found where they belong and nowhere else.

use model::ssh::Secret;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests::container::{Container, given, said};
use tests::real::{RealFarm, binary, until};
use tests::sshd::{Sshd, key_pair};

/// What a leak of any of them is called, and the text.
type Secrets = Vec<(String, String)>;

fn canary(of: &str) -> String {
    format!("Kestrel-{of}-{}", std::process::id())
}

/// What was answered, but for what is shown once.
struct Client {
    http: reqwest::Client,
    url: String,
    answers: String,
    secrets: Secrets,
    token: Option<String>,
}

impl Client {
    async fn send(&mut self, method: &str, path: &str, body: impl Into<String>) -> (u16, Value) {
        let request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.url));
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        self.hear(request.body(body.into())).await
    }

    async fn hear(&mut self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), format!("{:?}", answer.headers()));
        let mut text = answer.text().await.unwrap();
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        for field in ["token", "join_token"] {
            if let Some(shown) = value[field].as_str() {
                assert_eq!(text.matches(shown).count(), 1, "it is shown once");
                text = text.replace(shown, "");
                self.secrets.push((format!("the {field} of an answer"), shown.to_owned()));
            }
        }
        let cookie = headers.split("berth_session=").nth(1).and_then(|rest| rest.split(';').next());
        if let Some(cookie) = cookie.filter(|cookie| !cookie.is_empty()) {
            self.secrets.push(("a session".to_owned(), cookie.to_owned()));
        } else {
            self.answers += &headers;
        }
        self.answers += &text;
        (status, value)
    }

    async fn fails(&mut self, path: &str, body: impl Into<String>) {
        let (status, answer) = self.send("POST", path, body).await;
        assert!((400..500).contains(&status), "{path}: {status} {answer}");
    }

    /// A secret of this kind, which will be looked for.
    fn secret(&mut self, of: &str) -> String {
        self.secrets.push((of.to_owned(), canary(of)));
        canary(of)
    }
}

/// Every command line and every environment of this computer and of what runs in containers on it.
struct Lookout {
    seen: Arc<Mutex<HashSet<Vec<u8>>>>,
    over: Arc<AtomicBool>,
}

impl Lookout {
    fn begin() -> Self {
        let (seen, over) = (Arc::<Mutex<HashSet<Vec<u8>>>>::default(), Arc::<AtomicBool>::default());
        let (found, is_over) = (seen.clone(), over.clone());
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                for process in fs::read_dir("/proc").unwrap().flatten() {
                    let read = |file| fs::read(process.path().join(file)).unwrap_or_default();
                    found.lock().unwrap().extend(["cmdline", "environ"].map(read));
                }
                // As often as leaves something to the others.
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { seen, over }
    }

    fn has(&self, text: &str) -> bool {
        self.seen.lock().unwrap().iter().any(|seen| contains(seen, text))
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Files below these folders that hold this text, which is looked for without a command line that has it.
fn files_with(text: &str, folders: &[PathBuf]) -> Vec<String> {
    let mut grep = Command::new("grep");
    grep.args(["-rlaF", "--devices=skip", "-f", "-"]).args(folders.iter().filter(|folder| folder.exists()));
    String::from_utf8_lossy(&given(&mut grep, text.as_bytes()).stdout).lines().map(str::to_owned).collect()
}

/// Where somebody who is on a machine may look.
fn folders_of(root: &Path) -> Vec<PathBuf> {
    ["etc", "var", "home", "root", "tmp", "run", "usr/local", "srv", "opt"].map(|name| root.join(name)).into()
}

/// A machine with an agent that tells all, which is not made by a pool.
async fn own_machine(farm: &RealFarm, client: &mut Client) -> Container {
    let door = format!("{}:/run/berth", farm.folder.path().join("data/agent").display());
    let script = "mkdir -p /run/sshd; touch /run/up; until [ -s /root/token ]; do sleep 0.1; done; \
                  exec /usr/local/sbin/berth-agent run --server unix:/run/berth/agent.sock \
                  --join-token-file /root/token 2>/root/agent.log";
    let container = Container::with("berth-debian", &["-e", "BERTH_LOG=trace", "-v", &door], script);
    let (status, made) =
        client.send("POST", "/v1/machines", json!({"name": "own", "host": "127.0.0.1"}).to_string()).await;
    assert_eq!(status, 201, "{made}");
    fs::write(container.path("/root/token"), made["join_token"].as_str().unwrap()).unwrap();
    farm_is(farm, client, "own", "free").await;
    fs::remove_file(container.path("/root/token")).unwrap();
    container
}

/// By the admin's token: from the first account on nobody else is told.
async fn farm_is(farm: &RealFarm, client: &Client, machine: &str, state: &str) {
    let met = async || {
        let request = client.http.get(format!("{}/v1/machines/{machine}", client.url));
        let request = client.token.iter().fold(request, |request, token| request.bearer_auth(token));
        let answer = request.send().await.unwrap().json::<Value>().await.unwrap();
        answer["state"] == state
    };
    until(&format!("`{machine}` is {state}; {}", farm.folder.path().display()), met).await;
}

/// By a password, and by a key with `sudo`.
async fn visited_machine(farm: &RealFarm, client: &mut Client, (key, public): (Secret, String)) -> Sshd {
    let sshd = Sshd::debian("");
    let (roots, ops, passphrase) =
        (client.secret("root"), client.secret("sudo"), client.secret("passphrase"));
    let lines = format!("root:{roots}\nop:{ops}\n");
    assert!(given(sshd.container.enter(&[]).arg("chpasswd"), lines.as_bytes()).status.success());
    let body = key.expose().lines().nth(2).unwrap().to_owned();
    client.secrets.push(("a private key".to_owned(), body));
    sshd.container.run(&format!(
        "echo '{public}' >>/home/op/.ssh/authorized_keys; echo 'op ALL=(ALL) ALL' >/etc/sudoers.d/op"
    ));
    let ssh = |ssh: Value| {
        json!({"name": "visited", "host": "127.0.0.1", "port": sshd.port, "ssh": ssh}).to_string()
    };
    let wrong = client.secret("refused-ssh");
    client.fails("/v1/machines", ssh(json!({"password": wrong, "passphrase": wrong}))).await;
    client.fails("/v1/machines", ssh(json!({"private_key": wrong}))).await;
    client.fails("/v1/machines", ssh(json!({"private_key": key.expose(), "passphrase": wrong}))).await;
    client.fails("/v1/machines", ssh(json!({"user": "root", "pasword": wrong}))).await;
    let by_key = json!({"user": "op", "private_key": key.expose(), "passphrase": passphrase,
        "sudo_password": ops, "host_key": "accept-new"});
    let (status, made) = client.send("POST", "/v1/machines", ssh(by_key)).await;
    assert_eq!(status, 201, "{made}");
    farm_is(farm, client, "visited", "free").await;
    let by_password = json!({"ssh": {"user": "root", "password": wrong}}).to_string();
    assert_eq!(client.send("PATCH", "/v1/machines/visited", by_password).await.0, 200);
    until("it is told to the machine", async || sshd.count("Failed password for root") > 0).await;
    let by_password = json!({"ssh": {"user": "root", "password": roots}}).to_string();
    assert_eq!(client.send("PATCH", "/v1/machines/visited", by_password).await.0, 200);
    farm_is(farm, client, "visited", "free").await;
    sshd
}

/// The first account and another one, and everything that may be got wrong about them.
async fn accounts(farm: &RealFarm, client: &mut Client) {
    let (admins, users, wrong) = (client.secret("admin"), client.secret("user"), client.secret("wrong"));
    let made = json!({"name": "root", "password": admins, "role": "admin"}).to_string();
    assert_eq!(client.send("POST", "/v1/accounts", made).await.0, 201);
    let login = |name: &str, password: &str| json!({"account": name, "password": password}).to_string();
    let (status, _) = client.send("POST", "/v1/login", login("root", &admins)).await;
    assert_eq!(status, 200);
    client.token = client.secrets.last().map(|(_, token)| token.clone());
    assert_eq!(client.send("POST", "/v1/session", login("root", &admins)).await.0, 200);
    let body = json!({"name": "ursula", "password": users, "email": "u@example.org"}).to_string();
    assert_eq!(client.send("POST", "/v1/accounts", body).await.0, 201);
    let token = json!({"name": "ci", "level": "reserve"}).to_string();
    assert_eq!(client.send("POST", "/v1/tokens", token).await.0, 201);
    client.fails("/v1/login", login("ursula", &wrong)).await;
    client.fails("/v1/login", login(&wrong, &wrong)).await;
    for body in [
        format!("{{\"name\": \"x\", \"password\": \"{wrong}"),
        json!({"name": "x", "pasword": wrong}).to_string(),
        json!({"name": "x", "password": [wrong]}).to_string(),
        json!({"name": "x", "password": wrong.repeat(9)}).to_string(),
        json!({"name": "Not A Name", "password": wrong}).to_string(),
        json!({"name": "root", "password": wrong}).to_string(),
    ] {
        client.fails("/v1/accounts", body).await;
    }
    let change = json!({"password": users, "current_password": wrong}).to_string();
    assert_eq!(client.send("PATCH", "/v1/me", change).await.0, 422);
    let basic = |name: &str, password: &str| {
        client.http.get(format!("{}/v1/me", client.url)).basic_auth(name, Some(password))
    };
    let (right, mistaken) = (basic("ursula", &users), basic("ursula", &wrong));
    let sent =
        right.try_clone().unwrap().build().unwrap().headers()["authorization"].to_str().unwrap().to_owned();
    client.secrets.push(("a header".to_owned(), sent.trim_start_matches("Basic ").to_owned()));
    // The failures of before have to be waited for.
    until("ursula gets in", async || right.try_clone().unwrap().send().await.unwrap().status() == 200).await;
    client.hear(mistaken).await;
    let unknown = client.http.get(format!("{}/v1/me", client.url)).bearer_auth(&wrong);
    assert_eq!(client.hear(unknown).await.0, 401);
    let setup = fs::read_to_string(farm.folder.path().join("data/setup-token")).unwrap();
    client.secrets.push(("the setup token".to_owned(), setup.trim().to_owned()));
}

async fn reservations(client: &mut Client) -> String {
    let (password, wrong) = (client.secret("lent"), client.secret("refused-lent"));
    let ask = |name: &str, count: i64, password: &str| {
        json!({"username": name, "count": count, "password": password, "duration": "1h"}).to_string()
    };
    for body in [
        ask("Not A Name", 1, &wrong),
        ask("root", 1, &wrong),
        ask("alice", 99, &wrong),
        ask("alice", 1, &format!("{wrong}\n")),
        json!({"username": "alice", "count": 1, "passwords": wrong}).to_string(),
        format!("{{\"username\":\"alice\",\"password\":\"{wrong}\",}}"),
    ] {
        client.fails("/v1/reservations", body).await;
    }
    let (status, made) = client.send("POST", "/v1/reservations", ask("alice", 3, &password)).await;
    assert!(status == 201 && made["phase"] == "ready", "{status} {made}");
    made["id"].as_str().unwrap().to_owned()
}

/// The command line gets what is secret from files.
fn command_line(farm: &RealFarm, client: &Client, elsewhere: &Path) {
    let file = |name: &str, text: &str| {
        fs::write(elsewhere.join(name), text).unwrap();
        elsewhere.join(name).display().to_string()
    };
    let token = file("token", client.token.as_ref().unwrap());
    let password = file("password", &canary("user"));
    let berth = |arguments: &[&str]| {
        let mut berth = Command::new(binary("debug", "berth"));
        berth.args(["--server", &format!("http://{}", farm.address), "--token-file", &token]).args(arguments);
        said(berth.env("HOME", elsewhere).env("XDG_CONFIG_HOME", elsewhere))
    };
    berth(&["status"]);
    berth(&["account", "create", "cleo", "--password-file", &password]);
    let made = berth(&["token", "create", "cli", "--level", "read"]);
    assert!(made.contains("berth_"), "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_found_but_where_it_belongs() {
    // What makes it is told the passphrase on its command line.
    let key = key_pair("ed25519", &canary("passphrase"));
    let lookout = Lookout::begin();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut farm = RealFarm::start_telling("debug", &["--bcrypt-cost", "10"], "trace").await;
    let url = format!("http://{}", farm.address);
    let mut client =
        Client { http: reqwest::Client::new(), url, answers: String::new(), secrets: vec![], token: None };
    let own = own_machine(&farm, &mut client).await;
    let pool = format!("can{}", std::process::id());
    farm.pool(&pool, "berth-debian", 1).await;
    accounts(&farm, &mut client).await;
    let visited = visited_machine(&farm, &mut client, key).await;
    let id = reservations(&mut client).await;
    farm.kill_server();
    farm.start_server().await;
    command_line(&farm, &client, elsewhere.path());
    let backup = Command::new(binary("debug", "berth-server"))
        .args(["--database", "data/berth.db", "backup", "data/copy"])
        .current_dir(farm.folder.path())
        .output()
        .unwrap();
    assert!(backup.status.success(), "{backup:?}");
    let machine = format!("{pool}-1");
    let inspected = said(Command::new("docker").args(["inspect", &format!("berth-{machine}")]));
    let pid =
        said(Command::new("docker").args(["inspect", "-f", "{{.State.Pid}}", &format!("berth-{machine}")]));
    let roots = [format!("/proc/{pid}/root").into(), own.path("/"), visited.container.path("/")];
    let machines: Vec<PathBuf> = roots.iter().flat_map(|root| folders_of(root)).collect();
    let places: Vec<PathBuf> = machines.iter().cloned().chain([farm.folder.path().to_owned()]).collect();
    for root in &roots[..2] {
        let identity: Value =
            serde_json::from_slice(&fs::read(root.join("var/lib/berth/identity.json")).unwrap()).unwrap();
        client
            .secrets
            .push(("an agent's credential".to_owned(), identity["credential"].as_str().unwrap().to_owned()));
    }
    for path in [
        "/",
        "/healthz",
        "/metrics",
        "/v1/version",
        "/v1/me",
        "/v1/machines",
        "/v1/machines/visited",
        "/v1/pools",
        "/v1/reservations",
        "/v1/accounts",
        "/v1/tokens",
        "/v1/events?limit=1000",
        "/reservations",
    ] {
        assert_eq!(client.send("GET", path, "").await.0, 200, "{path}");
    }
    assert_eq!(client.send("DELETE", &format!("/v1/reservations/{id}?wait=60"), "").await.0, 200);

    let log = farm.log();
    let agents = fs::read_to_string(own.path("/root/agent.log")).unwrap();
    for (of, log) in [("the server", &log), ("the agent", &agents)] {
        assert!(log.contains("DEBUG"), "{of} tells all");
    }
    assert!(client.answers.contains("alice") && log.contains("enrolled"), "the right places are looked at");
    let hits = |secrets: &Secrets| -> Vec<String> {
        let mut hits = vec![];
        for (of, text) in secrets {
            let belongs = ["data/setup-token", "var/lib/berth/identity.json"];
            let files = files_with(text, &places);
            let files =
                files.into_iter().filter(|file| !belongs.iter().any(|belongs| file.ends_with(belongs)));
            hits.extend(files.map(|file| format!("{of} is in {file}")));
            for (place, is_there) in [
                ("an answer", client.answers.contains(text)),
                ("what docker tells", inspected.contains(text)),
                ("a command line or an environment", lookout.has(text)),
            ] {
                hits.extend(is_there.then(|| format!("{of} is in {place}")));
            }
        }
        hits
    };
    assert!(client.secrets.len() >= 17, "{}", client.secrets.len());
    assert_eq!(hits(&client.secrets), Vec::<String>::new());

    // And what is there is found.
    let planted = vec![("planted".to_owned(), canary("planted"))];
    assert_eq!(hits(&planted), Vec::<String>::new());
    fs::write(own.path("/home/planted"), canary("planted")).unwrap();
    let mut process = Command::new("sleep");
    let mut process = process.arg("100").env("PLANTED", canary("planted")).spawn().unwrap();
    until("it is looked at", async || lookout.has(&canary("planted"))).await;
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(hits(&planted).len(), 2, "{:?}", hits(&planted));
    assert!(lookout.has("berth-agent"), "machines were looked at as well");
}
