//! `/v1/agent`: what agents say and hear, at a door of their own.

use super::error::{Answer, Fault};
use super::{Routes, answered, any_of, body, header, ok, with};
use crate::app::{App, Refusal};
use model::wire::{EnrolRequest, SyncRequest};
use warp::Filter;

pub(super) fn routes(app: &App) -> Routes {
    let enrol = warp::path!("agent" / "enrol")
        .and(warp::post())
        .and(with(app))
        .and(body::json())
        .then(enrol)
        .map(answered(app, "POST /v1/agent/enrol"))
        .boxed();
    let sync = warp::path!("agent" / "sync")
        .and(warp::post())
        .and(with(app))
        .and(header::bearer())
        .and(body::json())
        .then(sync)
        .map(answered(app, "POST /v1/agent/sync"))
        .boxed();
    any_of(sync, [enrol])
}

async fn enrol(app: App, body: Result<EnrolRequest, Fault>) -> Answer {
    ok(app.agent_enrol(body?).await?)
}

/// The app holds the request until there is news. An agent that hangs up takes this future with it.
async fn sync(app: App, credential: Result<String, Refusal>, body: Result<SyncRequest, Fault>) -> Answer {
    ok(app.agent_sync(&credential?, body?).await?)
}
