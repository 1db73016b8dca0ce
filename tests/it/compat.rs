//! What older clients ask, in their words, and what they are told.

mod iac;
mod machine_manager;
mod media_servers;
mod users;
mod vm_pool;

use crate::accounts::send;
use reqwest::{Client, Method};
use serde_json::Value;
use tests::Farm;

/// A request, and what is to come of it. A body or an answer that does not matter is `null`.
type Row = (&'static str, &'static str, Value, u16, Value);

/// Asks in this order, as this one; says which answers were others.
async fn ask_all(farm: &Farm, http: &Client, rows: Vec<Row>) {
    for (method, path, body, status, answer) in rows {
        let shown = format!("{method} {path} {body}");
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let (seen_status, seen) = send(farm, http, method, path, body).await;
        assert_eq!(seen_status, status, "{shown}: {seen}");
        assert!(answer.is_null() || seen == answer, "{shown}: {seen}, not {answer}");
    }
}
