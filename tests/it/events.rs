//! What happens, as it happens: a stream of events has no gaps, and ends with the right to see it.

use crate::on_both_databases;
use cli::{Client, Error, EventFilter, EventStream};
use model::wire::EventView;
use serde_json::{Value, json};
use server::store::MachineChange;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;
use tests::farm::ADMIN;
use tests::real::{RealFarm, binary};
use tests::{Farm, ask};

on_both_databases!(
    everything_that_happens_comes_once_and_in_order,
    what_another_server_writes_comes_too,
    a_stream_ends_with_the_right_to_see_it,
);

const PATIENCE: Duration = Duration::from_secs(20);

async fn next(stream: &mut EventStream) -> Option<EventView> {
    let next = tokio::time::timeout(PATIENCE, stream.next()).await.expect("something comes");
    next.unwrap().map(|event| event.body)
}

async fn take(stream: &mut EventStream, count: usize) -> Vec<EventView> {
    let mut events = vec![];
    while events.len() < count {
        events.push(next(stream).await.expect("the stream goes on"));
    }
    events
}

async fn listed(farm: &Farm) -> Vec<EventView> {
    serde_json::from_value(farm.get("/v1/events?limit=1000").await["items"].take()).unwrap()
}

async fn everything_that_happens_comes_once_and_in_order(mut farm: Farm) {
    farm.add_machines(2).await;
    let before = listed(&farm).await;
    let all = EventFilter::default();
    let of_alice = EventFilter { kind: Some("reservation".to_owned()), ..EventFilter::default() };
    let (mut whole, mut from_now) = (
        farm.client().event_stream(&all, Some(0)).await.unwrap(),
        farm.client().event_stream(&all, None).await.unwrap(),
    );
    let mut filtered = farm.client().event_stream(&of_alice, Some(0)).await.unwrap();
    assert_eq!(take(&mut whole, before.len()).await, before);
    let asks = ["alice", "bert"].map(|name| ask(name, 1, 60));
    let reserved = futures_util::future::join_all(asks.iter().map(|ask| farm.reserve(ask))).await;
    for reservation in reserved {
        farm.release(reservation.unwrap().id).await;
    }
    let after = listed(&farm).await;
    let news = &after[before.len()..];
    assert!(news.len() >= 6, "{news:?}");
    assert_eq!(take(&mut whole, news.len()).await, news);
    assert_eq!(take(&mut from_now, news.len()).await, news);
    let of_reservations: Vec<_> =
        after.iter().filter(|event| event.kind.starts_with("reservation.")).cloned().collect();
    assert_eq!(take(&mut filtered, of_reservations.len()).await, of_reservations);
    // Whoever comes back goes on where it left off.
    let mut again = farm.client().event_stream(&all, Some(news[2].seq)).await.unwrap();
    assert_eq!(take(&mut again, news.len() - 3).await, news[3..]);
    let last = after.last().unwrap().seq;
    let future = farm.client().event_stream(&all, Some(last + 1)).await.err().unwrap();
    assert!(future.to_string().contains("was the database restored?"), "{future}");
    let paged = farm.http.get(format!("{}/v1/events?limit=3", farm.url()));
    let paged = paged.header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(paged.status(), 400);
}

async fn what_another_server_writes_comes_too(mut farm: Farm) {
    farm.add_machines(1).await;
    let of_machines = EventFilter { kind: Some("machine.cordoned".to_owned()), ..EventFilter::default() };
    let mut stream = farm.client().event_stream(&of_machines, None).await.unwrap();
    let cordon = MachineChange { cordoned: Some(true), ..MachineChange::default() };
    farm.other_store().machine_patch("m1", cordon, farm.clock.now()).await.unwrap();
    let running = farm.clock.run();
    assert_eq!(next(&mut stream).await.unwrap().kind, "machine.cordoned");
    // Nothing more happens: the beats say how far one has looked.
    let last = listed(&farm).await.last().unwrap().seq;
    let waits = tokio::time::timeout(Duration::from_millis(300), stream.next()).await;
    assert!(waits.is_err() && stream.seen() == Some(last), "{:?}", stream.seen());
    drop(running);
}

async fn a_stream_ends_with_the_right_to_see_it(mut farm: Farm) {
    farm.add_machines(1).await;
    let mut open = farm.client().event_stream(&EventFilter::default(), None).await.unwrap();
    farm.lock().await;
    assert_eq!(next(&mut open).await, None, "whoever was let in without an account");
    let admin = async |name: &str| {
        let body = json!({ "name": name, "password": "long enough", "role": "admin" }).to_string();
        let made = farm.http.post(format!("{}/v1/accounts", farm.url())).body(body).send().await.unwrap();
        assert_eq!(made.status(), 201);
        farm.log_in(name, "long enough").await.unwrap()
    };
    let patch = async |path: &str, body: Value| {
        let request = farm.http.patch(format!("{}{path}", farm.url())).body(body.to_string());
        assert!(request.send().await.unwrap().status().is_success());
    };
    let streams = async |token: &str| {
        let client = Client::new(farm.url()).unwrap().with_token(token.to_owned().into()).unwrap();
        client.event_stream(&EventFilter::default(), None).await
    };
    let mut disabled = streams(&admin("anna").await).await.unwrap();
    let mut demoted = streams(&admin("bea").await).await.unwrap();
    // The making of bea is told to anna.
    take(&mut disabled, 1).await;
    patch("/v1/accounts/anna", json!({ "disabled": true })).await;
    patch("/v1/accounts/bea", json!({ "role": "user" })).await;
    let running = farm.clock.run();
    while next(&mut disabled).await.is_some() {}
    while next(&mut demoted).await.is_some() {}

    let token = admin("cleo").await;
    let mut many = vec![];
    let refused = loop {
        match streams(&token).await {
            Ok(stream) => many.push(stream),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(&refused, Error::Problem(problem) if problem.status == 429), "{refused}");
    assert_eq!(many.len(), 16);
    assert!(streams(&farm.log_in("root", ADMIN).await.unwrap()).await.is_ok(), "others are not concerned");
    many.pop();
    farm.until("a place is free", async || streams(&token).await.is_ok()).await;
    farm.clock.advance(Duration::from_secs(400 * 24 * 3600));
    for mut stream in many {
        while next(&mut stream).await.is_some() {}
    }
    drop(running);
    let root = farm.log_in("root", ADMIN).await.unwrap();
    farm.admit(&root);
}

/// The command line stays when the server does not, and misses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn who_follows_on_the_command_line_sees_a_restart_and_no_gap() {
    let mut farm = RealFarm::start("debug").await;
    let mut berth = Command::new(binary("debug", "berth"));
    berth.args(["--server", &format!("http://{}", farm.address), "events", "--follow", "--cursor", "0"]);
    let mut follows = berth.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follows.stdout.take().unwrap()).lines();
    let register = async |farm: &RealFarm, name: &str| {
        let (status, _) =
            farm.send("POST", "/v1/machines", &json!({ "name": name, "host": "127.0.0.1" })).await;
        assert_eq!(status, 201);
    };
    register(&farm, "m1").await;
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with("1\t") && first.contains("machine.created\tm1"), "{first}");
    farm.stop_server();
    farm.start_server().await;
    register(&farm, "m2").await;
    let second = lines.next().unwrap().unwrap();
    assert!(second.starts_with("2\t") && second.contains("machine.created\tm2"), "{second}");
    follows.kill().unwrap();
    let mut said = String::new();
    follows.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    follows.wait().unwrap();
    assert!(said.contains("the server has ended the stream"), "it is told when the server stops: {said}");
}
