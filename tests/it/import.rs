//! `berth machine import`, `register` and `confirm`, as they are typed.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Barrier, Mutex};
use tests::real::binary;
use tests::{Database, Farm};

const FINGERPRINT: &str = "SHA256:0123456789012345678901234567890123456789012";

/// The files of somebody who looks after machines, and what is typed among them.
struct Desk {
    folder: tempfile::TempDir,
    url: String,
}

impl Desk {
    fn new(url: &str) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), url: url.to_owned() }
    }

    fn file(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        self
    }

    fn berth(&self, typed: &str) -> Command {
        let mut command = Command::new(binary("debug", "berth"));
        command.args(typed.split(' ')).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("BERTH_SERVER", &self.url).env("HOME", self.folder.path());
        command
    }

    /// What comes of it, first on standard output, then on standard error, and the exit code.
    fn types(&self, typed: &str) -> String {
        told(&self.berth(typed).output().unwrap())
    }
}

fn told(output: &Output) -> String {
    let text =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap()).concat();
    format!("{text}{}", output.status.code().unwrap())
}

// --- with the real server

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_added_once_and_brought_up_to_date_after_that() {
    let farm = Farm::new(Database::Sqlite).await;
    let desk = Desk::new(farm.url());
    desk.file(
        "machines.txt",
        "lab-1 127.0.0.11 1 root pw\nlab-2 not/a/host 2 root pw\nlab-3 127.0.0.13 3 root pw\n",
    );
    let said = desk.types("machine import machines.txt --label os=debian");
    let expected = "Added lab-1\nFailed to add lab-2: `host`: ";
    assert!(
        said.starts_with(expected) && said.contains("\nAdded lab-3\n2 added, 0 updated, 1 failed\n"),
        "{said}"
    );
    assert!(said.ends_with("put that right and import it again\n1"), "{said}");

    desk.file("machines.txt", "lab-3 127.0.0.13 3 root pw\nlab-1 127.0.0.11 1 root pw\n");
    let said = desk.types("machine import machines.txt --label rack=7");
    assert_eq!(said, "Updated lab-3\nUpdated lab-1\n0 added, 2 updated, 0 failed\n0");
    let labels = farm.get("/v1/machines/lab-1").await["labels"].clone();
    assert_eq!(labels, json!({"os": "debian", "rack": "7"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_the_machine_manager_are_read_as_they_are() {
    let farm = Farm::new(Database::Sqlite).await;
    let desk = Desk::new(farm.url());
    let of = |name: &str, port: u16| {
        format!("- name: {name}\n  host: 127.0.0.1\n  port: {port}\n  user: root\n  password: test\n")
    };
    desk.file("machines.txt", "machine1 127.0.0.1 2 root test\n");
    desk.file("machines.yml", &format!("machines:\n{}", of("machine2", 3)));
    desk.file("bare.yml", &format!("{}{}", of("machine3", 4), of("no/name", 5)));
    for (file, says) in [
        ("machines.txt", "Added machine1\n1 added, 0 updated, 0 failed\n"),
        ("machines.yml", "Added machine2\n1 added, 0 updated, 0 failed\n"),
        ("bare.yml", "Added machine3\nFailed to add no/name: "),
    ] {
        let said = desk.types(&format!("machine import {file}"));
        assert!(said.starts_with(says), "{file}: {said}");
    }
    let names = farm.machine_views().await.iter().map(|view| view.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names, ["machine1", "machine2", "machine3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inventory_of_ansibles_becomes_machines_with_labels() {
    let farm = Farm::new(Database::Sqlite).await;
    let desk = Desk::new(farm.url());
    let inventory = "[web]\nweb1 ansible_host=127.0.0.18\nweb2 ansible_host=127.0.0.19\n[db]\ndb ansible_host=127.0.0.20 ansible_port=2020\n\
                     [site:children]\nweb\ndb\n[all:vars]\nansible_password=pw\n";
    desk.file("hosts", inventory);
    assert!(desk.types("machine import hosts").contains("3 added, 0 updated, 0 failed\n"));
    let listed = desk.types("machine list --label group.site=true --label group.web=true");
    assert!(listed.contains("web1\t") && listed.contains("web2\t") && !listed.contains("db\t"), "{listed}");
    let db = farm.get("/v1/machines/db").await;
    assert_eq!((db["host"].as_str(), db["port"].as_u64()), (Some("127.0.0.20"), Some(2020)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_file_that_cannot_be_made_out_nothing_is_sent() {
    let farm = Farm::new(Database::Sqlite).await;
    let desk = Desk::new(farm.url());
    for (file, text, said) in [
        ("a.txt", "a h 22 root pw\nb\n", "a.txt, line 2: needs a name and a host"),
        ("a.yml", "- name: a\n  host: h\n  prot: 1\n", "a.yml, line 3, column 3: unknown field `prot`"),
        ("a.ini", "a\n[web\n", "a.ini, line 2: is no section"),
        ("hosts.yaml", "all:\n  hosts: x\n", "hosts.yaml, line 2, column 10: expected names"),
    ] {
        let told = desk.file(file, text).types(&format!("machine import {file}"));
        assert!(
            told.starts_with(&format!("berth: {said}")) && told.ends_with("; nothing was sent\n2"),
            "{told}"
        );
    }
    let told = desk.types("machine import nowhere.txt");
    assert!(told.starts_with("berth: nowhere.txt: No such file") && told.ends_with('2'), "{told}");
    std::fs::File::create(desk.folder.path().join("large")).unwrap().set_len(17 << 20).unwrap();
    assert_eq!(desk.types("machine import large"), "berth: large: is larger than 16 MiB: split it\n2");
    desk.file("empty.txt", "# nobody yet\n");
    let told = desk.types("machine import empty.txt");
    assert_eq!(told, "0 added, 0 updated, 0 failed\nempty.txt lists no machine\n0");
    assert!(farm.machine_views().await.is_empty());
}

/// What `just register-machine` reads when it is given nothing.
#[test]
fn the_list_that_comes_along_is_well_formed() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("provision/machines.txt");
    let text = std::fs::read_to_string(example).unwrap();
    let desk = Desk::new(&Server::start(None).url);
    assert!(desk.file("machines.txt", &text).types("machine import machines.txt").starts_with("0 added"));
    let filled_in = text.replace("# lab-", "lab-");
    let said = desk.file("machines.txt", &filled_in).types("machine import machines.txt");
    assert!(
        said.starts_with("Added lab-1\nAdded lab-2\nFailed to add lab-3: line 15: has neither"),
        "{said}"
    );
}

// --- with a server that keeps what it is sent

#[test]
fn secrets_and_keys_go_to_the_server_and_are_not_shown() {
    let server = Server::start(None);
    let desk = Desk::new(&server.url);
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n";
    desk.file("id", key)
        .file("sudo", "su hunter2\n")
        .file("m.yml", "- {name: a, host: h, private_key_file: id}\n");
    let known = "h ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    desk.file("known_hosts", known);
    let typed = "machine import m.yml --known-hosts known_hosts --ssh-user ops --sudo-password-file sudo";
    let would = desk.types(&format!("{typed} --dry-run"));
    let said = "Would add a: ops@h:22 by key, host key known\nnothing was sent: 1 to add, 0 to update, 0 would fail\n0";
    assert_eq!(would, said);
    assert!(server.bodies("POST").is_empty());
    assert_eq!(desk.types(typed), "Added a\n1 added, 0 updated, 0 failed\n0");
    assert_eq!(desk.types(&format!("{typed} --json")), "[{\"name\":\"a\",\"result\":\"updated\"}]\n0");
    let host_key = known.split_once(' ').unwrap().1;
    let ssh = json!({"user": "ops", "private_key": key, "sudo_password": "su hunter2", "host_key": host_key});
    assert_eq!(server.bodies("POST")[0]["ssh"], ssh);
    assert_eq!(server.bodies("PATCH")[0], json!({"ssh": ssh}));
}

#[test]
fn eight_at_a_time_and_jump_hosts_first() {
    let server = Server::start(Some(8));
    let desk = Desk::new(&server.url);
    let behind: String =
        (0..16).map(|nth| format!("- {{name: m{nth}, host: h{nth}, password: p, jump: gate}}\n")).collect();
    let gates: String =
        (0..7).map(|nth| format!("- {{name: g{nth}, host: g{nth}, password: p}}\n")).collect();
    let list = format!("{behind}{gates}- {{name: gate, host: gate, password: p}}\n");
    let said = desk.file("m.yml", &list).types("machine import m.yml --accept-new-host-keys");
    let order: String = (0..16).map(|nth| format!("Added m{nth}\n")).collect();
    assert!(
        said.starts_with(&order) && said.ends_with("Added gate\n24 added, 0 updated, 0 failed\n0"),
        "{said}"
    );
    let posts = server.bodies("POST");
    let first: Vec<bool> = posts[..8].iter().map(|body| body["ssh"]["jump"].is_null()).collect();
    assert_eq!(first, [true; 8], "what others are reached through is there before them");
    assert_eq!(server.state.lock().unwrap().most_at_once, 8);
}

#[test]
fn somebody_may_add_the_same_machine_meanwhile() {
    let server = Server::start(None);
    let desk = Desk::new(&server.url);
    server.state.lock().unwrap().hides_from_lists = true;
    let typed = "machine import m.txt --accept-new-host-keys";
    assert!(desk.file("m.txt", "a h 22 root old\n").types(typed).starts_with("Added a\n"));
    let said = desk.file("m.txt", "a i 23 root new\n").types(typed);
    assert_eq!(said, "Updated a\n0 added, 1 updated, 0 failed\n0");
    let sent = json!({"host": "i", "port": 23, "ssh": {"user": "root", "password": "new", "host_key": "accept-new"}});
    assert_eq!(server.bodies("PATCH"), [sent]);
}

#[test]
fn a_machine_registered_over_ssh_is_asked_for_its_host_key() {
    let server = Server::start(None);
    let desk = Desk::new(&server.url);
    desk.file("pw", "correct horse\n");
    let typed = "machine register web1 10.0.0.1 --port 2222 --ssh-user deploy --password-file pw --jump gate";
    let said = desk.types(typed);
    let expected = "web1 is registered\nthe server logs in to it as deploy\nconfirm its host key when it has shown it: \
                    berth machine confirm web1\n0";
    assert_eq!(said, expected);
    assert_eq!(
        server.bodies("POST")[0]["ssh"],
        json!({"user": "deploy", "password": "correct horse", "jump": "gate"})
    );
    let shown = desk.types("machine get web1");
    assert!(shown.contains("reach        ssh as deploy by password\n"), "{shown}");
    assert!(
        shown.contains(&format!("host key     {FINGERPRINT} waits: berth machine confirm web1\n")),
        "{shown}"
    );
    let unattended = desk.types("machine confirm web1");
    assert!(unattended.ends_with(&format!("berth machine confirm web1 {FINGERPRINT}\n1")), "{unattended}");
    let confirmed = desk.types(&format!("machine confirm web1 {FINGERPRINT}"));
    assert!(confirmed.contains(&format!("host key     {FINGERPRINT}\n")), "{confirmed}");
    assert_eq!(server.bodies("PATCH"), [json!({"host_key": FINGERPRINT})]);
    for bad in ["--ssh-user deploy", "--host-key SHA256:x --password-file pw", "--password-file nowhere"] {
        let refused = desk.types(&format!("machine register web2 10.0.0.2 {bad}"));
        assert!(!refused.ends_with('0') && server.bodies("POST").len() == 1, "{refused}");
    }
}

#[test]
fn on_a_terminal_a_yes_confirms_the_host_key_and_anything_else_does_not() {
    let server = Server::start(None);
    let desk = Desk::new(&server.url);
    desk.file("pw", "correct horse\n");
    for (name, answer, said) in [
        ("web1", "n\n", "not confirmed: no password goes there"),
        ("web2", "y\n", "host key     SHA256:0123"),
    ] {
        let typed = format!("machine register {name} 10.0.0.1 --password-file pw");
        let shown = on_a_terminal(&desk, &typed, answer);
        let question = format!("{name} at 10.0.0.1:22 shows the host key {FINGERPRINT}");
        assert!(shown.contains(&question) && shown.contains(said), "{shown}");
    }
    assert_eq!(server.bodies("PATCH"), [json!({"host_key": FINGERPRINT})]);
    assert!(on_a_terminal(&desk, "machine confirm web1", "yes\n").contains("host key     SHA256:0123"));
    assert_eq!(server.bodies("PATCH").len(), 2);
}

/// `script` lends a terminal.
fn on_a_terminal(desk: &Desk, typed: &str, answer: &str) -> String {
    let berth = format!("{} {typed}", binary("debug", "berth").display());
    let mut script = Command::new("script");
    script.args(["-qec", &berth, "/dev/null"]).env("BERTH_SERVER", &desk.url).current_dir(desk.folder.path());
    let mut running = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    running.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
    String::from_utf8(running.wait_with_output().unwrap().stdout).unwrap()
}

/// As much of the API as is needed here. Machines offer their host key as soon as they are registered.
struct Server {
    url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    asked: Vec<(String, Value)>,
    machines: Vec<Value>,
    hides_from_lists: bool,
    at_once: usize,
    most_at_once: usize,
}

impl Server {
    /// With `together`, so many registrations are answered at a time, and none before they are all there.
    fn start(together: Option<usize>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let barrier = together.map(|count| Arc::new(Barrier::new(count)));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map(Result::unwrap) {
                let (state, barrier) = (shared.clone(), barrier.clone());
                std::thread::spawn(move || serve(stream, &state, barrier.as_deref()));
            }
        });
        Self { url, state }
    }

    fn bodies(&self, method: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|(asked, _)| asked == method).map(|(_, body)| body.clone()).collect()
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>, barrier: Option<&Barrier>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap_or_default());
    if method == "POST" {
        let mut state = state.lock().unwrap();
        state.at_once += 1;
        state.most_at_once = state.most_at_once.max(state.at_once);
    }
    barrier.filter(|_| method == "POST").map(Barrier::wait);
    let (status, answer) = state.lock().unwrap().answer(method, path, body).to_owned();
    let head = format!("HTTP/1.1 {status} It\r\nconnection: close\r\ncontent-length: {}", answer.len());
    stream.write_all(format!("{head}\r\n\r\n{answer}").as_bytes()).unwrap();
}

impl State {
    fn answer(&mut self, method: &str, path: &str, body: Value) -> (u16, String) {
        self.asked.push((method.to_owned(), body.clone()));
        let name =
            path.strip_prefix("/v1/machines/").or(body["name"].as_str()).unwrap_or_default().to_owned();
        let index = self.machines.iter().position(|machine| machine["name"] == name);
        let have = index.and_then(|index| self.machines.get_mut(index));
        match (method, have) {
            ("GET", None) if path.starts_with("/v1/machines?") => {
                let items = if self.hides_from_lists { json!([]) } else { json!(self.machines) };
                (200, json!({"items": items}).to_string())
            }
            ("GET", Some(machine)) => (200, machine.to_string()),
            ("POST", None) => {
                self.at_once -= 1;
                self.machines.push(machine(&body));
                (201, machine(&body).to_string())
            }
            ("PATCH", Some(machine)) => {
                if body["host_key"].is_string() {
                    machine["ssh"] = json!({"user": "root", "auth": "key", "host_key": body["host_key"]});
                }
                (200, machine.to_string())
            }
            ("POST", Some(_)) => {
                self.at_once -= 1;
                (409, json!({"type": "", "title": "", "status": 409, "detail": "it is there"}).to_string())
            }
            _ => (404, json!({"type": "", "title": "", "status": 404, "detail": "nothing"}).to_string()),
        }
    }
}

fn machine(body: &Value) -> Value {
    let ssh = json!({"user": body["ssh"]["user"].as_str().unwrap_or("root"), "auth": "password",
        "offered_host_key": FINGERPRINT});
    json!({"id": "0198c0de-0000-7000-8000-000000000000", "name": body["name"], "host": body["host"],
        "port": body["port"], "labels": body["labels"], "state": "maintenance", "cordoned": false,
        "created_at": "2026-01-31T12:00:00Z", "generation": 1, "seen_generation": 1, "facts": {}, "ssh": ssh})
}
