//! Machines without an agent of their own, and two servers that could visit them.

use super::pair::Pair;
use serde_json::{Value, json};
use tests::real::until;
use tests::sshd::{PASSWORD, Sshd};

async fn register(pair: &Pair, sshd: &Sshd) {
    let ssh = json!({"password": PASSWORD, "host_key": sshd.host_key().to_string()});
    let body = json!({"name": "m", "host": "127.0.0.1", "port": sshd.port, "ssh": ssh});
    let (status, made) = pair.send(0, "POST", "/v1/machines", &body).await;
    assert_eq!(status, 201, "{made}");
}

async fn lend(pair: &Pair, server: usize, username: &str) {
    let ask = json!({"username": username, "password": "correct horse", "count": 1, "duration": "1h"});
    let (status, made) = pair.send(server, "POST", "/v1/reservations", &ask).await;
    assert_eq!((status, made["phase"].as_str()), (201, Some("ready")), "{made} {}", pair.log(server));
    let path = format!("/v1/reservations/{}", made["id"].as_str().unwrap());
    let (_, ended) = pair.send(server, "DELETE", &path, &Value::Null).await;
    assert_eq!(ended["phase"], "ended", "{ended}");
    pair.until_free(server, 1).await;
}

/// Whoever logged in keeps the connection: as long as both live there is one log-in, whichever of them is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_visited_by_one_server_and_by_the_other_when_that_dies() {
    let mut pair = Pair::start().await;
    let sshd = Sshd::debian("");
    register(&pair, &sshd).await;
    pair.until_free(1, 1).await;
    for number in 0..4 {
        lend(&pair, number % 2, &format!("u{number}")).await;
    }
    assert_eq!(sshd.count("Accepted"), 1, "{}", sshd.log());
    // Whichever of them it is: one of these deaths is that of the visitor.
    pair.kill_server(0);
    lend(&pair, 1, "alice").await;
    pair.start_server(0).await;
    pair.kill_server(1);
    lend(&pair, 0, "bert").await;
    assert!((2..=3).contains(&sshd.count("Accepted")), "{}", sshd.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_key_says_so_and_leaves_the_visit_to_the_one_that_has_it() {
    let mut pair = Pair::start_with(["one.key", "two.key"]).await;
    // It seals with the key of the first.
    pair.kill_server(1);
    let sshd = Sshd::debian("");
    register(&pair, &sshd).await;
    pair.until_free(0, 1).await;
    pair.start_server(1).await;
    pair.kill_server(0);
    let ask =
        json!({"username": "alice", "password": "correct horse", "count": 1, "duration": "1h", "wait": 0});
    let (status, made) = pair.send(1, "POST", "/v1/reservations", &ask).await;
    assert_eq!(status, 201, "{made}");
    until("it says why", async || pair.log(1).contains("its credentials cannot be unsealed")).await;
    let path = format!("/v1/reservations/{}?wait=0", made["id"].as_str().unwrap());
    pair.send(1, "DELETE", &path, &Value::Null).await;
    pair.start_server(0).await;
    pair.until_free(1, 1).await;
    lend(&pair, 1, "bert").await;
}
