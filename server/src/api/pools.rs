//! `/v1/pools`

use super::error::{Answer, Fault};
use super::path::Segment;
use super::query::{Query, query};
use super::{Routes, answered, any_of, body, desk, get, ok};
use crate::app::{App, Desk};
use model::auth::Deed;
use model::wire::{Page, PoolPut};
use warp::Filter;

pub(super) fn routes(app: &App) -> Routes {
    let list = warp::path!("pools")
        .and(get())
        .and(desk(app, Deed::Look))
        .and(query(&[]))
        .then(list)
        .map(answered(app, "GET /v1/pools"))
        .boxed();
    let one = warp::path!("pools" / Segment)
        .and(get())
        .and(desk(app, Deed::Look))
        .and(query(&[]))
        .then(one)
        .map(answered(app, "GET /v1/pools/{name}"))
        .boxed();
    let put = warp::path!("pools" / Segment)
        .and(warp::put())
        .and(desk(app, Deed::Machines))
        .and(query(&[]))
        .and(body::json())
        .then(put)
        .map(answered(app, "PUT /v1/pools/{name}"))
        .boxed();
    let accept_losses = warp::path!("pools" / Segment / "accept-losses")
        .and(warp::post())
        .and(desk(app, Deed::Machines))
        .and(query(&[]))
        .then(accept_losses)
        .map(answered(app, "POST /v1/pools/{name}/accept-losses"))
        .boxed();
    any_of(list, [one, put, accept_losses])
}

/// A page like every other list, though there is never a second one.
async fn list(desk: Desk, query: Result<Query, Fault>) -> Answer {
    query?;
    ok(Page { items: desk.pool_list().await?, next: None })
}

async fn one(name: Segment, desk: Desk, query: Result<Query, Fault>) -> Answer {
    query?;
    ok(desk.pool_get(&name.0).await?)
}

async fn put(name: Segment, desk: Desk, query: Result<Query, Fault>, body: Result<PoolPut, Fault>) -> Answer {
    query?;
    ok(desk.pool_put(&name.0, body?).await?)
}

async fn accept_losses(name: Segment, desk: Desk, query: Result<Query, Fault>) -> Answer {
    query?;
    ok(desk.pool_accept_losses(&name.0).await?)
}
