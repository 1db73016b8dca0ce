//! Who may do what: the door is open until the first account is made, and locked from then on.

use crate::on_both_databases;
use model::audit::Chain;
use model::wire::{EventView, Page};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;
use tests::farm::{ADMIN, by};
use tests::real::binary;
use tests::{Database, Farm, ask};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const PASSWORD: &str = "a horse, a battery";

on_both_databases!(
    the_first_account_locks_the_door,
    users_have_what_is_theirs_and_no_more,
    what_was_taken_away_counts_at_once,
    what_let_somebody_in_holds_until_they_write,
    a_narrow_token_does_what_it_is_for,
    quotas_hold,
    the_last_admin_stays,
    an_account_goes_with_its_reservations_or_stays,
    what_happened_is_one_chain,
);

/// Status and body of a request by somebody.
pub(crate) async fn send(
    farm: &Farm,
    http: &Client,
    method: Method,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let request = http.request(method, format!("{}{path}", farm.url()));
    let request = if body.is_null() { request } else { request.body(body.to_string()) };
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

async fn status(farm: &Farm, http: &Client, method: Method, path: &str, body: Value) -> u16 {
    send(farm, http, method, path, body).await.0
}

/// A user, logged in.
async fn user(farm: &Farm, name: &str) -> Client {
    let body = json!({"name": name, "password": PASSWORD, "email": format!("{name}@example.org")});
    assert_eq!(status(farm, &farm.http, Method::POST, "/v1/accounts", body).await, 201);
    by(&farm.log_in(name, PASSWORD).await.unwrap())
}

fn reservation(username: &str) -> Value {
    serde_json::to_value(ask(username, 1, 60)).unwrap()
}

async fn reserve(farm: &Farm, http: &Client, username: &str) -> String {
    let (status, made) = send(farm, http, Method::POST, "/v1/reservations", reservation(username)).await;
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

async fn the_first_account_locks_the_door(mut farm: Farm) {
    farm.add_machines(1).await;
    let nobody = Client::new();
    let weak = json!({"name": "root", "password": PASSWORD, "role": "user"});
    assert_eq!(status(&farm, &nobody, Method::POST, "/v1/accounts", weak).await, 409);
    assert_eq!(status(&farm, &nobody, Method::GET, "/v1/machines", Value::Null).await, 200);
    farm.lock().await;
    for (method, path) in [
        (Method::GET, "/v1/machines"),
        (Method::POST, "/v1/machines"),
        (Method::POST, "/v1/accounts"),
        (Method::GET, "/metrics"),
        (Method::GET, "/v1/events"),
        (Method::GET, "/reserve?username=alice"),
        (Method::GET, "/release_all"),
        (Method::GET, "/machines"),
    ] {
        assert_eq!(status(&farm, &nobody, method.clone(), path, json!({})).await, 401, "{method} {path}");
    }
    for path in ["/", "/healthz"] {
        assert_eq!(status(&farm, &nobody, Method::GET, path, Value::Null).await, 200, "{path}");
    }
    assert_eq!(status(&farm, &farm.http, Method::GET, "/v1/machines", Value::Null).await, 200);
    // A server that is started anew knows it, too.
    farm.kill_server().await;
    farm.start_server(None);
    assert_eq!(status(&farm, &nobody, Method::GET, "/v1/machines", Value::Null).await, 401);
    farm.until_free(1).await;
}

async fn users_have_what_is_theirs_and_no_more(mut farm: Farm) {
    farm.add_machines(3).await;
    farm.lock().await;
    let (alice, bob) = (user(&farm, "alice").await, user(&farm, "bob").await);
    let (hers, his) = (reserve(&farm, &alice, "al").await, reserve(&farm, &bob, "bo").await);
    let visited = json!({"name": "s1", "host": "192.0.2.9", "ssh": {"user": "root", "password": "x"}});
    assert_eq!(status(&farm, &farm.http, Method::POST, "/v1/machines", visited).await, 201);
    for (who, sees) in [(&alice, false), (&farm.http, true)] {
        let (_, found) = send(&farm, who, Method::GET, "/v1/machines/s1", Value::Null).await;
        assert_eq!(found.get("ssh").is_some(), sees, "how it is logged in to concerns nobody else: {found}");
    }
    assert_eq!(status(&farm, &farm.http, Method::DELETE, "/v1/machines/s1", Value::Null).await, 200);
    let path = |id: &str| format!("/v1/reservations/{id}");
    let (_, list) = send(&farm, &alice, Method::GET, "/v1/reservations", Value::Null).await;
    let ids: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [&hers]);
    assert_eq!(list["items"][0]["account"], "alice");
    for (method, body) in [
        (Method::GET, Value::Null),
        (Method::PATCH, json!({"duration": "2h"})),
        (Method::DELETE, Value::Null),
    ] {
        assert_eq!(
            status(&farm, &alice, method, &path(&his), body).await,
            404,
            "bob's is not there for alice"
        );
    }
    let (_, all) = send(&farm, &farm.http, Method::GET, "/v1/reservations", Value::Null).await;
    assert_eq!(all["items"].as_array().unwrap().len(), 2, "an admin sees both");
    for (method, path, body) in [
        (Method::POST, "/v1/machines", json!({"name": "m9", "host": "h"})),
        (Method::PATCH, "/v1/machines/m1", json!({"cordoned": true})),
        (Method::DELETE, "/v1/machines/m1", Value::Null),
        (Method::PUT, "/v1/pools/p", json!({"provider": "simulated", "size": 1})),
        (Method::GET, "/v1/accounts", Value::Null),
        (Method::PATCH, "/v1/accounts/alice", json!({"role": "admin"})),
        (Method::PATCH, "/v1/me", json!({"role": "admin"})),
        (Method::GET, "/v1/events", Value::Null),
        (Method::GET, "/v1/machines/m1/access", Value::Null),
        (Method::GET, "/v1/tokens?account=bob", Value::Null),
        (Method::POST, "/v1/tokens", json!({"name": "x", "account": "root"})),
    ] {
        assert_eq!(status(&farm, &alice, method.clone(), path, body).await, 403, "{method} {path}");
    }
    // Her password takes her old one; and only she knows it.
    let change = |current| json!({"password": "another horse", "current_password": current});
    assert_eq!(status(&farm, &alice, Method::PATCH, "/v1/me", change("wrong")).await, 422);
    assert_eq!(status(&farm, &alice, Method::PATCH, "/v1/me", change(PASSWORD)).await, 200);
    assert_eq!(farm.log_in("alice", PASSWORD).await, Err(401));
    assert!(farm.log_in("ALICE@example.org", "another horse").await.is_ok(), "by her e-mail, too");
    assert_eq!(status(&farm, &farm.http, Method::DELETE, &path(&his), Value::Null).await, 200);
}

async fn what_was_taken_away_counts_at_once(mut farm: Farm) {
    farm.lock().await;
    let alice = user(&farm, "alice").await;
    let (_, made) = send(&farm, &alice, Method::POST, "/v1/tokens", json!({"name": "ci"})).await;
    let token = by(made["token"].as_str().unwrap());
    assert!(made["token"].as_str().unwrap().starts_with("berth_"));
    let look = async |http: &Client| status(&farm, http, Method::GET, "/v1/me", Value::Null).await;
    assert_eq!(look(&token).await, 200);
    let path = format!("/v1/tokens/{}", made["id"].as_str().unwrap());
    let bob = user(&farm, "bob").await;
    assert_eq!(status(&farm, &bob, Method::DELETE, &path, Value::Null).await, 404, "it is not his to revoke");
    assert_eq!(status(&farm, &alice, Method::DELETE, &path, Value::Null).await, 204);
    assert_eq!(look(&token).await, 401);
    let basic = async |password: &str| {
        let asked = Client::new().get(format!("{}/v1/me", farm.url())).basic_auth("bob", Some(password));
        asked.send().await.unwrap().status()
    };
    assert_eq!((basic(PASSWORD).await, basic("wrong").await), (StatusCode::OK, StatusCode::UNAUTHORIZED));
    let patch = async |body| status(&farm, &farm.http, Method::PATCH, "/v1/accounts/bob", body).await;
    assert_eq!(patch(json!({"disabled": true})).await, 200);
    assert_eq!((look(&bob).await, farm.log_in("bob", PASSWORD).await), (401, Err(401)));
    assert_eq!(
        basic(PASSWORD).await,
        StatusCode::UNAUTHORIZED,
        "what was right a moment ago is not remembered"
    );
    assert_eq!(patch(json!({"disabled": false})).await, 200);
    assert_eq!(look(&bob).await, 200);
    assert_eq!(status(&farm, &bob, Method::GET, "/v1/events", Value::Null).await, 403);
    assert_eq!(patch(json!({"role": "admin"})).await, 200);
    assert_eq!(status(&farm, &bob, Method::GET, "/v1/events", Value::Null).await, 200);
    assert_eq!(patch(json!({"password": "one that he does not know"})).await, 200);
    assert_eq!(look(&bob).await, 401, "a new password ends what the old one had opened");
    farm.clock.advance(Duration::from_secs(13 * 3600));
    assert_eq!(look(&alice).await, 401, "a log-in lasts for half a day");
    let again = farm.log_in("root", ADMIN).await.unwrap();
    farm.admit(&again);
    assert_eq!(status(&farm, &farm.http, Method::DELETE, "/v1/accounts/alice", Value::Null).await, 204);
    assert_eq!(farm.log_in("alice", PASSWORD).await, Err(401));
}

/// A request that was let in by its head, and has sent no body yet.
struct Half {
    socket: BufReader<TcpStream>,
    body: String,
}

impl Half {
    async fn of(farm: &Farm, token: Option<&str>, path: &str, body: Value) -> Self {
        let address = farm.url().strip_prefix("http://").unwrap();
        let mut socket = BufReader::new(TcpStream::connect(address).await.unwrap());
        let body = body.to_string();
        let credential = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nexpect: 100-continue\r\n\
             content-length: {}\r\n{credential}\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut said = String::new();
        socket.read_line(&mut said).await.unwrap();
        assert_eq!(said, "HTTP/1.1 100 Continue\r\n");
        Self { socket, body }
    }

    /// The status of its answer.
    async fn end(mut self) -> u16 {
        self.socket.write_all(self.body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.socket.read_to_string(&mut answer).await.unwrap();
        let status = answer.trim_start().strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        status.and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
    }
}

/// A body may come long after its head.
async fn what_let_somebody_in_holds_until_they_write(mut farm: Farm) {
    farm.add_machines(1).await;
    let of_root = json!({"name": "x", "account": "root"});
    let open = Half::of(&farm, None, "/v1/tokens", of_root).await;
    farm.lock().await;
    assert_eq!(open.end().await, 401, "whoever was let in while there was no account");
    let log_in = async |name: &str, role: &str| {
        let body = json!({"name": name, "password": PASSWORD, "role": role});
        assert_eq!(status(&farm, &farm.http, Method::POST, "/v1/accounts", body).await, 201);
        farm.log_in(name, PASSWORD).await.unwrap()
    };
    let patch = async |name: &str, body: Value| {
        let path = format!("/v1/accounts/{name}");
        assert_eq!(status(&farm, &farm.http, Method::PATCH, &path, body).await, 200);
    };
    let another = json!({"name": "another", "password": PASSWORD, "role": "admin"});
    let (anna, bea) = (log_in("anna", "admin").await, log_in("bea", "admin").await);
    let disabled = Half::of(&farm, Some(&anna), "/v1/accounts", another.clone()).await;
    let demoted = Half::of(&farm, Some(&bea), "/v1/accounts", another).await;
    patch("anna", json!({"disabled": true})).await;
    patch("bea", json!({"role": "user"})).await;
    assert_eq!((disabled.end().await, demoted.end().await), (401, 401));
    let (carl, dora) = (log_in("carl", "user").await, log_in("dora", "user").await);
    let deleted = Half::of(&farm, Some(&carl), "/v1/reservations", reservation("carl")).await;
    let revoked = Half::of(&farm, Some(&dora), "/v1/reservations", reservation("dora")).await;
    let stays =
        Half::of(&farm, Some(&log_in("emil", "user").await), "/v1/reservations", reservation("emil")).await;
    assert_eq!(status(&farm, &farm.http, Method::DELETE, "/v1/accounts/carl", Value::Null).await, 204);
    assert_eq!(status(&farm, &by(&dora), Method::DELETE, "/v1/session", Value::Null).await, 204);
    assert_eq!((deleted.end().await, revoked.end().await), (401, 401));
    assert_eq!(farm.get("/v1/availability").await["free"], 1, "neither has got anything");
    assert_eq!(status(&farm, &farm.http, Method::GET, "/v1/accounts/another", Value::Null).await, 404);
    assert_eq!(stays.end().await, 201);
}

async fn a_narrow_token_does_what_it_is_for(mut farm: Farm) {
    farm.add_machines(3).await;
    farm.lock().await;
    let token = async |scope: Value| {
        let (status, made) = send(&farm, &farm.http, Method::POST, "/v1/tokens", scope).await;
        assert_eq!(status, 201, "{made}");
        by(made["token"].as_str().unwrap())
    };
    let reads = token(json!({"name": "dashboard", "level": "read"})).await;
    assert_eq!(status(&farm, &reads, Method::GET, "/v1/events", Value::Null).await, 200);
    assert_eq!(status(&farm, &reads, Method::POST, "/v1/reservations", reservation("al")).await, 403);
    let narrow = token(json!({"name": "ci", "machines": 1, "labels": {"name": "m2"}, "longest": "1h"})).await;
    let ask_for = async |changes: Value| {
        let mut body = reservation("ci");
        body.as_object_mut().unwrap().extend(changes.as_object().cloned().unwrap());
        send(&farm, &narrow, Method::POST, "/v1/reservations", body).await
    };
    for (changes, field) in [
        (json!({"count": 2}), "count"),
        (json!({"duration": "2h"}), "duration"),
        (json!({"labels": {"name": "m1"}}), "labels"),
        (json!({"count": null, "machines": ["m1"]}), "machines"),
    ] {
        let (status, refusal) = ask_for(changes).await;
        assert_eq!((status, refusal["field"].as_str()), (422, Some(field)), "{refusal}");
    }
    let (status_of, made) = ask_for(json!({})).await;
    assert_eq!((status_of, made["machines"][0]["name"].as_str()), (201, Some("m2")));
    let path = format!("/v1/reservations/{}", made["id"].as_str().unwrap());
    assert_eq!(status(&farm, &narrow, Method::PATCH, &path, json!({"duration": "2h"})).await, 422);
    // It makes nothing that could do more, though its account may.
    for (method, path, body) in [
        (Method::POST, "/v1/tokens", json!({"name": "wide"})),
        (Method::POST, "/v1/accounts", json!({"name": "eve", "password": PASSWORD})),
        (Method::PATCH, "/v1/me", json!({"password": PASSWORD, "current_password": ADMIN})),
        (Method::PATCH, "/v1/machines/m1", json!({"cordoned": true})),
    ] {
        assert_eq!(status(&farm, &narrow, method, path, body).await, 403, "{path}");
    }
    assert_eq!(status(&farm, &narrow, Method::DELETE, &path, Value::Null).await, 200);
}

async fn quotas_hold(mut farm: Farm) {
    farm.add_machines(3).await;
    farm.lock().await;
    let alice = user(&farm, "alice").await;
    let quota = json!({"quota": {"machines": 2, "hours_per_week": 5, "longest_hours": 3}});
    assert_eq!(status(&farm, &farm.http, Method::PATCH, "/v1/accounts/alice", quota).await, 200);
    let asks = async |count: i64, hours: i64| {
        let body = serde_json::to_value(ask("al", count, hours * 60)).unwrap();
        send(&farm, &alice, Method::POST, "/v1/reservations", body).await
    };
    for (count, hours, word) in [(3, 1, "at once"), (1, 4, "may last"), (2, 3, "seven days")] {
        let (status, refusal) = asks(count, hours).await;
        assert_eq!((status, refusal["type"].as_str()), (403, Some("urn:berth:quota")), "{refusal}");
        assert!(refusal["detail"].as_str().unwrap().contains(word), "{refusal}");
    }
    let (status_of, made) = asks(2, 2).await;
    assert_eq!(status_of, 201, "{made}");
    let path = format!("/v1/reservations/{}", made["id"].as_str().unwrap());
    assert_eq!(status(&farm, &alice, Method::PATCH, &path, json!({"duration": "3h"})).await, 403);
    assert_eq!(asks(1, 1).await.0, 403, "she has two already");
    assert_eq!(status(&farm, &farm.http, Method::PATCH, &path, json!({"duration": "3h"})).await, 200);
    assert_eq!(status(&farm, &alice, Method::DELETE, &path, Value::Null).await, 200);
    farm.until_free(3).await;
    assert_eq!(asks(2, 2).await.0, 201, "what was given back early was not spent");
}

async fn the_last_admin_stays(mut farm: Farm) {
    farm.lock().await;
    let root = "/v1/accounts/root";
    for (method, body) in [
        (Method::PATCH, json!({"role": "user"})),
        (Method::PATCH, json!({"disabled": true})),
        (Method::DELETE, Value::Null),
    ] {
        assert_eq!(status(&farm, &farm.http, method, root, body).await, 409);
    }
    let body = json!({"name": "carol", "password": PASSWORD, "role": "admin"});
    assert_eq!(status(&farm, &farm.http, Method::POST, "/v1/accounts", body.clone()).await, 201);
    assert_eq!(status(&farm, &farm.http, Method::POST, "/v1/accounts", body).await, 409, "the name is taken");
    let carol = farm.log_in("carol", PASSWORD).await.unwrap();
    assert_eq!(status(&farm, &by(&carol), Method::DELETE, root, Value::Null).await, 204);
    assert_eq!(status(&farm, &farm.http, Method::GET, "/v1/me", Value::Null).await, 401);
    assert_eq!(
        status(&farm, &Client::new(), Method::GET, "/v1/me", Value::Null).await,
        401,
        "it stays locked"
    );
    farm.admit(&carol);
}

async fn an_account_goes_with_its_reservations_or_stays(mut farm: Farm) {
    farm.add_machines(1).await;
    farm.lock().await;
    let alice = user(&farm, "alice").await;
    let id = reserve(&farm, &alice, "al").await;
    let path = "/v1/accounts/alice";
    let (status_of, refusal) = send(&farm, &farm.http, Method::DELETE, path, Value::Null).await;
    assert_eq!(status_of, 409, "{refusal}");
    let gone = format!("{path}?end_reservations=true");
    assert_eq!(status(&farm, &farm.http, Method::DELETE, &gone, Value::Null).await, 204);
    assert_eq!(status(&farm, &farm.http, Method::DELETE, &gone, Value::Null).await, 404);
    farm.until_free(1).await;
    let ended = send(&farm, &farm.http, Method::GET, &format!("/v1/reservations/{id}"), Value::Null).await.1;
    assert_eq!((ended["phase"].as_str(), ended["account"].as_str()), (Some("ended"), Some("alice")));
    let again = user(&farm, "alice").await;
    let (_, list) = send(&farm, &again, Method::GET, "/v1/reservations", Value::Null).await;
    assert_eq!(list["items"], json!([]), "another alice has nothing of hers");
}

async fn what_happened_is_one_chain(mut farm: Farm) {
    farm.add_machines(1).await;
    farm.lock().await;
    let alice = user(&farm, "alice").await;
    let id = reserve(&farm, &alice, "al").await;
    farm.clock.advance(Duration::from_secs(60));
    status(&farm, &alice, Method::DELETE, &format!("/v1/reservations/{id}"), Value::Null).await;
    farm.until_free(1).await;
    let events = farm.get("/v1/events?limit=1000").await;
    let page: Page<EventView> = serde_json::from_value(events).unwrap();
    let mut chain = Chain::default();
    page.items.iter().for_each(|event| chain.add(event).unwrap());
    assert_eq!(chain.head().map(|(seq, _)| seq), Some(page.items.len() as i64), "without gaps");
    let actor =
        |kind: &str| page.items.iter().find(|event| event.kind == kind).map(|event| event.actor.as_str());
    assert_eq!(actor("machine.created"), Some("open"));
    assert_eq!(actor("account.created"), Some("open"));
    assert_eq!(actor("reservation.created"), Some("account:alice"));
    assert_eq!(actor("machine.cleaned"), Some("agent"));
    let made = page.items.iter().find(|event| event.kind == "reservation.created").unwrap();
    assert_eq!(made.source.as_deref(), Some("127.0.0.1"));
    let between = made.at + Duration::from_secs(30);
    let access = farm.get(&format!("/v1/machines/m1/access?at={between}")).await;
    assert_eq!(
        (&access["items"][0]["username"], &access["items"][0]["account"]),
        (&json!("al"), &json!("alice"))
    );
    let before = made.at - Duration::from_secs(1);
    assert_eq!(farm.get(&format!("/v1/machines/m1/access?at={before}")).await["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_often_has_to_wait() {
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.lock().await;
    for _ in 0..5 {
        assert_eq!(farm.log_in("root", "wrong").await, Err(401));
    }
    assert_eq!(farm.log_in("root", ADMIN).await, Err(429), "the right one has to wait, too");
    for _ in 0..5 {
        assert_eq!(
            farm.log_in("nobody", "wrong").await,
            Err(401),
            "whether there is such an account is not told"
        );
    }
    assert_eq!(farm.log_in("nobody", "wrong").await, Err(429));
    farm.clock.advance(Duration::from_secs(2));
    assert!(farm.log_in("root", ADMIN).await.is_ok());
}

/// The one-time token makes the first account from elsewhere, and opens nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_account_may_be_made_from_elsewhere_with_a_token() {
    let mut farm = Farm::new(Database::Sqlite).await;
    assert_eq!(farm.get("/healthz").await["status"], "ok");
    let file = farm.folder.path().join("setup-token");
    let token = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let from_elsewhere = async |http: &Client, method: Method, path: &str, body: Value| {
        let request = http.request(method, format!("{}{path}", farm.url())).header("host", "berth.example");
        request.body(body.to_string()).send().await.unwrap().status().as_u16()
    };
    let (nobody, guest) = (Client::new(), by(&token));
    let carol = json!({"name": "carol", "password": PASSWORD});
    assert_eq!(from_elsewhere(&nobody, Method::POST, "/v1/accounts", carol.clone()).await, 403);
    assert_eq!(from_elsewhere(&guest, Method::GET, "/v1/machines", Value::Null).await, 401);
    assert_eq!(from_elsewhere(&guest, Method::POST, "/v1/accounts", carol).await, 201);
    let dave = json!({"name": "dave", "password": PASSWORD});
    assert_eq!(from_elsewhere(&guest, Method::POST, "/v1/accounts", dave).await, 401, "it was for one");
    let carol = farm.log_in("carol", PASSWORD).await.unwrap();
    assert_eq!(
        send(&farm, &by(&carol), Method::GET, "/v1/me", Value::Null).await.1["account"]["role"],
        "admin"
    );
    farm.admit(&carol);
}

#[test]
fn a_server_that_others_reach_has_tls_and_an_account_first() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |flags: &[&str]| {
        let mut server = Command::new(binary("debug", "berth-server"));
        server.args(["--listen", "0.0.0.0:0", "--agent-listen", "unix:agent.sock"]).args(flags);
        let done = server.current_dir(folder.path()).output().unwrap();
        assert_eq!(done.status.code(), Some(1));
        String::from_utf8(done.stderr).unwrap()
    };
    assert!(refused(&[]).contains("give `tls-certificate` and `tls-key`, or `behind-proxy`"));
    assert!(refused(&["--behind-proxy"]).contains("berth account create"));
    assert!(refused(&["--tls-key", "k"]).contains("give `tls-certificate` too"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_logged_in_by_a_cookie_that_other_sites_cannot_use() {
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.lock().await;
    let nobody = Client::new();
    let log_in = |site: &'static str| {
        let body = json!({"account": "root", "password": ADMIN}).to_string();
        nobody.post(format!("{}/v1/session", farm.url())).header("sec-fetch-site", site).body(body).send()
    };
    assert_eq!(log_in("cross-site").await.unwrap().status(), 403);
    let answer = log_in("same-origin").await.unwrap();
    assert_eq!(answer.status(), 200);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!answer.text().await.unwrap().contains("berth_"), "no script of a page reads the token");
    let token = cookie.split(';').next().unwrap().to_owned();
    let asks = async |method: Method, path: &str, header: (&'static str, &str)| {
        let request = nobody.request(method, format!("{}{path}", farm.url()));
        request
            .header("cookie", &token)
            .header(header.0, header.1)
            .body("{}")
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    let origin = farm.url().to_owned();
    assert_eq!(asks(Method::GET, "/v1/me", ("sec-fetch-site", "same-origin")).await, 200);
    assert_eq!(
        asks(Method::POST, "/v1/machines", ("origin", &origin)).await,
        400,
        "it is let in; the body is wrong"
    );
    for (name, value) in
        [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("origin", "null")]
    {
        assert_eq!(asks(Method::POST, "/v1/machines", (name, value)).await, 403, "{name}: {value}");
        assert_eq!(asks(Method::GET, "/release_all", (name, value)).await, 403, "{name}: {value}");
    }
    let stolen = by(token.split_once('=').unwrap().1);
    assert_eq!(status(&farm, &stolen, Method::GET, "/v1/me", Value::Null).await, 200);
    assert_eq!(asks(Method::DELETE, "/v1/session", ("origin", &origin)).await, 204);
    assert_eq!(asks(Method::GET, "/v1/me", ("origin", &origin)).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_account_is_refused_by_field() {
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.lock().await;
    let long = format!("{}@example.org", "a".repeat(300));
    for (body, field) in [
        (json!({"name": "Alice"}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": "a", "email": "nonsense"}), "email"),
        (json!({"name": "a", "email": long}), "email"),
        (json!({"name": "a", "password": "short"}), "password"),
        (json!({"name": "a", "password": "x".repeat(72)}), "password"),
        (json!({"name": "a", "password": 7}), "password"),
        (json!({"name": "a", "role": "god"}), "role"),
        (json!({"name": "a", "ssh_keys": ["hello"]}), "ssh_keys"),
        (json!({"name": "a", "quota": {"machines": -1}}), "quota.machines"),
        (json!({"name": "a", "colour": 1}), "colour"),
    ] {
        let (status, refusal) = send(&farm, &farm.http, Method::POST, "/v1/accounts", body.clone()).await;
        assert_eq!((status, refusal["field"].as_str()), (400, Some(field)), "{body}: {refusal}");
    }
    let nul = json!({"name": "a", "password": "ten bytes \u{0}"});
    let (status, refusal) = send(&farm, &farm.http, Method::POST, "/v1/accounts", nul).await;
    assert!(status == 400 && refusal["detail"].as_str().unwrap().contains("NUL"), "{refusal}");
    // The last one is of a name with a NUL.
    for header in ["Bearer", "Bearer a b", "Basic x", "berth_x", "Bearer berth_unknown", "Basic YQA6eA=="] {
        let asked = Client::new().get(format!("{}/v1/me", farm.url())).header("authorization", header);
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), 401, "{header}");
        assert!(answer.headers().contains_key("www-authenticate"));
    }
    for (body, field) in [
        (json!({"name": ""}), "name"),
        (json!({"name": "x", "duration": "2000d"}), "duration"),
        (json!({"name": "x", "level": "god"}), "level"),
        (json!({"name": "x", "machines": 0}), "machines"),
    ] {
        let (status, refusal) = send(&farm, &farm.http, Method::POST, "/v1/tokens", body.clone()).await;
        assert_eq!((status, refusal["field"].as_str()), (400, Some(field)), "{body}: {refusal}");
    }
    let (_, accounts) = send(&farm, &farm.http, Method::GET, "/v1/accounts", Value::Null).await;
    assert_eq!(accounts["items"].as_array().unwrap().len(), 1, "nothing was made");
    let longest = json!({"name": "a", "password": "x".repeat(71)});
    assert_eq!(send(&farm, &farm.http, Method::POST, "/v1/accounts", longest).await.0, 201);
    assert!(farm.log_in("a", &"x".repeat(71)).await.is_ok());
    assert_eq!(farm.log_in("a", &"x".repeat(72)).await, Err(401));
}

/// Password, hash and token stay where they belong.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_and_no_file_holds_what_lets_somebody_in() {
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.lock().await;
    let token = farm.log_in("root", ADMIN).await.unwrap();
    let mut shown = String::new();
    for path in
        ["/v1/me", "/v1/accounts", "/v1/accounts/root", "/v1/tokens", "/v1/events?limit=1000", "/metrics"]
    {
        let answer = farm.http.get(format!("{}{path}", farm.url())).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        shown += &answer.text().await.unwrap();
    }
    assert!(shown.contains("account.logged_in"), "the answers were looked at");
    let stored = farm.stored();
    let holds = |secret: &str| stored.windows(secret.len()).any(|part| part == secret.as_bytes());
    for secret in [ADMIN, token.as_str()] {
        assert!(!shown.contains(secret) && !holds(secret));
    }
    assert!(!shown.contains("$2b$") && holds("$2b$04$"), "the hash is kept, and not shown");
}
