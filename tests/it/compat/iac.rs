//! The later dialect of the machine manager, below `/iac`: everybody logs in, and sees what is theirs.

mod reservations;

use super::{Row, ask_all};
use crate::accounts::send;
use crate::on_both_databases;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::time::Duration;
use tests::farm::{ADMIN, TTL, by};
use tests::{Farm, has_account};

on_both_databases!(
    everybody_is_told_what_they_may,
    a_log_in_is_a_token_for_a_while,
    users_are_made_changed_and_deleted,
    machines_are_shown_to_admins_and_in_part_to_others,
    machines_are_made_changed_and_deleted,
    what_a_pool_keeps_back_is_spare,
    an_open_server_needs_no_log_in_but_for_reservations,
);

const PASSWORD: &str = "a horse, a battery";

fn no(error: &str, message: &str) -> Value {
    json!({"error": error, "message": message})
}

async fn log_in(farm: &Farm, body: Value) -> (u16, Value) {
    send(farm, &Client::new(), Method::POST, "/iac/auth/login", body).await
}

/// Makes a user; returns what it logs in with.
async fn token_of(farm: &Farm, name: &str) -> String {
    let body = json!({"username": name, "password": PASSWORD});
    assert_eq!(send(farm, &farm.http, Method::POST, "/iac/users", body).await.0, 201);
    let (status, answer) = log_in(farm, json!({"username": name, "password": PASSWORD})).await;
    assert_eq!((status, &answer["token_type"]), (200, &json!("Bearer")), "{answer}");
    answer["access_token"].as_str().unwrap().to_owned()
}

async fn user(farm: &Farm, name: &str) -> Client {
    by(&token_of(farm, name).await)
}

async fn get(farm: &Farm, http: &Client, path: &str) -> Value {
    let (status, answer) = send(farm, http, Method::GET, path, Value::Null).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// One text of each item.
fn each(list: &Value, field: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap().to_owned()).collect()
}

/// Who asks, with what, and what they are told where they may not; admins first.
const FOR_ADMINS: [(&str, &str); 8] = [
    ("GET", "/iac/users"),
    ("POST", "/iac/users"),
    ("GET", "/iac/users/nobody"),
    ("PATCH", "/iac/users/nobody"),
    ("DELETE", "/iac/users/nobody"),
    ("POST", "/iac/machines"),
    ("PATCH", "/iac/machines/nobody"),
    ("DELETE", "/iac/machines/nobody"),
];
const FOR_USERS: [(&str, &str); 7] = [
    ("GET", "/iac/auth/me"),
    ("GET", "/iac/machines"),
    ("GET", "/iac/machines/nobody"),
    ("GET", "/iac/reservations"),
    ("POST", "/iac/reservations"),
    ("GET", "/iac/reservations/0198c0de-0000-7000-8000-000000000000"),
    ("DELETE", "/iac/reservations/0198c0de-0000-7000-8000-000000000000"),
];

async fn everybody_is_told_what_they_may(mut farm: Farm) {
    farm.lock().await;
    let expired = user(&farm, "eve").await;
    farm.clock.advance(Duration::from_secs(13 * 3600));
    let admin = farm.log_in("root", ADMIN).await.unwrap();
    farm.admit(&admin);
    let alice = user(&farm, "alice").await;
    let invalid = || Some((401, no("unauthorized", "Invalid token")));
    let missing = || Some((401, no("unauthorized", "Missing Bearer token")));
    let callers = [
        ("nobody", Client::new(), missing(), missing()),
        ("a wrong token", by("berth_wrong"), invalid(), invalid()),
        ("an expired token", expired, invalid(), invalid()),
        ("a user", alice, Some((403, no("forbidden", "Missing required role: admin"))), None),
        ("an admin", farm.http.clone(), None, None),
    ];
    for (who, http, of_admins, of_users) in callers {
        for (routes, refused) in [(&FOR_ADMINS[..], of_admins), (&FOR_USERS[..], of_users)] {
            for (method, path) in routes {
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                let seen = send(&farm, &http, method.clone(), path, json!({"more": 1})).await;
                match &refused {
                    Some(refused) => assert_eq!(&seen, refused, "{method} {path} as {who}"),
                    None => assert!(![401, 403].contains(&seen.0), "{method} {path} as {who}: {seen:?}"),
                }
            }
        }
        assert_eq!(get(&farm, &http, "/iac/healthz").await, json!({"status": "ok"}), "{who}");
    }
    let head = Client::new().get(format!("{}/iac/users", farm.url())).send().await.unwrap();
    assert_eq!(head.headers()["www-authenticate"], "Bearer");
    let not_there = send(&farm, &farm.http, Method::PUT, "/iac/users", json!({})).await;
    assert_eq!((not_there.0, &not_there.1["error"]), (405, &json!("invalid_request")), "{not_there:?}");
}

async fn a_log_in_is_a_token_for_a_while(mut farm: Farm) {
    farm.lock().await;
    let body = json!({"username": "alice", "password": PASSWORD, "email": "alice@example.org"});
    assert_eq!(send(&farm, &farm.http, Method::POST, "/iac/users", body).await.0, 201);
    let wrong = || no("invalid_grant", "invalid credentials");
    for (body, status, answer) in [
        (json!({"username": "alice", "password": PASSWORD, "more": 1}), 200, Value::Null),
        (json!({"email": "alice@example.org", "password": PASSWORD}), 200, Value::Null),
        (json!({"username": "alice@example.org", "password": PASSWORD}), 200, Value::Null),
        (json!({"username": "alice", "password": "another"}), 401, wrong()),
        (json!({"username": "nobody", "password": PASSWORD}), 401, wrong()),
        (json!({"username": "alice"}), 400, Value::Null),
        (json!({"password": PASSWORD}), 400, Value::Null),
        (json!({"username": "", "password": PASSWORD}), 400, Value::Null),
        (json!({"username": 1, "password": PASSWORD}), 400, Value::Null),
    ] {
        let (seen_status, seen) = log_in(&farm, body.clone()).await;
        assert_eq!(seen_status, status, "{body}: {seen}");
        assert!(answer.is_null() || seen == answer, "{body}: {seen}");
        assert!(status != 400 || seen["error"] == "invalid_request", "{body}: {seen}");
        // Nobody has to wait for having failed before.
        farm.clock.advance(Duration::from_secs(3600));
    }
    let (_, answer) = log_in(&farm, json!({"username": "alice", "password": PASSWORD})).await;
    assert_eq!(answer["expires_in"], 12 * 3600);
    let alice = by(answer["access_token"].as_str().unwrap());
    assert_eq!(get(&farm, &alice, "/iac/auth/me").await, json!({"username": "alice", "is_admin": false}));
    let root = farm.log_in("root", ADMIN).await.unwrap();
    farm.admit(&root);
    assert_eq!(farm.get("/iac/auth/me").await, json!({"username": "root", "is_admin": true}));
    farm.clock.advance(Duration::from_secs(12 * 3600));
    let (status, over) = send(&farm, &alice, Method::GET, "/iac/auth/me", Value::Null).await;
    assert_eq!((status, over), (401, no("unauthorized", "Invalid token")));
    let root = farm.log_in("root", ADMIN).await.unwrap();
    farm.admit(&root);
}

async fn users_are_made_changed_and_deleted(mut farm: Farm) {
    farm.lock().await;
    let alice = json!({"username": "alice", "password": PASSWORD});
    let rows: Vec<Row> = vec![
        ("POST", "/iac/users", alice.clone(), 201, Value::Null),
        ("POST", "/iac/users", alice, 409, no("conflict", "there is an account `alice` already")),
        (
            "POST",
            "/iac/users",
            json!({"username": "zoe", "password": PASSWORD, "is_admin": true}),
            201,
            Value::Null,
        ),
        ("POST", "/iac/users", json!({"username": "bob", "password": "short"}), 400, Value::Null),
        ("POST", "/iac/users", json!({"username": "bob"}), 400, Value::Null),
        ("POST", "/iac/users", json!({"username": "Bob", "password": PASSWORD}), 400, Value::Null),
        ("POST", "/iac/users", json!([]), 400, Value::Null),
        ("POST", "/iac/users", json!({"username": "bob", "password": PASSWORD}), 201, Value::Null),
        ("PATCH", "/iac/users/bob", json!({"is_admin": true}), 200, Value::Null),
        ("PATCH", "/iac/users/alice", json!({"password": "another horse"}), 200, Value::Null),
        ("PATCH", "/iac/users/alice", json!({"is_admin": "yes"}), 400, Value::Null),
        ("PATCH", "/iac/users/nobody", json!({"is_admin": true}), 404, Value::Null),
        ("GET", "/iac/users/nobody", Value::Null, 404, Value::Null),
        ("DELETE", "/iac/users/nobody", Value::Null, 404, Value::Null),
        ("DELETE", "/iac/users/zoe", Value::Null, 200, json!({"message": "deleted"})),
        ("DELETE", "/iac/users/zoe", Value::Null, 404, Value::Null),
        ("PATCH", "/iac/users/bob", json!({"is_admin": false}), 200, Value::Null),
        ("PATCH", "/iac/users/root", json!({"is_admin": false}), 409, Value::Null),
        ("DELETE", "/iac/users/root", Value::Null, 409, Value::Null),
    ];
    ask_all(&farm, &farm.http, rows).await;
    let users = farm.get("/iac/users").await;
    assert_eq!(each(&users, "username"), ["root", "alice", "bob"], "in the order they were made in");
    let admins: Vec<_> = users.as_array().unwrap().iter().map(|user| user["is_admin"] == true).collect();
    assert_eq!(admins, [true, false, false]);
    let one = farm.get("/iac/users/alice").await;
    assert_eq!(one, users[1]);
    let fields: Vec<&String> = one.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["created_at", "is_admin", "user_id", "username"], "and no password");
    let events = farm.events("account.changed").await.len();
    let rows: Vec<Row> = vec![("PATCH", "/iac/users/alice", json!({}), 200, one)];
    ask_all(&farm, &farm.http, rows).await;
    assert_eq!(farm.events("account.changed").await.len(), events, "nothing was changed");
    assert_eq!(log_in(&farm, json!({"username": "alice", "password": PASSWORD})).await.0, 401);
    assert_eq!(log_in(&farm, json!({"username": "alice", "password": "another horse"})).await.0, 200);
}

async fn machines_are_shown_to_admins_and_in_part_to_others(mut farm: Farm) {
    farm.add_machines(3).await;
    farm.lock().await;
    let alice = user(&farm, "alice").await;
    let asked = json!({"count": 1, "duration_minutes": 30});
    assert_eq!(send(&farm, &alice, Method::POST, "/iac/reservations", asked).await.0, 201);
    let until = farm.clock.now() + Duration::from_secs(30 * 60);
    let first = farm.get("/iac/machines/m1").await;
    let seen_at = first["last_seen_at"].clone();
    assert!(seen_at.is_string());
    let expected = json!({
        "name": "m1", "host": "127.0.0.1", "port": 2201, "user": "root", "reserved": true, "reserved_by": "alice",
        "reserved_until": until, "enabled": true, "online": true, "last_seen_at": seen_at,
        "reserve_fail_count": 0, "quarantine_until": null, "spare_pool": false,
    });
    assert_eq!(first, expected);
    let disabled = json!({"enabled": false});
    assert_eq!(
        send(&farm, &farm.http, Method::PATCH, "/iac/machines/m3", disabled).await.1["enabled"],
        false
    );
    let part = json!({"name": "m1", "reserved": true, "reserved_until": until});
    assert_eq!(get(&farm, &alice, "/iac/machines/m1").await, part);
    let rest = json!({"name": "m2", "reserved": false, "reserved_until": null});
    assert_eq!(get(&farm, &alice, "/iac/machines").await, json!([part, rest]));
    let hidden = send(&farm, &alice, Method::GET, "/iac/machines/m3", Value::Null).await;
    assert_eq!((hidden.0, &hidden.1["error"]), (404, &json!("not_found")));
    for (query, names) in [
        ("", vec!["m1", "m2", "m3"]),
        ("eligible=true", vec!["m2"]),
        ("eligible=0", vec!["m1", "m3"]),
        ("reserved=1", vec!["m1"]),
        ("reserved=false&eligible=false", vec!["m3"]),
        ("name=m", vec!["m1", "m2", "m3"]),
        ("name=m2&more=ignored", vec!["m2"]),
        ("name=x", vec![]),
    ] {
        let list = farm.get(&format!("/iac/machines?{query}")).await;
        assert_eq!(each(&list, "name"), names, "{query}");
    }
    for query in ["eligible=maybe", "reserved=", "name=a&name=b"] {
        let path = format!("/iac/machines?{query}");
        let (status, odd) = send(&farm, &farm.http, Method::GET, &path, Value::Null).await;
        assert_eq!((status, &odd["error"]), (400, &json!("invalid_request")), "{query}");
    }
    farm.stop_agent(1).await;
    farm.clock.advance(TTL + Duration::from_secs(1));
    assert_eq!(farm.get("/iac/machines/m2").await["online"], false);
    assert_eq!(farm.get("/iac/machines?name=m2&eligible=true").await, json!([]), "nobody is given it");
    farm.start_agent(1);
    farm.until("it is heard of", async || farm.get("/iac/machines/m2").await["online"] == true).await;
}

async fn machines_are_made_changed_and_deleted(mut farm: Farm) {
    farm.lock().await;
    let made =
        send(&farm, &farm.http, Method::POST, "/iac/machines", json!({"name": "a1", "host": "192.0.2.1"}))
            .await;
    assert_eq!((made.0, &made.1["port"], &made.1["user"]), (201, &json!(22), &json!("root")), "{made:?}");
    assert!(made.1["join_token"].as_str().unwrap().starts_with("berth_join_"), "an agent is to speak for it");
    let by_ssh =
        json!({"name": "s1", "host": "127.0.0.91", "port": "1", "user": "ops", "password": "not so secret"});
    let made = send(&farm, &farm.http, Method::POST, "/iac/machines", by_ssh.clone()).await;
    assert_eq!((made.0, &made.1["port"], &made.1["user"]), (201, &json!(1), &json!("ops")), "{made:?}");
    assert_eq!((&made.1["join_token"], &made.1["online"]), (&Value::Null, &json!(false)), "{made:?}");
    let nothing = json!({"online": true, "spare_pool": true});
    let says = "no fields: give `enabled`, `host`, `port`, or `user` and `password`";
    let rows: Vec<Row> = vec![
        ("POST", "/iac/machines", by_ssh, 409, Value::Null),
        ("POST", "/iac/machines", json!({"name": "s2", "host": "h", "user": "ops"}), 400, Value::Null),
        ("POST", "/iac/machines", json!({"name": "s2", "host": "h", "port": 0}), 400, Value::Null),
        ("POST", "/iac/machines", json!({"name": "s2"}), 400, Value::Null),
        ("POST", "/iac/machines", json!({"name": "../s2", "host": "h"}), 400, Value::Null),
        ("PATCH", "/iac/machines/a1", json!({"host": "192.0.2.2", "port": "2222"}), 200, Value::Null),
        ("PATCH", "/iac/machines/a1", json!({}), 400, no("invalid_request", says)),
        ("PATCH", "/iac/machines/a1", nothing, 400, no("invalid_request", says)),
        ("PATCH", "/iac/machines/a1", json!({"enabled": "no"}), 400, Value::Null),
        ("PATCH", "/iac/machines/a1", json!({"user": "ops", "password": "pw"}), 409, Value::Null),
        ("PATCH", "/iac/machines/s1", json!({"user": "root", "password": "pw"}), 200, Value::Null),
        ("PATCH", "/iac/machines/nobody", json!({"enabled": true}), 404, Value::Null),
        ("DELETE", "/iac/machines/nobody", Value::Null, 404, Value::Null),
    ];
    ask_all(&farm, &farm.http, rows).await;
    let list = farm.get("/iac/machines").await;
    let row = |of: &Value| [of["name"].clone(), of["host"].clone(), of["port"].clone(), of["user"].clone()];
    let rows: Vec<_> = list.as_array().unwrap().iter().map(row).collect();
    let expected = [
        [json!("a1"), json!("192.0.2.2"), json!(2222), json!("root")],
        [json!("s1"), json!("127.0.0.91"), json!(1), json!("root")],
    ];
    assert_eq!(rows, expected);
    let shown = list.to_string() + &farm.get("/v1/events?limit=1000").await.to_string();
    assert!(!shown.contains("not so secret") && !shown.contains("join_token"), "{shown}");
    let deleted = || json!({"message": "deleted"});
    let rows: Vec<Row> = vec![
        ("DELETE", "/iac/machines/a1", Value::Null, 200, deleted()),
        ("DELETE", "/iac/machines/s1", Value::Null, 200, deleted()),
    ];
    ask_all(&farm, &farm.http, rows).await;
    farm.until("they have gone", async || farm.get("/iac/machines").await == json!([])).await;
}

async fn what_a_pool_keeps_back_is_spare(mut farm: Farm) {
    farm.lock().await;
    farm.pool("lab", 2, json!({"spare": 1})).await;
    let available = farm.get("/available").await;
    assert_eq!(available["available"].as_array().unwrap().len(), 1, "nor does the original's list offer it");
    let alice = user(&farm, "alice").await;
    let list = farm.get("/iac/machines").await;
    let spare: Vec<_> = list.as_array().unwrap().iter().filter(|row| row["spare_pool"] == true).collect();
    assert_eq!((list.as_array().unwrap().len(), spare.len()), (2, 1), "{list}");
    let offered = get(&farm, &alice, "/iac/machines").await;
    assert_eq!(offered.as_array().unwrap().len(), 1, "what is kept back is not shown to others");
    assert_eq!(farm.get("/iac/machines?eligible=true").await.as_array().unwrap().len(), 1);
    let spare = format!("/iac/machines/{}", spare[0]["name"].as_str().unwrap());
    assert_eq!(send(&farm, &alice, Method::GET, &spare, Value::Null).await.0, 404);
    let asked = json!({"count": 1, "duration_minutes": 30});
    let (status, made) = send(&farm, &alice, Method::POST, "/iac/reservations", asked).await;
    assert_eq!(status, 201, "{made}");
    let path = format!("/v1/reservations/{}", made["id"].as_str().unwrap());
    assert_eq!(farm.get(&path).await["on_failure"], "replace", "the spare one is for that");
}

async fn an_open_server_needs_no_log_in_but_for_reservations(mut farm: Farm) {
    farm.add_machines(1).await;
    let nobody = Client::new();
    let asked = json!({"count": 1, "duration_minutes": 5});
    let first = json!({"username": "root", "password": ADMIN, "is_admin": false});
    let rows: Vec<Row> = vec![
        ("GET", "/iac/auth/me", Value::Null, 200, json!({"username": "open", "is_admin": true})),
        ("GET", "/iac/users", Value::Null, 200, json!([])),
        ("GET", "/iac/machines?eligible=true", Value::Null, 200, Value::Null),
        ("POST", "/iac/reservations", asked.clone(), 409, Value::Null),
        ("POST", "/iac/users", first, 201, Value::Null),
        ("GET", "/iac/users", Value::Null, 401, no("unauthorized", "Missing Bearer token")),
    ];
    ask_all(&farm, &nobody, rows).await;
    let token = farm.log_in("root", ADMIN).await.unwrap();
    farm.admit(&token);
    let (status, made) = send(&farm, &farm.http, Method::POST, "/iac/reservations", asked).await;
    assert_eq!(
        (status, &made["username"]),
        (201, &json!("u-root")),
        "a name that the system claims is not taken"
    );
    assert!(has_account(&farm.machine("m1").host, "u-root"));
}
