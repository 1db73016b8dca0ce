//! `/v1/reservations`

use super::answer::{Created, Settled};
use super::error::Failure;
use super::parameter::{CURSOR, ITEMS, PHASE, USERNAME, WAIT};
use super::route::{Request, Route, delete, get, patch, post};
use crate::app::{Desk, ReservationFilter};
use model::auth::Deed;
use model::phase::Phase;
use model::wire::{Page, ReservationCreate, ReservationPatch, ReservationView};
use warp::http::StatusCode;

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("/v1/reservations", "reserve machines")
            .deed(Deed::Reserve)
            .keyed()
            .refuses(&[StatusCode::CONFLICT])
            .by(create),
        get("/v1/reservations", "list reservations")
            .deed(Deed::Look)
            .takes(&[&USERNAME, &PHASE, &CURSOR, &ITEMS])
            .by(list),
        get("/v1/reservations/{id}", "one reservation").deed(Deed::Look).owned().by(one),
        patch("/v1/reservations/{id}", "let it end at another time")
            .deed(Deed::Reserve)
            .owned()
            .takes(&[&WAIT])
            .refuses(&[StatusCode::CONFLICT])
            .by(change),
        delete("/v1/reservations/{id}", "release it").deed(Deed::Reserve).owned().takes(&[&WAIT]).by(release),
    ]
}

async fn create(
    desk: Desk,
    request: Request<ReservationCreate>,
) -> Result<Created<ReservationView>, Failure> {
    let body = desk.reservation_create(request.body, request.key).await?;
    Ok(Created { location: format!("/v1/reservations/{}", body.id), body })
}

async fn list(desk: Desk, request: Request) -> Result<Page<ReservationView>, Failure> {
    let query = request.query;
    let filter = ReservationFilter {
        username: query.owned("username"),
        phase: query.phase()?,
        cursor: query.owned("cursor"),
        limit: query.limit()?,
    };
    Ok(desk.reservation_list(filter).await?)
}

async fn one(desk: Desk, request: Request) -> Result<ReservationView, Failure> {
    Ok(desk.reservation_get(&request.place).await?)
}

async fn change(desk: Desk, request: Request<ReservationPatch>) -> Result<ReservationView, Failure> {
    let wait = request.query.wait()?;
    Ok(desk.reservation_patch(&request.place, request.body, wait).await?)
}

/// 202 while something of it is left on a machine. Releasing what has ended is no mistake.
async fn release(desk: Desk, request: Request) -> Result<Settled<ReservationView>, Failure> {
    let body = desk.reservation_release(&request.place, request.query.wait()?).await?;
    Ok(Settled { is_done: body.phase == Phase::Ended, body })
}
