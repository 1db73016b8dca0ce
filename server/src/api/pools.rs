//! `/v1/pools`

use super::error::Failure;
use super::route::{Request, Route, get, post, put};
use crate::app::Desk;
use model::auth::Deed;
use model::wire::{Page, PoolPut, PoolView};
use warp::http::StatusCode;

pub(super) fn routes() -> Vec<Route> {
    vec![
        get("/v1/pools", "list pools").deed(Deed::Look).by(list),
        get("/v1/pools/{name}", "one pool").deed(Deed::Look).by(one),
        put("/v1/pools/{name}", "make a pool, or change it")
            .deed(Deed::Machines)
            .refuses(&[StatusCode::CONFLICT])
            .by(put_pool),
        post("/v1/pools/{name}/accept-losses", "believe its provider that machines are lost")
            .deed(Deed::Machines)
            .by(accept_losses),
    ]
}

/// A page like every other list, though there is never a second one.
async fn list(desk: Desk, _: Request) -> Result<Page<PoolView>, Failure> {
    Ok(Page { items: desk.pool_list().await?, next: None })
}

async fn one(desk: Desk, request: Request) -> Result<PoolView, Failure> {
    Ok(desk.pool_get(&request.place).await?)
}

async fn put_pool(desk: Desk, request: Request<PoolPut>) -> Result<PoolView, Failure> {
    Ok(desk.pool_put(&request.place, request.body).await?)
}

async fn accept_losses(desk: Desk, request: Request) -> Result<PoolView, Failure> {
    Ok(desk.pool_accept_losses(&request.place).await?)
}
