//! Reservations below `/iac`: whose they are, who sees them, and what is refused.

use super::{each, get, no, user};
use crate::accounts::send;
use crate::compat::{Row, ask_all};
use crate::on_both_databases;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tests::{Farm, has_account, ours};

on_both_databases!(
    reservations_are_of_whoever_makes_them,
    what_cannot_be_reserved_is_refused,
    a_machine_that_fails_is_quarantined_and_another_given,
);

async fn reservations_are_of_whoever_makes_them(mut farm: Farm) {
    farm.add_machines(3).await;
    farm.lock().await;
    let (alice, carol) = (user(&farm, "al.ice").await, user(&farm, "carol").await);
    let asked = json!({"count": 2, "duration_minutes": "45", "reservation_password": "tree of my own", "username": ""});
    let (status, hers) = send(&farm, &alice, Method::POST, "/iac/reservations", asked).await;
    let until = farm.clock.now() + Duration::from_secs(45 * 60);
    let seat =
        |number: u16| json!({"machine": format!("m{number}"), "host": "127.0.0.1", "port": 2200 + number});
    let expected = json!({
        "id": hers["id"], "username": "al_ice", "reservation_password": "tree of my own", "machines": [seat(1), seat(2)],
        "reserved_until": until, "duration_minutes": 45, "seconds_remaining": 45 * 60,
    });
    assert_eq!((status, &hers), (201, &expected));
    assert!(
        has_account(&farm.machine("m1").host, "al_ice") && has_account(&farm.machine("m2").host, "al_ice")
    );
    let asked = json!({"count": "1", "duration_minutes": 60});
    let (status, theirs) = send(&farm, &carol, Method::POST, "/iac/reservations", asked).await;
    let made = theirs["reservation_password"].as_str().unwrap();
    assert_eq!((status, made.len()), (201, 24), "one was made: {theirs}");
    farm.clock.advance(Duration::from_secs(60));

    let row = |number: u16, of: &Value, minutes: u64| {
        json!({
            "id": of["id"], "username": of["username"], "machine": format!("m{number}"), "host": "127.0.0.1",
            "port": 2200 + number, "reserved_until": of["reserved_until"], "seconds_remaining": 60 * minutes,
        })
    };
    let of_alice = json!([row(1, &hers, 44), row(2, &hers, 44)]);
    assert_eq!(get(&farm, &alice, "/iac/reservations").await, json!({"reservations": of_alice}));
    let all = farm.get("/iac/reservations").await;
    assert_eq!(all, json!({"reservations": [row(3, &theirs, 59), row(1, &hers, 44), row(2, &hers, 44)]}));
    assert!(
        !all.to_string().contains(made) && !all.to_string().contains("tree of"),
        "passwords are shown once"
    );
    let path = |of: &Value| format!("/iac/reservations/{}", of["id"].as_str().unwrap());
    let mut whole = row(1, &hers, 44);
    whole["machines"] = json!([seat(1), seat(2)]);
    assert_eq!(get(&farm, &alice, &path(&hers)).await, whole);
    assert_eq!(farm.get(&path(&hers)).await, whole);
    for method in [Method::GET, Method::DELETE] {
        let (status, refused) = send(&farm, &carol, method.clone(), &path(&hers), Value::Null).await;
        assert_eq!((status, &refused["error"]), (404, &json!("not_found")), "{method}");
    }
    let deleted = (200, json!({"message": "deleted"}));
    assert_eq!(send(&farm, &alice, Method::DELETE, &path(&hers), Value::Null).await, deleted);
    for name in ["m1", "m2"] {
        assert_eq!(ours(&farm.machine(name).host), Vec::<String>::new(), "{name}, when it is answered");
    }
    assert_eq!(send(&farm, &alice, Method::GET, &path(&hers), Value::Null).await.0, 404, "it is over");
    assert_eq!(send(&farm, &alice, Method::DELETE, &path(&hers), Value::Null).await, deleted, "as it was");
    assert_eq!(get(&farm, &alice, "/iac/reservations").await, json!({"reservations": []}));
    assert_eq!(
        send(&farm, &farm.http, Method::DELETE, &path(&theirs), Value::Null).await,
        deleted,
        "an admin may"
    );
}

async fn what_cannot_be_reserved_is_refused(mut farm: Farm) {
    farm.add_machines(1).await;
    farm.lock().await;
    let alice = user(&farm, "alice").await;
    let too_few = json!({
        "error": "not_enough_available", "available": 1,
        "message": "only 1 of 2 machines are free; ask for fewer, or try again when some are returned",
    });
    let too_long = "`duration_minutes`: must be at most 366 days";
    let named = "username must not be provided; it is that of your account";
    let asked = |field: &str, value: Value| {
        let mut body = json!({"count": 1, "duration_minutes": 5});
        body[field] = value;
        body
    };
    let path = "/iac/reservations";
    let rows: Vec<Row> = vec![
        ("POST", path, asked("count", json!(2)), 409, too_few),
        ("POST", path, asked("username", json!("eve")), 400, no("invalid_request", named)),
        ("POST", path, asked("count", json!(0)), 400, Value::Null),
        ("POST", path, asked("count", Value::Null), 400, Value::Null),
        ("POST", path, asked("count", json!("two")), 400, Value::Null),
        ("POST", path, asked("duration_minutes", json!(0)), 400, Value::Null),
        ("POST", path, asked("duration_minutes", json!(1_000_000)), 400, no("invalid_request", too_long)),
        ("POST", path, asked("reservation_password", json!("")), 400, Value::Null),
        ("POST", path, json!({}), 400, no("invalid_request", "count and duration_minutes are required")),
        ("GET", "/iac/reservations/nothing", Value::Null, 404, Value::Null),
        ("GET", path, Value::Null, 200, json!({"reservations": []})),
    ];
    ask_all(&farm, &alice, rows).await;
    // The machine has an account `bob` of its own.
    let bob = user(&farm, "bob").await;
    let (status, failed) = send(&farm, &bob, Method::POST, path, asked("count", json!(1))).await;
    assert_eq!((status, &failed["error"]), (503, &json!("server_error")), "{failed}");
    assert!(failed["message"].as_str().unwrap().contains("`bob` exists already"), "{failed}");
}

async fn a_machine_that_fails_is_quarantined_and_another_given(mut farm: Farm) {
    farm.add_machines(2).await;
    farm.lock().await;
    let alice = user(&farm, "alice").await;
    farm.stop_agent(0).await;
    let asked = json!({"count": 1, "duration_minutes": 30});
    let reserving = send(&farm, &alice, Method::POST, "/iac/reservations", asked);
    let giving_up = async {
        farm.until("it is waited for", async || farm.get("/iac/machines/m1").await["reserved"] == true).await;
        farm.clock.advance(Duration::from_secs(16));
    };
    let ((status, made), ()) = tokio::join!(reserving, giving_up);
    assert_eq!((status, each(&made["machines"], "machine")), (201, vec!["m2".to_owned()]), "{made}");
    assert!(has_account(&farm.machine("m2").host, "alice"));
    farm.start_agent(0);
    let failed = farm.get("/iac/machines/m1").await;
    let until: jiff::Timestamp = failed["quarantine_until"].as_str().unwrap().parse().unwrap();
    assert!(failed["reserve_fail_count"] == 1 && until > farm.clock.now(), "{failed}");
    let quarantined = async || {
        let list = farm.get("/v1/machines?state=maintenance").await;
        each(&list["items"], "name") == ["m1"]
    };
    farm.until("it is back, and kept back", quarantined).await;
    assert_eq!(farm.get("/iac/machines?eligible=true").await, json!([]));
}
