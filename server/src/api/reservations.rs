//! `/v1/reservations`

use super::error::{Answer, Fault};
use super::path::Segment;
use super::query::{Query, query};
use super::{Routes, answered, any_of, body, created, desk, get, header, json, ok};
use crate::app::{App, Desk, ReservationFilter};
use model::auth::Deed;
use model::phase::Phase;
use model::wire::{ReservationCreate, ReservationPatch};
use warp::Filter;
use warp::http::StatusCode;

pub(super) fn routes(app: &App) -> Routes {
    let create = warp::path!("reservations")
        .and(warp::post())
        .and(desk(app, Deed::Reserve))
        .and(query(&[]))
        .and(header::idempotency_key())
        .and(body::json())
        .then(create)
        .map(answered(app, "POST /v1/reservations"))
        .boxed();
    let list = warp::path!("reservations")
        .and(get())
        .and(desk(app, Deed::Look))
        .and(query(&["username", "phase", "cursor", "limit"]))
        .then(list)
        .map(answered(app, "GET /v1/reservations"))
        .boxed();
    let one = warp::path!("reservations" / Segment)
        .and(get())
        .and(desk(app, Deed::Look))
        .and(query(&[]))
        .then(one)
        .map(answered(app, "GET /v1/reservations/{id}"))
        .boxed();
    let patch = warp::path!("reservations" / Segment)
        .and(warp::patch())
        .and(desk(app, Deed::Reserve))
        .and(query(&["wait"]))
        .and(body::json())
        .then(patch)
        .map(answered(app, "PATCH /v1/reservations/{id}"))
        .boxed();
    let release = warp::path!("reservations" / Segment)
        .and(warp::delete())
        .and(desk(app, Deed::Reserve))
        .and(query(&["wait"]))
        .then(release)
        .map(answered(app, "DELETE /v1/reservations/{id}"))
        .boxed();
    any_of(list, [create, one, patch, release])
}

async fn create(
    desk: Desk,
    query: Result<Query, Fault>,
    key: Result<Option<String>, Fault>,
    body: Result<ReservationCreate, Fault>,
) -> Answer {
    query?;
    let made = desk.reservation_create(body?, key?).await?;
    created(format!("/v1/reservations/{}", made.id), made)
}

async fn list(desk: Desk, query: Result<Query, Fault>) -> Answer {
    let query = query?;
    let filter = ReservationFilter {
        username: query.owned("username"),
        phase: query.phase()?,
        cursor: query.owned("cursor"),
        limit: query.limit()?,
    };
    ok(desk.reservation_list(filter).await?)
}

async fn one(id: Segment, desk: Desk, query: Result<Query, Fault>) -> Answer {
    query?;
    ok(desk.reservation_get(&id.0).await?)
}

async fn patch(
    id: Segment,
    desk: Desk,
    query: Result<Query, Fault>,
    body: Result<ReservationPatch, Fault>,
) -> Answer {
    let wait = query?.wait()?;
    ok(desk.reservation_patch(&id.0, body?, wait).await?)
}

/// 202 while something of it is left on a machine. Releasing what has ended is no mistake.
async fn release(id: Segment, desk: Desk, query: Result<Query, Fault>) -> Answer {
    let wait = query?.wait()?;
    let reservation = desk.reservation_release(&id.0, wait).await?;
    let gone = reservation.phase == Phase::Ended;
    json(if gone { StatusCode::OK } else { StatusCode::ACCEPTED }, reservation)
}
