//! Bad input: a clear 4xx that names the field, and nothing changed.

use tests::{Database, Farm};

/// Body of a reservation, status, field.
fn cases() -> Vec<(String, u16, Option<&'static str>)> {
    let with = |field: &str, value: &str| {
        let mut body = serde_json::json!({"username": "alice", "password": "pw", "duration": "1h"});
        body[field] = serde_json::from_str(value).unwrap();
        body.to_string()
    };
    let long = format!("\"{}\"", "a".repeat(33));
    let mut cases: Vec<(String, u16, Option<&'static str>)> = vec![
        (String::new(), 400, None),
        ("{".to_owned(), 400, None),
        ("[]".to_owned(), 400, None),
        ("null".to_owned(), 400, None),
        (r#"{"username":"alice","duration":"1h"}"#.to_owned(), 422, Some("password")),
        (r#"{"username":"alice","password":"pw"}"#.to_owned(), 400, Some("duration")),
        (r#"{"password":"pw","duration":"1h"}"#.to_owned(), 400, None),
        (format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), 400, None),
        (format!(r#"{{"username":"{}"}}"#, "a".repeat(10 << 20)), 413, None),
    ];
    for (field, value) in [
        ("username", "\"..\""),
        ("username", "\"a;id\""),
        ("username", "\"root\""),
        ("username", long.as_str()),
        ("username", "\"al\\nice\""),
        ("username", "\"\""),
        ("username", "7"),
        ("username", "null"),
        ("count", "0"),
        ("count", "-1"),
        ("count", "1000000000"),
        ("count", "\"2\""),
        ("count", "1.5"),
        ("duration", "0"),
        ("duration", "-5"),
        ("duration", "9223372036854775807"),
        ("duration", "\"0s\""),
        ("duration", "\"soon\""),
        ("duration", "9223372036854775808"),
        ("duration", "[]"),
        ("password", "\"a\\nb\""),
        ("password", "\"\""),
        ("password", "\"a\\u0001b\""),
        ("ssh_keys", "[\"hello\"]"),
        ("ssh_keys", "\"hello\""),
        ("shell", "\"bash\""),
        ("shell", "\"/bin/sh -c id\""),
        ("groups", "[\"docker\"]"),
        ("groups", "[\"a b\"]"),
        ("machines", "[\"../etc\"]"),
        ("machines", "[\"m1\",\"m1\"]"),
        ("password_hash", "\"x\""),
        ("until", "\"soon\""),
        ("wait", "61"),
        ("wait", "-1"),
        ("colour", "1"),
        ("sudo", "\"yes\""),
        ("labels", "{\"a\":1}"),
    ] {
        let named: Option<&'static str> = match field {
            "username" => Some("username"),
            "count" => Some("count"),
            "duration" => Some("duration"),
            "password" => Some("password"),
            "ssh_keys" => Some("ssh_keys"),
            "shell" => Some("shell"),
            "groups" => Some("groups"),
            "machines" => Some("machines"),
            "until" => Some("until"),
            "colour" => Some("colour"),
            "sudo" => Some("sudo"),
            "labels" => Some("labels"),
            "wait" => Some("wait"),
            _ => None,
        };
        cases.push((with(field, value), 400, named));
    }
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_reservation_is_refused_by_field_and_changes_nothing() {
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.add_machines(1).await;
    let before = farm.get("/v1/events?limit=1000").await;
    for (body, status, field) in cases() {
        let shown: String = body.chars().take(120).collect();
        let response = farm.post("/v1/reservations", body.as_str()).await;
        assert_eq!(response.status().as_u16(), status, "{shown}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{shown}");
        let problem: serde_json::Value = response.json().await.unwrap();
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 5), "{shown}: {problem}");
        if let Some(field) = field {
            assert!(
                problem["field"].as_str().is_some_and(|named| named.starts_with(field)),
                "{shown}: {problem}"
            );
        }
    }
    assert_eq!(farm.get("/v1/events?limit=1000").await, before);
    assert_eq!(farm.get("/v1/availability").await["free"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_places_methods_and_parameters() {
    let farm = Farm::new(Database::Sqlite).await;
    let send = |method: reqwest::Method, path: &str| {
        farm.http.request(method, format!("{}{path}", farm.url())).send()
    };
    for (method, path, status) in [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/machines/nobody", 404),
        ("GET", "/v1/reservations/not-an-id", 404),
        ("DELETE", "/v1/reservations/0198c0de-0000-7000-8000-000000000000", 404),
        ("PUT", "/v1/machines", 405),
        ("GET", "/v1/machines?colour=red", 400),
        ("GET", "/v1/machines?limit=0", 400),
        ("GET", "/v1/machines?state=sleepy", 400),
        ("GET", "/v1/machines?cursor=x", 400),
        ("GET", "/v1/machines/nobody/cleanings", 404),
        ("GET", "/v1/machines/nobody/cleanings?cursor=x", 400),
        ("POST", "/v1/machines/nobody/clean", 404),
        ("DELETE", "/v1/machines/nobody/clean", 405),
        ("POST", "/v1/pools/nobody/accept-losses", 404),
        ("POST", "/v1/agent/sync", 404),
    ] {
        let response = send(method.parse().unwrap(), path).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
    }
    let elsewhere =
        farm.http.get(format!("{}/v1/machines", farm.url())).header("host", "evil.example").send();
    assert_eq!(elsewhere.await.unwrap().status(), 403, "a page that rebinds its name");
}
