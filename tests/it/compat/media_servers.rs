//! The media-server registry: its answers, and that its servers are looked at and never lent.

use crate::on_both_databases;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use tests::farm::ADMIN;
use tests::{Farm, ask};

on_both_databases!(
    it_answers_as_it_did,
    with_accounts_it_asks_who_one_is,
    servers_are_looked_at_and_never_lent,
    what_is_deleted_may_be_listed_again,
    a_server_finds_a_name,
);

const PASSWORD: &str = "a horse, a battery";

/// One request, and what is answered: the status, and the envelope without what no two runs have in common.
struct Row(Method, &'static str, Value, u16, Value);

fn good(payload: Value) -> Value {
    json!({"isSuccess": true, "errorName": null, "payload": payload})
}

fn bad(name: &str) -> Value {
    json!({"isSuccess": false, "errorName": name, "payload": null})
}

fn server(ip: &str) -> Value {
    json!({"country": "GB", "region": "London W1", "type": "SFU", "ip": ip})
}

/// As it is found, with what a run makes up masked.
fn stored(ip: &str) -> Value {
    let mut found = server(ip);
    found["_id"] = json!("ID");
    found["timeCreated"] = json!("TIME");
    found["__v"] = json!(0);
    found
}

fn created(ip: &str) -> Value {
    let mut made = server(ip);
    made["timeCreated"] = json!("TIME");
    made
}

fn without(field: &str) -> Value {
    let mut body = server("10.0.0.9");
    body.as_object_mut().unwrap().remove(field);
    body
}

/// A name and a password, or nobody.
type Caller<'a> = Option<(&'a str, &'a str)>;

async fn sent(farm: &Farm, who: Caller<'_>, method: &Method, path: &str, body: &Value) -> (u16, String) {
    let mut request = Client::new().request(method.clone(), format!("{}{path}", farm.url()));
    if let Some((name, password)) = who {
        request = request.basic_auth(name, Some(password));
    }
    if !body.is_null() {
        request = request.body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Puts a word in the place of times and ids, having looked at them.
fn masked(mut answer: Value) -> Value {
    let payload = &mut answer["payload"];
    let items = match payload {
        Value::Array(items) => items.iter_mut().collect(),
        other => vec![other],
    };
    for item in items {
        if let Some(time) = item.get_mut("timeCreated") {
            let text = time.as_str().unwrap();
            assert!(text.contains('T') && text.ends_with("+00:00"), "{text}");
            *time = json!("TIME");
        }
        if let Some(id) = item.get_mut("_id") {
            assert_eq!(id.as_str().unwrap().len(), 36);
            *id = json!("ID");
        }
    }
    answer
}

async fn check(farm: &Farm, who: Caller<'_>, rows: Vec<Row>) {
    for Row(method, path, body, status, expected) in rows {
        let (seen, text) = sent(farm, who, &method, path, &body).await;
        let answer = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{method} {path}: {text}"));
        assert_eq!((seen, masked(answer)), (status, expected), "{method} {path} {body}");
    }
}

const ODD: &str = "not an address at all";
const UNKNOWN: &str = "A server with that ip was not found";

fn rows() -> Vec<Row> {
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    let odd = json!({"ip": ODD});
    vec![
        Row(get.clone(), "/server/getAll", Value::Null, 200, good(json!([]))),
        Row(post.clone(), "/server/create", server("999.1.1.1"), 200, good(created("999.1.1.1"))),
        Row(post.clone(), "/server/create", server(ODD), 200, good(created(ODD))),
        Row(post.clone(), "/server/create", server(ODD), 400, bad("Server with that Ip already exists")),
        Row(post.clone(), "/server/create", without("ip"), 400, bad("Must have a Server Ip")),
        Row(post.clone(), "/server/create", server(""), 400, bad("Must have a Server Ip")),
        Row(post.clone(), "/server/create", without("country"), 400, bad("An error occured")),
        Row(post.clone(), "/server/create", without("region"), 400, bad("An error occured")),
        Row(post, "/server/create", without("type"), 400, bad("An error occured")),
        Row(get.clone(), "/server/get", odd.clone(), 200, good(stored(ODD))),
        Row(get.clone(), "/server/get?ip=not+an%20address+at+all", Value::Null, 200, good(stored(ODD))),
        Row(get.clone(), "/server/get", json!({"ip": "10.0.0.1"}), 400, bad(UNKNOWN)),
        Row(get.clone(), "/server/get", Value::Null, 400, bad("Must have a Server Ip")),
        Row(get.clone(), "/server/get?ip=", odd.clone(), 400, bad("Must have a Server Ip")),
        Row(get.clone(), "/server/getAll", Value::Null, 200, good(json!([stored("999.1.1.1"), stored(ODD)]))),
        Row(delete.clone(), "/server/delete", json!({"ip": "999.1.1.1"}), 200, good(json!(true))),
        Row(delete.clone(), "/server/delete", json!({"ip": "999.1.1.1"}), 400, bad(UNKNOWN)),
        Row(delete, "/server/delete?ip=not+an+address+at+all", Value::Null, 200, good(json!(true))),
        Row(get.clone(), "/server/get", odd, 400, bad(UNKNOWN)),
        Row(get, "/server/getAll", Value::Null, 200, good(json!([]))),
    ]
}

async fn it_answers_as_it_did(farm: Farm) {
    let (status, text) = sent(&farm, None, &Method::POST, "/server", &Value::Null).await;
    assert!(status == 200 && text.starts_with("media servers are listed here"), "{status} {text}");
    check(&farm, None, rows()).await;
    for nonsense in [json!([1]), json!("x"), json!({"ip": 7}), json!({"ip": "a\u{7}", "country": "b"})] {
        for (method, path) in [(Method::POST, "/server/create"), (Method::GET, "/server/get")] {
            let (status, text) = sent(&farm, None, &method, path, &nonsense).await;
            let answer: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (status, &answer["isSuccess"], &answer["payload"]),
                (400, &json!(false), &Value::Null)
            );
            assert!(answer["errorName"].as_str().is_some_and(|name| !name.is_empty()), "{text}");
        }
    }
}

async fn with_accounts_it_asks_who_one_is(mut farm: Farm) {
    farm.lock().await;
    let account = json!({"name": "user", "password": PASSWORD}).to_string();
    let made = farm.http.post(format!("{}/v1/accounts", farm.url())).body(account).send().await.unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    let (admin, user) = (Some(("root", ADMIN)), Some(("user", PASSWORD)));
    check(&farm, admin, rows()).await;
    for Row(method, path, body, ..) in rows() {
        let (status, text) = sent(&farm, None, &method, path, &body).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, &answer["isSuccess"]), (401, &json!(false)), "{method} {path}: {text}");
    }
    let change = [(Method::POST, "/server/create"), (Method::DELETE, "/server/delete")];
    for (method, path) in change {
        let (status, text) = sent(&farm, user, &method, path, &server("10.0.0.1")).await;
        assert!(status == 403 && text.contains("\"isSuccess\":false"), "{method} {path}: {text}");
    }
    let (status, text) = sent(&farm, user, &Method::GET, "/server/getAll", &Value::Null).await;
    assert_eq!((status, text.as_str()), (200, r#"{"isSuccess":true,"errorName":null,"payload":[]}"#));
}

async fn register(farm: &Farm, ip: &str) {
    let (status, text) = sent(farm, None, &Method::POST, "/server/create", &server(ip)).await;
    assert_eq!(status, 200, "{text}");
}

async fn probe(farm: &Farm, machine: &str) -> Value {
    farm.get(&format!("/v1/machines/{machine}")).await["probe"].clone()
}

async fn servers_are_looked_at_and_never_lent(mut farm: Farm) {
    farm.add_machines(1).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap();
    register(&farm, &open.to_string()).await;
    register(&farm, "999.1.1.1").await;
    let name = format!("127.0.0.1-{}", open.port());
    for (machine, up) in [(name.as_str(), true), ("999.1.1.1", false)] {
        farm.until("it was looked at", async || probe(&farm, machine).await["up"] == json!(up)).await;
    }
    let machine = farm.get(&format!("/v1/machines/{name}")).await;
    let seen = ["state", "host", "port"].map(|field| machine[field].clone());
    assert_eq!(seen, [json!("listed"), json!("127.0.0.1"), json!(open.port())]);
    assert_eq!(machine["labels"], json!({"country": "GB", "region": "London-W1", "type": "SFU"}));
    assert_eq!(machine["media_server"], server(&open.to_string()));

    let (_, lent) = sent(&farm, None, &Method::GET, "/iac/machines", &Value::Null).await;
    assert!(lent.contains("m1") && !lent.contains("999.1.1.1"), "those to lend: {lent}");
    register(&farm, "169.254.169.254:80").await;
    let metadata = async || probe(&farm, "169.254.169.254-80").await["up"] == false;
    farm.until("nobody looks at a cloud's secrets", metadata).await;
    let (status, _) =
        sent(&farm, None, &Method::DELETE, "/server/delete", &server("169.254.169.254:80")).await;
    assert_eq!(status, 200);

    // Who refuses a connection is up; and nothing has changed, so that nothing is written.
    drop(listener);
    let since = probe(&farm, &name).await["since"].clone();
    farm.clock.advance(Duration::from_secs(31));
    register(&farm, "998.1.1.1").await;
    farm.until("a round has been made", async || probe(&farm, "998.1.1.1").await["up"] == false).await;
    assert_eq!(probe(&farm, &name).await, json!({"up": true, "since": since}));
    let events = async |kind: &str| farm.events(kind).await.len();
    assert_eq!((events("machine.up").await, events("machine.down").await), (1, 3));

    // It moves to where nobody is.
    let moved = farm.http.patch(format!("{}/v1/machines/{name}", farm.url()));
    assert_eq!(moved.body(json!({"host": "999.1.1.2"}).to_string()).send().await.unwrap().status(), 200);
    farm.clock.advance(Duration::from_secs(31));
    farm.until("it is down", async || probe(&farm, &name).await["up"] == false).await;
    assert_ne!(probe(&farm, &name).await["since"], since);
    assert_eq!(events("machine.down").await, 4);

    let available = farm.get("/v1/availability").await;
    let counts = ["/total", "/free", "/states/listed"].map(|at| available.pointer(at).unwrap().clone());
    assert_eq!(counts, [1, 1, 3]);
    let short = farm.reserve(&ask("alice", 2, 60)).await.unwrap_err();
    assert!(short.contains("only 1 of 2 machines are free"), "{short}");
    let mut by_name = ask("alice", 1, 60);
    (by_name.count, by_name.machines) = (None, vec![name.clone()]);
    let refused = farm.reserve(&by_name).await.unwrap_err();
    assert!(refused.contains(&format!("`{name}` (listed)")), "{refused}");
    assert_eq!(farm.get("/machines").await["machines"].as_array().unwrap().len(), 1);
    assert_eq!(farm.get("/available").await, json!({"available": ["m1"], "reserved": []}));
}

async fn what_is_deleted_may_be_listed_again(farm: Farm) {
    // Three that would be called alike.
    for ip in ["???", "!!!", "media-server"] {
        register(&farm, ip).await;
    }
    let names: Vec<_> = farm.machine_views().await.iter().map(|machine| machine.name.to_string()).collect();
    assert_eq!(names[0], "media-server");
    assert!(names[1..].iter().all(|name| name.starts_with("media-server-") && name.len() == 21), "{names:?}");
    for round in 0..2 {
        let gone = sent(&farm, None, &Method::DELETE, "/server/delete?ip=???", &Value::Null).await;
        assert_eq!(gone.0, 200, "{round}: {}", gone.1);
        assert_eq!(farm.machine_views().await.len(), 2);
        register(&farm, "???").await;
    }
    // The other way to be rid of one.
    let retired = farm.http.delete(format!("{}/v1/machines/{}", farm.url(), names[1])).send().await.unwrap();
    assert!(retired.status().is_success());
    farm.until("it has gone", async || farm.machine_views().await.len() == 2).await;
    assert_eq!(farm.get("/server/getAll").await["payload"].as_array().unwrap().len(), 2);
}

/// Whatever other machines are called.
async fn a_server_finds_a_name(farm: Farm) {
    let machine = async |name: &str| {
        let body = json!({"name": name, "host": "192.0.2.1"}).to_string();
        let made = farm.http.post(format!("{}/v1/machines", farm.url())).body(body).send().await.unwrap();
        assert_eq!(made.status(), 201);
    };
    let named = async || {
        let listed = farm.get("/v1/machines?state=listed").await;
        listed["items"][0]["name"].as_str().unwrap().to_owned()
    };
    machine("0").await;
    register(&farm, "0").await;
    let second = named().await;
    assert!(second.starts_with("0-"), "{second}");
    let (status, _) = sent(&farm, None, &Method::DELETE, "/server/delete", &server("0")).await;
    assert_eq!(status, 200);
    machine(&second).await;
    register(&farm, "0").await;
    let third = named().await;
    assert!(third.starts_with("0-") && third != second, "{third}");
}
