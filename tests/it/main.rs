//! The one integration-test binary. Every farm checks the law of the house when it is dropped.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod accounts;
mod adopt;
mod agent;
mod backup;
mod canary;
mod clean;
mod compat;
mod conformance;
mod e2e;
mod events;
mod failover;
mod faults;
mod fencing;
mod import;
mod input;
mod law;
mod lifecycle;
mod log_in;
mod openapi;
mod races;
mod recycle;
mod replace;
mod rooms;
mod scripts;
mod secrets;
mod simulation;
mod ssh;
mod tidy;
mod tls;
mod visits;

/// Whether long forms are to be run, which take many minutes.
fn is_long() -> bool {
    std::env::var_os("BERTH_SOAK").is_some()
}

/// Runs each story on SQLite and on PostgreSQL.
macro_rules! on_both_databases {
    ($($story:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(tests::Farm::new(tests::Database::Sqlite).await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(tests::Farm::new(tests::Database::Postgres).await).await;
            })*
        }
    };
}
pub(crate) use on_both_databases;
