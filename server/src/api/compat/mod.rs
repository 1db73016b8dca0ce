//! APIs of older systems, so that their clients go on working: thin adapters over the same app.

mod every;
mod iac;
mod machine_manager;
mod media_servers;
mod number;
mod users;
mod vm_pool;

use super::answer::Answers;
use super::error::Failure;
use super::route::Route;
use crate::app::{Desk, Refusal};
use model::phase::Phase;
use model::wire::{ReservationCreate, ReservationView, SeatView};
use serde_json::Value;
use warp::Reply;
use warp::http::StatusCode;
use warp::reply::Response;

/// Seconds until a reservation must be ready, or gone.
const WAIT: u32 = 60;

pub(super) fn routes() -> Vec<Route> {
    [machine_manager::routes(), iac::routes(), vm_pool::routes(), media_servers::routes(), users::routes()]
        .into_iter()
        .flatten()
        .collect()
}

/// What their bodies have to heed beside the kinds of their fields.
pub(super) fn rules() -> Vec<(&'static str, Value)> {
    iac::rules()
}

/// Older clients know no "later": what is not ready in time is returned.
async fn reserve(desk: &Desk, create: ReservationCreate) -> Result<ReservationView, Failure> {
    let create = ReservationCreate { wait: Some(WAIT), ..create };
    match desk.reservation_create(create, None).await? {
        made if made.phase == Phase::Ready => Ok(made),
        made => Err(given_up(desk, made).await),
    }
}

async fn given_up(desk: &Desk, made: ReservationView) -> Failure {
    if let Err(refusal) = desk.reservation_undo(made.id).await {
        tracing::warn!(reservation = %made.id, %refusal, "could not release what was not ready in time");
    }
    let seat_error = made.machines.into_iter().find_map(|seat| seat.error);
    let details = made.reason.or(seat_error).unwrap_or_else(|| format!("not ready within {WAIT} seconds"));
    Refusal::Failed(details).into()
}

/// Machines that somebody has, or is about to.
fn live_seats(reservation: &ReservationView) -> impl Iterator<Item = &SeatView> {
    reservation.machines.iter().filter(|seat| matches!(seat.phase, Phase::Pending | Phase::Ready))
}

/// The end of a request that failed, in an older system's words.
fn refusal(failure: &Failure, status: StatusCode, body: impl Answers) -> Response {
    failure.log();
    let mut response = warp::reply::with_status(body.respond(), status).into_response();
    failure.mark(response.headers_mut());
    response
}

/// Most knew 400 for whatever the caller could do something about, and little else.
fn status(failure: &Failure) -> StatusCode {
    match failure.status() {
        StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        other => other,
    }
}

/// What holds of any body in the words of any of them.
#[cfg(any(test, fuzzing))]
pub(super) fn law(bytes: &[u8]) {
    machine_manager::law(bytes);
    iac::law(bytes);
    vm_pool::law(bytes);
    media_servers::law(bytes);
    users::law(bytes);
}
