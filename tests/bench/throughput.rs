//! How many reservations a second are made durable.

use super::ask;
use futures_util::future::join_all;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::clock::FakeClock;
use tests::{Database, Farm};

const CLIENTS: usize = 64;
const MACHINES: u32 = 512;
const LASTS: Duration = Duration::from_secs(5);

pub(super) async fn both() -> Vec<(&'static str, f64)> {
    vec![
        ("SQLite", rate(Database::Sqlite).await),
        ("PostgreSQL (fsync off: a test cluster)", rate(Database::Postgres).await),
    ]
}

/// Each client makes a reservation of one machine, gives it back, and makes the next.
async fn rate(database: Database) -> f64 {
    let farm = Arc::new(Farm::new(database).await);
    let _running = FakeClock::run(&farm.clock);
    let body = format!(r#"{{"provider":"simulated","size":{MACHINES}}}"#);
    let url = format!("{}/v1/pools/sim", farm.url());
    assert!(farm.http.put(url).body(body).send().await.unwrap().status().is_success());
    farm.until_free(MACHINES).await;
    let began = Instant::now();
    let made = join_all((0..CLIENTS).map(|_| tokio::spawn(client(farm.clone(), began)))).await;
    let made: usize = made.into_iter().map(|made| made.unwrap()).sum();
    made as f64 / began.elapsed().as_secs_f64()
}

async fn client(farm: Arc<Farm>, began: Instant) -> usize {
    let mut body = ask(1);
    body.password = None;
    body.ssh_keys = vec![KEY.to_owned()];
    body.wait = Some(0);
    let mut made = 0;
    while began.elapsed() < LASTS {
        // A machine is being cleaned for a moment after each release; then the ask is refused, and not counted.
        if let Ok(reservation) = farm.reserve(&body).await {
            made += 1;
            let url = format!("{}/v1/reservations/{}?wait=0", farm.url(), reservation.id);
            assert!(farm.http.delete(url).send().await.unwrap().status().is_success());
        }
    }
    made
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a@b";
