//! The machine manager: every row of what it answered, while the server is open and once there are accounts.

use super::{Row, ask_all};
use crate::accounts::send;
use crate::on_both_databases;
use futures_util::future::join_all;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::time::Duration;
use tests::farm::by;
use tests::real::{By, RealFarm, inside, ssh};
use tests::sshd::{PASSWORD, Sshd};
use tests::{Database, Farm, ask, has_account, ours};

on_both_databases!(
    an_open_server_answers_as_it_did,
    with_accounts_everybody_has_what_is_theirs,
    of_many_who_ask_for_the_last_machine_one_gets_it,
    a_held_machine_loses_its_account_before_it_goes,
);

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAtLWuYvYn4lXWLCWGOdrD1VB3bVdtyNV6O1gFi0ELrB a@b";

fn said(status: &str, message: &str) -> Value {
    json!({"status": status, "message": message})
}

fn error(text: &str) -> Value {
    json!({ "error": text })
}

/// `m1` is at port 2201, `m2` at 2202, …
fn seats(numbers: &[u16]) -> Value {
    let seat =
        |number: &u16| json!({"machine": format!("m{number}"), "host": "127.0.0.1", "port": 2200 + number});
    numbers.iter().map(seat).collect()
}

/// What whoever reserved is told, at this moment.
fn reserved(farm: &Farm, username: &str, numbers: &[u16], minutes: u64) -> Value {
    let until = farm.clock.now() + Duration::from_secs(60 * minutes);
    json!({
        "status": "success", "username": username, "password": "test", "machines": seats(numbers),
        "reserved_until": until, "duration_minutes": minutes,
    })
}

async fn an_open_server_answers_as_it_did(mut farm: Farm) {
    farm.add_machines(3).await;
    machines_are_kept(&farm).await;
    what_makes_no_sense_is_refused(&farm).await;
    reservations_are_kept(&farm).await;
}

async fn machines_are_kept(farm: &Farm) {
    let new = json!({"name": "m9", "host": "192.0.2.9", "port": "2209"});
    let (status, added) = send(farm, &farm.http, Method::POST, "/machines", new.clone()).await;
    assert_eq!(
        (status, &added["status"], &added["message"]),
        (201, &json!("success"), &json!("Machine m9 added."))
    );
    assert!(added["join_token"].as_str().is_some_and(|token| token.starts_with("berth_join_")), "{added}");
    let row =
        |name: &str, host: &str, port: u16| json!({"name": name, "host": host, "port": port, "user": "root"});
    let m = |number: u16| row(&format!("m{number}"), "127.0.0.1", 2200 + number);
    let rows: Vec<Row> = vec![
        ("POST", "/machines", new, 400, said("error", "Machine name already exists.")),
        ("POST", "/machines", json!({"name": "m8", "host": "192.0.2.8"}), 201, Value::Null),
        (
            "GET",
            "/machines",
            Value::Null,
            200,
            json!({"machines": [m(1), m(2), m(3), row("m9", "192.0.2.9", 2209), row("m8", "192.0.2.8", 22)]}),
        ),
        ("GET", "/available", Value::Null, 200, json!({"available": ["m1", "m2", "m3"], "reserved": []})),
        ("DELETE", "/machines/m9", Value::Null, 200, said("success", "Machine m9 removed.")),
        ("DELETE", "/machines/m8", Value::Null, 200, said("success", "Machine m8 removed.")),
        ("DELETE", "/machines/nobody", Value::Null, 404, Value::Null),
        ("PUT", "/machines", json!({}), 405, Value::Null),
    ];
    ask_all(farm, &farm.http, rows).await;
    farm.until("they are gone", async || farm.machine_views().await.len() == 3).await;
}

async fn what_makes_no_sense_is_refused(farm: &Farm) {
    for (path, says) in [
        ("/reserve", "give `username`"),
        ("/reserve?username=", "give `username`"),
        ("/reserve?username=root", "`username`: `root` belongs to the system; choose another name"),
        ("/reserve?username=alice&count=0", "`count`"),
        ("/reserve?username=alice&count=two", "`count` must be a whole number"),
        ("/reserve?username=alice&duration=0", "`duration` must be 1 minute or more"),
        ("/reserve?username=alice&duration=", "`duration` must be a whole number"),
        ("/reserve?username=alice&label=", "leave `label` out, or give it as `name=value`"),
        ("/reserve?username=alice&password=", "`password`"),
        ("/reserve?username=alice&ssh_key=hello", "`ssh_keys`"),
        ("/reserve?username=alice&username=bob", "the parameter `username` comes twice"),
    ] {
        let (status, answer) = send(farm, &farm.http, Method::GET, path, Value::Null).await;
        assert!(status == 400 && answer["error"].as_str().unwrap().starts_with(says), "{path}: {answer}");
    }
    for (path, body, field) in [
        ("/reserve", json!({"username": "alice", "label": ""}), "error"),
        ("/reserve", json!({"username": "alice", "count": 1.5}), "error"),
        ("/reserve", json!({"username": "alice", "duration": []}), "error"),
        ("/reserve", json!([]), "error"),
        ("/machines", json!({"host": "h"}), "message"),
        ("/machines", json!({"name": "../m", "host": "h"}), "message"),
        ("/machines", json!({"name": "m7", "host": "h", "port": "x"}), "message"),
        ("/machines", json!({"name": "m7", "host": "h", "port": 70000}), "message"),
    ] {
        let (status, answer) = send(farm, &farm.http, Method::POST, path, body.clone()).await;
        assert!(status == 400 && answer[field].is_string(), "{path} {body}: {answer}");
    }
    assert_eq!(farm.get("/available").await["available"], json!(["m1", "m2", "m3"]), "it changed nothing");
}

async fn reservations_are_kept(farm: &Farm) {
    let listed = |username: &str, machine: &str, minutes: u64| {
        let end = farm.clock.now() + Duration::from_secs(60 * minutes);
        let remaining = format!("{minutes}.0 minutes remaining");
        json!({"username": username, "machine": machine, "expiration_time": end, "time_remaining": remaining})
    };
    let labelled =
        json!({"username": "carl", "count": "1", "duration": 5, "label": "name=m3", "ssh_key": KEY});
    let rows: Vec<Row> = vec![
        ("GET", "/reserve?username=alice&count=4", Value::Null, 400, error("Only 3 machines available")),
        ("GET", "/reserve?username=alice&more=1", Value::Null, 200, reserved(farm, "alice", &[1], 60)),
        ("POST", "/reserve", labelled, 200, reserved(farm, "carl", &[3], 5)),
        ("GET", "/reserve?username=eve&count=2", Value::Null, 400, error("Only 1 machines available")),
        ("GET", "/available", Value::Null, 200, json!({"available": ["m2"], "reserved": ["m1", "m3"]})),
        (
            "GET",
            "/reservations",
            Value::Null,
            200,
            json!({"reservations": [listed("alice", "m1", 60), listed("carl", "m3", 5)]}),
        ),
    ];
    ask_all(farm, &farm.http, rows).await;
    assert!(has_account(&farm.machine("m1").host, "alice") && has_account(&farm.machine("m3").host, "carl"));
    farm.clock.advance(Duration::from_secs(90));
    let left = farm.get("/reservations").await["reservations"][0]["time_remaining"].clone();
    assert_eq!(left, "58.5 minutes remaining");
    let rows: Vec<Row> =
        vec![("GET", "/release_all", Value::Null, 200, said("success", "All machines released"))];
    ask_all(farm, &farm.http, rows).await;
    for machine in &farm.machines {
        assert_eq!(ours(&machine.host), Vec::<String>::new(), "{} when it is answered", machine.name);
    }
    let rows: Vec<Row> = vec![
        ("GET", "/release_all", Value::Null, 200, said("success", "No machines to release")),
        ("GET", "/reservations", Value::Null, 200, json!({"reservations": []})),
        ("HEAD", "/release_all", Value::Null, 405, Value::Null),
    ];
    ask_all(farm, &farm.http, rows).await;
    // The machines have an account `bob` of their own.
    let (status, failed) = send(farm, &farm.http, Method::GET, "/reserve?username=bob", Value::Null).await;
    assert_eq!((status, &failed["error"]), (500, &json!("Failed to create user")));
    assert!(failed["details"].as_str().unwrap().contains("`bob` exists already on this machine"), "{failed}");
}

/// An account of its own.
async fn user(farm: &Farm, name: &str) -> Client {
    let body = json!({"name": name, "password": "a horse, a battery"});
    assert_eq!(send(farm, &farm.http, Method::POST, "/v1/accounts", body).await.0, 201);
    by(&farm.log_in(name, "a horse, a battery").await.unwrap())
}

async fn with_accounts_everybody_has_what_is_theirs(mut farm: Farm) {
    farm.add_machines(3).await;
    farm.lock().await;
    let (alice, bob) = (user(&farm, "alice").await, user(&farm, "bob").await);
    for (method, path, field) in [
        (Method::POST, "/machines", "message"),
        (Method::GET, "/machines", "message"),
        (Method::DELETE, "/machines/m1", "message"),
        (Method::GET, "/available", "message"),
        (Method::GET, "/reserve?username=eve", "error"),
        (Method::POST, "/reserve", "error"),
        (Method::GET, "/reservations", "error"),
        (Method::GET, "/release_all", "message"),
    ] {
        let body = json!({"name": "m9", "host": "h", "username": "eve"});
        let (status, answer) = send(&farm, &Client::new(), method.clone(), path, body.clone()).await;
        assert!(status == 401 && answer[field].is_string(), "{method} {path}: {status} {answer}");
        if path.starts_with("/machines") && method != Method::GET {
            let (status, answer) = send(&farm, &alice, method.clone(), path, body).await;
            assert!(status == 403 && answer[field].is_string(), "{method} {path}: {status} {answer}");
        }
    }
    let reserve = async |http: &Client, path: &str| {
        let (status, made) = send(&farm, http, Method::GET, path, Value::Null).await;
        assert_eq!(status, 200, "{made}");
        made["password"].as_str().unwrap().to_owned()
    };
    let hers = reserve(&alice, "/reserve?username=al").await;
    let his = reserve(&bob, "/reserve?username=bo").await;
    assert_eq!(reserve(&farm.http, "/reserve?username=ro&password=of%20my%20own").await, "of my own");
    assert!(hers.len() == 24 && hers != his, "one was made for each: {hers} {his}");
    let text = async |http: &Client, path: &str| {
        http.get(format!("{}{path}", farm.url())).send().await.unwrap().text().await.unwrap()
    };
    for path in ["/reservations", "/v1/reservations", "/v1/events?limit=1000", "/machines", "/available"] {
        let shown = text(&farm.http, path).await;
        assert!(!shown.contains(&hers) && !shown.contains(&his), "{path}");
    }
    let names = async |http: &Client| {
        let (_, list) = send(&farm, http, Method::GET, "/reservations", Value::Null).await;
        let rows = list["reservations"].as_array().unwrap().clone();
        rows.iter().map(|row| row["username"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((names(&alice).await, names(&farm.http).await.len()), (vec!["al".to_owned()], 3));
    let released = send(&farm, &alice, Method::GET, "/release_all", Value::Null).await;
    assert_eq!(released, (200, said("success", "All machines released")));
    assert_eq!(names(&farm.http).await, ["bo", "ro"], "what was hers");
    let released = send(&farm, &farm.http, Method::GET, "/release_all", Value::Null).await;
    assert_eq!((released.0, names(&bob).await), (200, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_made_is_kept_nowhere() {
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.add_machines(1).await;
    farm.lock().await;
    let made = farm.get("/reserve?username=al").await;
    let password = made["password"].as_str().unwrap();
    let stored = farm.stored();
    let has = |text: &str| stored.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(has("$6$") && !has(password));
}

async fn of_many_who_ask_for_the_last_machine_one_gets_it(mut farm: Farm) {
    farm.add_machines(1).await;
    for round in 0..5 {
        let asked = (0..20).map(|number| {
            let path = format!("/reserve?username=user{number}");
            let farm = &farm;
            async move { send(farm, &farm.http, Method::GET, &path, Value::Null).await }
        });
        let (won, lost): (Vec<_>, Vec<_>) =
            join_all(asked).await.into_iter().partition(|(status, _)| *status == 200);
        assert_eq!(won.len(), 1, "round {round}");
        let expected = (400, error("Only 0 machines available"));
        assert!(lost.iter().all(|answer| *answer == expected), "round {round}: {lost:?}");
        assert!(has_account(&farm.machine("m1").host, won[0].1["username"].as_str().unwrap()));
        assert_eq!(farm.get("/release_all").await["status"], "success");
        farm.until_free(1).await;
    }
}

async fn a_held_machine_loses_its_account_before_it_goes(mut farm: Farm) {
    farm.add_machines(1).await;
    assert_eq!(farm.get("/reserve?username=alice").await["status"], "success");
    farm.stop_agent(0).await;
    let removed = send(&farm, &farm.http, Method::DELETE, "/machines/m1", Value::Null).await;
    assert_eq!(removed, (200, said("success", "Machine m1 removed.")));
    assert!(has_account(&farm.machine("m1").host, "alice"), "nobody could take it away yet");
    assert_eq!(farm.get("/machines").await["machines"][0]["name"], "m1", "so the machine is still there");
    assert_eq!(farm.get("/available").await, json!({"available": [], "reserved": []}), "but not for others");
    farm.start_agent(0);
    farm.until("it has gone", async || farm.get("/machines").await == json!({"machines": []})).await;
    assert_eq!(ours(&farm.machine("m1").host), Vec::<String>::new());
}

/// As a list of its machines has them: an address, and the password of root.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_a_password_is_logged_in_to_by_the_server() {
    let farm = RealFarm::start("debug").await;
    let sshd = Sshd::debian("");
    let new =
        json!({"name": "c1", "host": "127.0.0.1", "port": sshd.port, "user": "root", "password": PASSWORD});
    let added = farm.send("POST", "/machines", &new).await;
    assert_eq!(added, (201, said("success", "Machine c1 added.")));
    assert_eq!(
        farm.send("POST", "/machines", &new).await,
        (400, said("error", "Machine name already exists."))
    );
    farm.machine_is("c1", "free").await;
    let made = farm.get("/reserve?username=alice").await;
    assert_eq!(made["status"], "success", "{made} {}", farm.log());
    let view = farm.get("/v1/reservations").await["items"][0]["machines"][0].clone();
    let output = ssh(&serde_json::from_value(view).unwrap(), "alice", &By::Password("test"), "id -un");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "alice\n", "{output:?}");
    assert_eq!(farm.get("/release_all").await["message"], "All machines released");
    let removed = farm.send("DELETE", "/machines/c1", &Value::Null).await;
    assert_eq!(removed, (200, said("success", "Machine c1 removed.")));
    assert!(!sshd.container.run("cat /etc/passwd").contains("alice"));
    assert!(!farm.log().contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn e2e_its_password_logs_in_the_moment_it_answers() {
    let farm = RealFarm::start("debug").await;
    let pool = format!("mgr{}", std::process::id());
    farm.pool(&pool, "berth-alpine", 1).await;
    let made = farm.get("/reserve?username=alice").await;
    assert_eq!((&made["status"], &made["password"]), (&json!("success"), &json!("test")), "{made}");
    let view = farm.get("/v1/reservations").await["items"][0]["machines"][0].clone();
    let seat = serde_json::from_value(view).unwrap();
    let output = ssh(&seat, "alice", &By::Password("test"), "id -un");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "alice\n", "{output:?}");
    assert_eq!(farm.get("/release_all").await["message"], "All machines released");
    assert!(
        !inside(&seat.name.to_string(), "cat /etc/passwd").contains("alice"),
        "and it is gone when that answers"
    );
    farm.pool(&pool, "berth-alpine", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_being_cleaned_is_in_neither_list() {
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.add_machines(2).await;
    let made = farm.reserve(&ask("alice", 1, 60)).await.unwrap();
    farm.stop_agent(0).await;
    let path = format!("/v1/reservations/{}?wait=0", made.id);
    assert_eq!(send(&farm, &farm.http, Method::DELETE, &path, Value::Null).await.1["phase"], "ending");
    assert_eq!(farm.get("/available").await, json!({"available": ["m2"], "reserved": []}));
    farm.start_agent(0);
    farm.until_free(2).await;
}
