//! What is secret goes in and does not come out again.

use tests::{Database, Farm, ask};

const PASSWORD: &str = "kestrel at dusk";

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_and_no_file_holds_a_password_or_a_token() {
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.add_machines(2).await;
    let mut body = ask("alice", 1, 60);
    body.password = Some(PASSWORD.to_owned());
    let id = farm.reserve(&body).await.unwrap().id;
    let mut shown = String::new();
    for path in [
        "/",
        "/v1/machines",
        "/v1/machines/m1",
        "/v1/machines/m1/cleanings",
        "/v1/reservations",
        &format!("/v1/reservations/{id}"),
        "/v1/availability",
        "/v1/events?limit=1000",
        "/v1/version",
        "/healthz",
        "/metrics",
        "/reservations",
        "/available",
    ] {
        let answer = farm.http.get(format!("{}{path}", farm.url())).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        shown += &answer.text().await.unwrap();
    }
    for secret in [PASSWORD, "$6$", "berth_join_", "berth_agent_"] {
        assert!(!shown.contains(secret), "`{secret}` is in an answer");
    }
    assert!(shown.contains("alice"), "the answers were looked at");
    let stored = farm.stored();
    for secret in [PASSWORD, "berth_join_", "berth_agent_"] {
        assert!(
            !stored.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()),
            "`{secret}` is in the database"
        );
    }
    assert!(stored.windows(3).any(|bytes| bytes == b"$6$"), "the hash is: the right file was looked at");
}
