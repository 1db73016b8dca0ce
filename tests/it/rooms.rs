//! Room servers: what the environment asks for is what the engine runs, and is known as a machine that nobody is lent.

use crate::on_both_databases;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::{Command, Output};
use tests::port::free_ports;
use tests::real::{RealFarm, binary, until};
use tests::{Farm, ask};

on_both_databases!(services_are_listed_and_never_lent, a_pool_has_machines_to_lend_or_services);

fn service() -> Value {
    let environment = json!({"HTTPAPIURL": "http://127.0.0.1:9"});
    json!({"environment": environment, "address": "127.0.0.1", "port": 8000, "cpus": 2, "memory_mib": 64})
}

async fn services_are_listed_and_never_lent(farm: Farm) {
    farm.pool_set("room", 2, json!({"service": service()})).await;
    let up = async |name: &str| farm.get(&format!("/v1/machines/{name}")).await["probe"]["up"] == true;
    farm.until("both are up", async || up("room").await && up("room-2").await).await;
    let pool = farm.get("/v1/pools/room").await;
    assert_eq!((&pool["states"], &pool["service"]["inside"]), (&json!({"listed": 2}), &json!("80/udp")));
    assert_eq!(farm.get("/v1/availability").await["total"], 0);
    let mut by_name = ask("alice", 1, 60);
    (by_name.count, by_name.machines) = (None, vec!["room".to_owned()]);
    assert!(farm.reserve(&by_name).await.unwrap_err().contains("`room` (listed)"));
    assert_eq!(farm.get("/server/getAll").await["payload"], json!([]), "these are no media servers");
    // One that vanishes is made again.
    farm.yard.lose("room-2");
    farm.pool_set("room", 2, json!({"service": service()})).await;
    farm.until("it is back", async || farm.yard.hosts().len() == 2).await;
    farm.pool_set("room", 0, json!({"service": service()})).await;
    farm.until("all are gone", async || farm.machine_views().await.is_empty()).await;
}

async fn a_pool_has_machines_to_lend_or_services(farm: Farm) {
    farm.pool("lent", 1, json!({})).await;
    farm.pool_set("room", 1, json!({"service": service()})).await;
    farm.until("it is there", async || farm.machine_views().await.len() == 2).await;
    let mut odd = service();
    odd["environment"]["TOKEN"] = json!("mine");
    for (pool, body, status, says) in [
        ("lent", json!({"provider": "docker", "image": "i", "size": 1, "service": service()}), 409, "`lent`"),
        ("room", json!({"provider": "docker", "image": "i", "size": 1}), 409, "services"),
        ("new", json!({"provider": "simulated", "size": 1, "service": service()}), 422, "only Docker"),
        (
            "new",
            json!({"provider": "docker", "image": "i", "size": 1, "service": odd}),
            422,
            "leave `TOKEN` out",
        ),
        ("new", json!({"provider": "docker", "image": "i", "size": 1, "service": {}}), 400, "service"),
    ] {
        let put = farm.http.put(format!("{}/v1/pools/{pool}", farm.url())).body(body.to_string());
        let answer = put.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{pool} {body}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(says), "{pool} {body}: {text}");
    }
}

/// Names of containers that are this test's.
fn named(what: &str) -> String {
    format!("berth-it-{what}-{}", std::process::id())
}

fn environment(port: u16) -> BTreeMap<&'static str, String> {
    let given = [
        ("HTTPAPIURL", "http://127.0.0.1:9/api".to_owned()),
        ("IMAGE", "berth-alpine".to_owned()),
        ("IP_ADDRESS", "127.0.0.1".to_owned()),
        ("PORT", port.to_string()),
        ("CONTAINER_NAME", named("room")),
        ("CPUS", "2".to_owned()),
        ("MEMORY_IN_GB", "0.25".to_owned()),
    ];
    given.into()
}

fn berth(farm: &RealFarm, words: &[&str], environment: &BTreeMap<&str, String>) -> Output {
    let mut berth = Command::new(binary("debug", "berth"));
    berth.args(["--server", &format!("http://{}", farm.address)]).args(words);
    berth.env_remove("DOCKER_IMAGE").env_remove("ROOM_PORT").envs(environment).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What the engine says of a container; absent if there is none.
fn inspected(name: &str) -> Option<Value> {
    let output = Command::new("docker").args(["inspect", "--type", "container", name]).output().unwrap();
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    all.get(0).cloned()
}

fn variables(container: &Value) -> BTreeMap<String, String> {
    let lines = container["Config"]["Env"].as_array().unwrap().iter();
    let pairs = lines.map(|line| line.as_str().unwrap().split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn e2e_room_servers_are_run_as_the_environment_says() {
    let farm = RealFarm::start("debug").await;
    let given = environment(free_ports(3));
    what_is_missing_is_named_and_leaves_nothing(&farm, &given).await;
    let (one, two) = (named("room"), format!("{}-2", named("room")));
    // At once, and each is told of its own.
    let create = || berth(&farm, &["room", "create"], &given);
    let (created, second) = std::thread::scope(|scope| {
        let [one, other] = [(); 2].map(|()| scope.spawn(create));
        (one.join().unwrap(), other.join().unwrap())
    });
    assert!(created.status.success() && second.status.success(), "{created:?} {second:?}");
    let mut names = [&created, &second].map(|of| said(of).split(" is up").next().unwrap().to_owned());
    names.sort();
    assert_eq!(names, [one.clone(), two.clone()]);
    let rooms = [&one, &two].map(|name| inspected(name).unwrap());
    the_engine_runs_what_was_asked_for(&rooms, &given);
    let tokens = rooms.each_ref().map(|room| variables(room)["TOKEN"].clone());
    assert!(tokens[0].len() > 40 && tokens[0] != tokens[1], "each has a token of its own");
    they_are_machines_that_nobody_is_lent(&farm, &one, &rooms[0]).await;
    what_stops_is_down(&farm, &one).await;
    tokens_are_known_to_nobody_else(&farm, &tokens, &[created, second]).await;
    let gone = berth(&farm, &["room", "destroyAll"], &given);
    assert!(gone.status.success() && said(&gone).contains("2 room servers destroyed"), "{gone:?}");
    assert!(inspected(&one).is_none() && inspected(&two).is_none());
    assert_eq!(farm.get("/v1/machines").await["items"], json!([]));
    let none = berth(&farm, &["room", "destroy-all"], &given);
    assert!(none.status.success() && said(&none).contains("there are no room servers"), "{none:?}");
}

/// A container that is not the server's; removed when dropped.
struct Foreign(String);

impl Foreign {
    fn make() -> Self {
        let foreign = Self(named("foreign"));
        let made = Command::new("docker").args(["create", "--name", &foreign.0, "berth-alpine"]).output();
        assert!(made.unwrap().status.success());
        foreign
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", &self.0]).output();
    }
}

async fn what_is_missing_is_named_and_leaves_nothing(
    farm: &RealFarm,
    given: &BTreeMap<&'static str, String>,
) {
    let with = |name: &'static str, value: &str| {
        let mut changed = given.clone();
        changed.insert(name, value.to_owned());
        berth(farm, &["room", "create"], &changed)
    };
    for (name, value) in [("HTTPAPIURL", ""), ("HTTPAPIURL", "ftp://x"), ("IP_ADDRESS", ""), ("CPUS", "many")]
    {
        let output = with(name, value);
        assert_eq!(output.status.code(), Some(2), "{name}: {output:?}");
        assert!(said(&output).contains(&format!("`{name}`")), "{name}: {output:?}");
    }
    assert_eq!(farm.get("/v1/pools").await["items"], json!([]));
    let foreign = Foreign::make();
    for (name, value, says) in [
        ("IMAGE", named("no-such-image"), "docker pull"),
        ("CONTAINER_NAME", foreign.0.clone(), "is not this machine's"),
    ] {
        let output = with(name, &value);
        assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
        assert!(said(&output).contains(says), "{name}: {output:?}");
        until("nothing is left of it", async || farm.get("/v1/machines").await["items"] == json!([])).await;
    }
    assert!(inspected(&foreign.0).is_some(), "what is not ours is left alone");
}

fn the_engine_runs_what_was_asked_for(rooms: &[Value; 2], given: &BTreeMap<&str, String>) {
    let mut ports = Vec::new();
    for room in rooms {
        let host = &room["HostConfig"];
        assert_eq!(host["RestartPolicy"]["Name"], "always");
        assert_eq!(host["NanoCpus"], json!(2_000_000_000_i64));
        assert_eq!(host["Memory"], json!(256 * 1024 * 1024));
        let binding = &host["PortBindings"]["80/udp"][0];
        assert_eq!(binding["HostIp"], given["IP_ADDRESS"].as_str());
        let variables = variables(room);
        assert_eq!(variables["HTTPAPIURL"], given["HTTPAPIURL"]);
        assert_eq!(binding["HostPort"], variables["SERVER_PORT"].as_str());
        assert_eq!(
            (&room["Config"]["Image"], &room["State"]["Running"]),
            (&json!("berth-alpine"), &json!(true))
        );
        assert_eq!(host["Binds"], Value::Null, "no agent's door");
        ports.push(variables["SERVER_PORT"].parse::<u16>().unwrap());
    }
    let asked: u16 = given["PORT"].parse().unwrap();
    assert!(ports[0] >= asked && ports[1] > ports[0], "from {asked} up: {ports:?}");
}

async fn they_are_machines_that_nobody_is_lent(farm: &RealFarm, name: &str, room: &Value) {
    let machine = farm.get(&format!("/v1/machines/{name}")).await;
    assert_eq!((&machine["state"], &machine["probe"]["up"]), (&json!("listed"), &json!(true)));
    let port: u16 = variables(room)["SERVER_PORT"].parse().unwrap();
    assert_eq!((&machine["host"], &machine["port"]), (&json!("127.0.0.1"), &json!(port)));
    assert_eq!(farm.get("/v1/availability").await["free"], 0);
}

/// A change of the pool has the server look at once.
async fn what_stops_is_down(farm: &RealFarm, name: &str) {
    let is_up = async || farm.get(&format!("/v1/machines/{name}")).await["probe"]["up"] == true;
    for (verb, up) in [("stop", false), ("start", true)] {
        assert!(Command::new("docker").args([verb, name]).output().unwrap().status.success());
        let set = berth(farm, &["pool", "set", name, "--size", "2"], &BTreeMap::new());
        assert!(set.status.success(), "{set:?}");
        until(&format!("after `docker {verb}` that is seen"), async || is_up().await == up).await;
    }
}

async fn tokens_are_known_to_nobody_else(farm: &RealFarm, tokens: &[String; 2], outputs: &[Output]) {
    let mut told = farm.log();
    for path in ["/v1/events?limit=1000", "/v1/machines", "/v1/pools", "/metrics"] {
        told += &reqwest::get(format!("http://{}{path}", farm.address)).await.unwrap().text().await.unwrap();
    }
    outputs.iter().for_each(|output| told += &said(output));
    for file in std::fs::read_dir(farm.folder.path().join("data")).unwrap().flatten() {
        told += &String::from_utf8_lossy(&std::fs::read(file.path()).unwrap_or_default());
    }
    assert!(told.contains("machine.up") && told.contains("HTTPAPIURL"), "it was looked at");
    assert!(!tokens.iter().any(|token| told.contains(token.as_str())), "a token is told");
}
