use super::*;
use serde_json::{Value, json};

const RESERVATION: &str = r#"{
    "id": "01900000-0000-7000-8000-000000000001", "username": "alice", "phase": "ready", "count": 2,
    "created_at": "2026-01-02T03:04:05Z", "expires_at": "2026-01-02T04:04:05Z",
    "machines": [
        {"name": "m1", "host": "10.0.0.1", "port": 22, "uid": 66000, "phase": "ended", "in_sync": true},
        {"name": "m2", "host": "10.0.0.2", "port": 2222, "uid": 66000, "phase": "ready", "in_sync": true},
        {"name": "m3", "host": "10.0.0.3", "port": 22, "uid": 66000, "phase": "ready", "in_sync": true}
    ]
}"#;

fn reservation() -> ReservationView {
    serde_json::from_str(RESERVATION).unwrap()
}

fn machine(name: &str, state: &str) -> MachineView {
    let text = json!({
        "id": "01900000-0000-7000-8000-000000000002", "name": name, "host": "h", "port": 22, "labels": {},
        "state": state, "cordoned": false, "created_at": "2026-01-02T03:04:05Z", "generation": 1,
        "seen_generation": 1, "facts": {},
    });
    serde_json::from_value(text).unwrap()
}

fn usual() -> String {
    "usual".to_owned()
}

fn read_query(raw: &str) -> Result<Reading, Fault> {
    Query::parse(raw).map(Asked::from).and_then(|asked| asked.read(usual))
}

fn read_body(text: &str) -> Result<Reading, Fault> {
    serde_json::from_str::<Asked>(text).unwrap().read(usual)
}

/// As a client sees it.
fn seen(answer: impl Serialize) -> Value {
    serde_json::to_value(answer).unwrap()
}

#[test]
fn a_reservation_that_is_ready() {
    let expected = json!({
        "status": "success", "username": "alice", "password": "test",
        "reserved_until": "2026-01-02T04:04:05Z",
        "machines": [
            {"machine": "m2", "host": "10.0.0.2", "port": 2222},
            {"machine": "m3", "host": "10.0.0.3", "port": 22},
        ],
        "duration_minutes": 60,
    });
    assert_eq!(seen(reserved(&reservation(), "test", 60)), expected);
}

#[test]
fn one_row_for_each_machine_somebody_has() {
    let now = "2026-01-02T03:05:35Z".parse().unwrap();
    let expected = json!({
        "username": "alice", "machine": "m2", "expiration_time": "2026-01-02T04:04:05Z",
        "time_remaining": "58.5 minutes remaining",
    });
    let rows = rows(&reservation(), now);
    assert_eq!((rows.len(), seen(&rows[0])), (2, expected));
}

#[test]
fn what_is_over_has_no_time_left() {
    let now = "2026-01-02T05:00:00Z".parse().unwrap();
    assert_eq!(rows(&reservation(), now)[0].time_remaining, "0.0 minutes remaining");
}

#[test]
fn a_machine_shows_no_password() {
    let row = machine_row(&machine("a", "free"));
    assert_eq!(seen(row), json!({"host": "h", "name": "a", "port": 22, "user": "root"}));
}

#[test]
fn a_machine_is_added_with_its_token() {
    let message = "Machine m1 added.";
    assert_eq!(seen(added("m1", None)), json!({"status": "success", "message": message}));
    let token = Some("berth_join_x".to_owned());
    assert_eq!(seen(added("m1", token))["join_token"], "berth_join_x");
}

#[test]
fn a_port_is_a_number_or_a_text() {
    let read = |port: Value| {
        let body = json!({"name": "m1", "host": "h", "port": port, "user": "root", "password": "test"});
        serde_json::from_value::<Added>(body)
            .unwrap()
            .read()
            .map(|machine| machine.port)
            .map_err(|fault| fault.field)
    };
    assert_eq!((read(json!(2221)), read(json!("2221")), read(Value::Null)), (Ok(2221), Ok(2221), Ok(22)));
    for bad in [json!("x"), json!(0), json!(70000), json!(-1)] {
        assert_eq!(read(bad), Err(Some("port".to_owned())));
    }
}

#[test]
fn the_query_and_the_body_ask_the_same() {
    let query = read_query("username=alice&count=2&duration=5&label=os%3Ddebian&more=ignored").unwrap();
    let body = read_body(r#"{"username":"alice","count":"2","duration":5,"label":"os=debian"}"#).unwrap();
    for reading in [query, body] {
        assert_eq!((reading.password.as_str(), reading.minutes), ("usual", 5));
        assert_eq!(reading.create.count, Some(2));
        assert!(!reading.create.labels.is_empty());
    }
    assert_eq!(read_query("username=alice").ok().map(|reading| reading.create.count), Some(Some(1)));
}

#[test]
fn what_is_missing_or_senseless_is_named() {
    for (raw, field) in [
        ("", "username"),
        ("username=", "username"),
        ("username=a&count=x", "count"),
        ("username=a&duration=0", "duration"),
        ("username=a&duration=1.5", "duration"),
        ("username=a&label=debian", "label"),
        ("username=a&label=", "label"),
    ] {
        let fault = read_query(raw).err().expect(raw);
        assert_eq!(fault.field.as_deref(), Some(field), "{raw}");
    }
}

#[test]
fn refusals_in_its_own_status() {
    let shortage = Refusal::Shortage(Shortage::TooFew { wanted: 3, free: 1 });
    let status = |response: Response| response.status().as_u16();
    assert_eq!(status(refused(shortage.into())), 400);
    assert_eq!(status(refused(Refusal::Failed("no shell".to_owned()).into())), 500);
    assert_eq!(status(refused(Refusal::Conflict("taken".to_owned()).into())), 400);
    assert_eq!(status(said(Refusal::NotFound("no such machine".to_owned()).into())), 404);
}

#[test]
fn only_ready_machines_are_handed_out() {
    let mut made = reservation();
    let replaced = |seat: &SeatView| seat.phase == Phase::Ended;
    assert!(made.machines.iter().any(replaced));
    made.machines.retain(replaced);
    assert_eq!(reserved(&made, "x", 1).machines, []);
}
