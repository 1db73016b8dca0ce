//! `/v1/agent`: what agents say and hear, at a door of their own.

use super::error::Failure;
use super::route::{Request, Route, Visitor, post};
use crate::app::App;
use model::wire::{EnrolAnswer, EnrolRequest, SyncAnswer, SyncRequest};
use warp::http::StatusCode;

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("/v1/agent/enrol", "agents only, at their own door: become a machine")
            .newcomer()
            .leniently()
            .refuses(&[StatusCode::UNAUTHORIZED, StatusCode::CONFLICT, StatusCode::GONE])
            .by(enrol),
        post("/v1/agent/sync", "agents only, at their own door: report, hear what to do")
            .agent()
            .leniently()
            .refuses(&[StatusCode::UNAUTHORIZED, StatusCode::CONFLICT, StatusCode::GONE])
            .by(sync),
    ]
}

async fn enrol(app: App, request: Request<EnrolRequest>) -> Result<EnrolAnswer, Failure> {
    Ok(app.agent_enrol(request.body).await?)
}

/// The app holds the request until there is news. An agent that hangs up takes this future with it.
async fn sync(visitor: Visitor, request: Request<SyncRequest>) -> Result<SyncAnswer, Failure> {
    Ok(visitor.app.agent_sync(&visitor.credential, request.body).await?)
}
