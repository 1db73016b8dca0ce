//! The users API: names, and passwords of which it is told the SHA-1 digest.

use super::{Row, ask_all};
use crate::accounts::send;
use crate::on_both_databases;
use futures_util::future::join_all;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tests::farm::{ADMIN, by};
use tests::{Database, Farm, ask, has_account, ours};

on_both_databases!(
    users_come_and_go_in_its_words,
    the_first_user_of_an_open_server_locks_it,
    a_digest_lets_its_password_in_and_nothing_else,
    of_many_who_add_a_user_one_does,
    a_user_goes_with_their_reservations,
);

const PASSWORD: &str = "test";
/// Of `PASSWORD`.
const SHA1: &str = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";
const USERS: &str = "/api/v1/users";

fn said(message: &str) -> Value {
    json!({ "message": message })
}

fn adding(name: &str) -> Value {
    json!({"username": name, "password": SHA1})
}

async fn users_come_and_go_in_its_words(mut farm: Farm) {
    farm.lock().await;
    let missing = || said("username or password missing");
    let no_digest = || said("password not in sha1 format. Enter a proper format");
    let rows: Vec<Row> = vec![
        ("GET", USERS, Value::Null, 204, Value::Null),
        ("POST", USERS, json!({"username": "bob"}), 400, missing()),
        ("POST", USERS, json!({"password": SHA1}), 400, missing()),
        ("POST", USERS, json!({"username": "", "password": SHA1}), 400, missing()),
        ("POST", USERS, json!({"username": "bob", "password": null}), 400, missing()),
        ("POST", USERS, json!({"username": "bob", "password": "test"}), 400, no_digest()),
        ("POST", USERS, json!({"username": "bob", "password": SHA1.replace('a', "g")}), 400, no_digest()),
        ("POST", USERS, json!({"username": "bob", "password": SHA1, "more": 1}), 201, said("User bob added")),
        ("POST", USERS, json!({"username": "bob", "password": "x"}), 400, said("user bob already exists")),
        (
            "POST",
            USERS,
            json!({"username": "al", "password": SHA1.to_uppercase()}),
            201,
            said("User al added"),
        ),
        ("GET", USERS, Value::Null, 200, json!(["bob", "al"])),
        ("DELETE", "/api/v1/users/bob", Value::Null, 200, said("user bob removed")),
        ("DELETE", "/api/v1/users/bob", Value::Null, 400, said("User doesn't exist")),
        ("POST", USERS, adding("bob"), 201, said("User bob added")),
        ("GET", USERS, Value::Null, 200, json!(["al", "bob"])),
        ("PUT", USERS, json!({}), 405, Value::Null),
        ("GET", "/api/v1/users/bob", Value::Null, 405, Value::Null),
    ];
    ask_all(&farm, &farm.http, rows).await;
    let (status, odd) = send(&farm, &farm.http, Method::POST, USERS, adding("Bob Builder")).await;
    let says = odd["message"].as_str().unwrap();
    assert!(status == 400 && says.starts_with("`username`: use 1 to 63 of"), "{odd}");
    let (status, last) = send(&farm, &farm.http, Method::DELETE, "/api/v1/users/root", Value::Null).await;
    let says = last["message"].as_str().unwrap();
    assert!(status == 400 && says.contains("`root` is the last admin: make another one first"), "{last}");
    for garbage in ["", "[]", "{", "username=bob"] {
        let answer = farm.post(USERS, garbage).await;
        assert_eq!(answer.status(), 400, "{garbage}");
        assert!(answer.json::<Value>().await.unwrap()["message"].is_string(), "{garbage}");
    }
    let as_bob = by(&farm.log_in("bob", PASSWORD).await.unwrap());
    for (http, status) in [(&Client::new(), 401), (&as_bob, 403)] {
        for (method, path) in
            [(Method::GET, USERS), (Method::POST, USERS), (Method::DELETE, "/api/v1/users/al")]
        {
            let (seen, answer) = send(&farm, http, method.clone(), path, adding("eve")).await;
            assert!(seen == status && answer["message"].is_string(), "{method} {path}: {seen} {answer}");
        }
    }
    assert_eq!(farm.get(USERS).await, json!(["al", "bob"]), "refusals changed nothing");
    let home = farm.http.get(format!("{}/", farm.url())).send().await.unwrap();
    assert!(home.status() == 200 && home.text().await.unwrap().contains("/api/v1/users"));
}

async fn the_first_user_of_an_open_server_locks_it(mut farm: Farm) {
    let nobody = Client::new();
    let rows: Vec<Row> = vec![
        ("GET", USERS, Value::Null, 204, Value::Null),
        ("POST", USERS, adding("bob"), 201, said("User bob added")),
        ("GET", USERS, Value::Null, 401, Value::Null),
        ("POST", USERS, adding("eve"), 401, Value::Null),
    ];
    ask_all(&farm, &nobody, rows).await;
    let token = farm.log_in("bob", PASSWORD).await.unwrap();
    farm.admit(&token);
    assert_eq!(farm.get(USERS).await, json!(["bob"]), "an admin that was made here is listed");
    assert_eq!(farm.get("/v1/me").await["account"]["role"], "admin");
}

async fn a_digest_lets_its_password_in_and_nothing_else(mut farm: Farm) {
    farm.lock().await;
    assert_eq!(farm.post(USERS, adding("bob").to_string().as_str()).await.status(), 201);
    for wrong in [SHA1, "TEST", "sha1:", ""] {
        assert_eq!(farm.log_in("bob", wrong).await, Err(401), "{wrong}");
        farm.clock.advance(std::time::Duration::from_secs(3600));
    }
    let basic = Client::new().get(format!("{}/v1/me", farm.url())).basic_auth("bob", Some(PASSWORD));
    assert_eq!(basic.send().await.unwrap().status(), 200);
    let as_bob = by(&farm.log_in("bob", PASSWORD).await.unwrap());
    let change = |current: &str| json!({"password": "a horse, a battery", "current_password": current});
    assert_eq!(send(&farm, &as_bob, Method::PATCH, "/v1/me", change(SHA1)).await.0, 422);
    assert_eq!(send(&farm, &as_bob, Method::PATCH, "/v1/me", change(PASSWORD)).await.0, 200);
    assert_eq!(farm.log_in("bob", PASSWORD).await, Err(401), "it has another password now");
    assert!(farm.log_in("bob", "a horse, a battery").await.is_ok());
    let admin = by(&farm.log_in("root", ADMIN).await.unwrap());
    assert_eq!(send(&farm, &admin, Method::GET, USERS, Value::Null).await.1, json!(["bob"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_is_stored_as_no_digest() {
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.lock().await;
    assert_eq!(farm.post(USERS, adding("bob").to_string().as_str()).await.status(), 201);
    let stored = farm.stored();
    let has = |text: &str| stored.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(has("sha1:$2b$") && !has(SHA1));
}

async fn of_many_who_add_a_user_one_does(mut farm: Farm) {
    farm.lock().await;
    let asked = (0..10).map(|_| send(&farm, &farm.http, Method::POST, USERS, adding("bob")));
    let mut answers = join_all(asked).await;
    answers.sort_by_key(|(status, _)| *status);
    assert_eq!(answers.remove(0), (201, said("User bob added")));
    assert!(answers.iter().all(|answer| *answer == (400, said("user bob already exists"))), "{answers:?}");
}

async fn a_user_goes_with_their_reservations(mut farm: Farm) {
    farm.add_machines(1).await;
    farm.lock().await;
    assert_eq!(farm.post(USERS, adding("bob").to_string().as_str()).await.status(), 201);
    let as_bob = by(&farm.log_in("bob", PASSWORD).await.unwrap());
    let asked = serde_json::to_value(ask("builder", 1, 60)).unwrap();
    assert_eq!(send(&farm, &as_bob, Method::POST, "/v1/reservations", asked).await.0, 201);
    assert!(has_account(&farm.machine("m1").host, "builder"));
    let gone = send(&farm, &farm.http, Method::DELETE, "/api/v1/users/bob", Value::Null).await;
    assert_eq!(gone, (200, said("user bob removed")));
    farm.until_free(1).await;
    assert_eq!(ours(&farm.machine("m1").host), Vec::<String>::new());
    assert_eq!(send(&farm, &as_bob, Method::GET, "/v1/me", Value::Null).await.0, 401);
}
