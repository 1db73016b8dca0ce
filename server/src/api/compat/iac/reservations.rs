//! Reservations: of whoever is logged in, under their own name.

use super::super::number::{self, Number};
use super::super::{WAIT, every, live_seats, reserve};
use super::{DELETED, Deleted, NO};
use crate::api::answer::Created;
use crate::api::error::{Failure, Fault};
use crate::api::route::{Request, Route, delete, get, post};
use crate::app::{Desk, Refusal};
use crate::secret;
use model::auth::Deed;
use model::reservation::OnFailure;
use model::ssh::Secret;
use model::wire::{DurationText, ReservationCreate, ReservationView, SeatView};
use model::{Invalid, MachineName, ReservationId, Timestamp, UserName, text};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::http::StatusCode;

pub(super) fn routes() -> Vec<Route> {
    vec![
        get("/iac/reservations", "yours, machine by machine; an admin's are everybody's")
            .deed(Deed::Look)
            .leniently()
            .worded(NO)
            .by(list),
        post("/iac/reservations", "reserve machines, under your own name")
            .deed(Deed::Reserve)
            .leniently()
            .refuses(&[StatusCode::CONFLICT])
            .worded(NO)
            .by(create),
        get("/iac/reservations/{id}", "one that is not over")
            .deed(Deed::Look)
            .leniently()
            .owned()
            .worded(NO)
            .by(one),
        delete("/iac/reservations/{id}", "end it")
            .deed(Deed::Reserve)
            .leniently()
            .owned()
            .worded(NO)
            .by(remove),
    ]
}

/// What to log in with is made, if no password is given. The account's name is that of whoever asks.
#[derive(Deserialize, ToSchema)]
#[schema(as = IacReservationCreate)]
struct Asked {
    #[schema(schema_with = number::needed_count, required = true)]
    count: Option<Number>,
    #[schema(schema_with = number::needed_minutes, required = true)]
    duration_minutes: Option<Number>,
    #[schema(value_type = Option<text::UnixPassword>)]
    reservation_password: Option<Secret>,
    /// Must not be given.
    #[schema(max_length = 0)]
    username: Option<String>,
}

/// What one asks for, but for the name.
struct Reading {
    create: ReservationCreate,
    password: String,
    minutes: i64,
}

impl Asked {
    fn read(self) -> Result<Reading, Fault> {
        if self.username.is_some_and(|username| !username.is_empty()) {
            return Err(Fault::field(
                "username",
                "username must not be provided; it is that of your account",
            ));
        }
        let (Some(count), Some(minutes)) = (self.count, self.duration_minutes) else {
            let detail = "count and duration_minutes are required";
            return Err(Fault::new(StatusCode::BAD_REQUEST, detail));
        };
        let minutes = minutes.read_minutes("duration_minutes")?;
        let given = self.reservation_password.map(|password| password.expose().to_owned());
        let password = given.unwrap_or_else(secret::password);
        let create = ReservationCreate {
            password: Some(password.clone()),
            count: Some(count.read("count")?),
            duration: Some(DurationText::Minutes(minutes)),
            // It put a spare machine in the place of one that went down.
            on_failure: OnFailure::Replace,
            ..ReservationCreate::default()
        };
        Ok(Reading { create, password, minutes })
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = IacSeat)]
struct Seat {
    machine: MachineName,
    host: String,
    port: u16,
}

impl From<&SeatView> for Seat {
    fn from(seat: &SeatView) -> Self {
        Self { machine: seat.name.clone(), host: seat.host.clone(), port: seat.port }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = IacReserved)]
struct Reserved {
    id: ReservationId,
    username: UserName,
    /// Shown this once.
    reservation_password: Secret,
    machines: Vec<Seat>,
    reserved_until: Timestamp,
    duration_minutes: i64,
    seconds_remaining: i64,
}

async fn create(desk: Desk, request: Request<Asked>) -> Result<Created<Reserved>, Failure> {
    let Reading { create, password, minutes } = request.body.read()?;
    let Some(account) = desk.me().account else {
        let why =
            "a reservation is of an account, and there is none yet: make the first by `POST /iac/users`";
        return Err(Refusal::Conflict(why.to_owned()).into());
    };
    let create = ReservationCreate { username: account.name.as_user().to_string(), ..create };
    let made = reserve(&desk, create).await.map_err(named)?;
    let body = Reserved {
        id: made.id,
        machines: live_seats(&made).map(Seat::from).collect(),
        reserved_until: made.expires_at,
        duration_minutes: minutes,
        seconds_remaining: remaining(&made, desk.now()),
        username: made.username,
        reservation_password: password.into(),
    };
    Ok(Created { location: format!("/iac/reservations/{}", body.id), body })
}

/// By the names that the fields have here.
fn named(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(Refusal::Invalid(invalid)) => {
            let field = match invalid.field {
                "duration" => "duration_minutes",
                "password" => "reservation_password",
                other => other,
            };
            Refusal::Invalid(Invalid { field, ..invalid }).into()
        }
        other => other,
    }
}

fn remaining(reservation: &ReservationView, now: Timestamp) -> i64 {
    reservation.expires_at.duration_since(now).as_secs().max(0)
}

/// One machine of somebody. Those of one reservation share its id.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = IacReservation)]
struct Row {
    id: ReservationId,
    username: UserName,
    machine: MachineName,
    host: String,
    port: u16,
    reserved_until: Timestamp,
    seconds_remaining: i64,
}

fn row(reservation: &ReservationView, seat: &SeatView, now: Timestamp) -> Row {
    Row {
        id: reservation.id,
        username: reservation.username.clone(),
        machine: seat.name.clone(),
        host: seat.host.clone(),
        port: seat.port,
        reserved_until: reservation.expires_at,
        seconds_remaining: remaining(reservation, now),
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = IacReservations)]
struct Rows {
    reservations: Vec<Row>,
}

/// The newest first.
async fn list(desk: Desk, _: Request) -> Result<Rows, Failure> {
    let now = desk.now();
    let live = every::live(&desk).await?;
    let rows = live.iter().rev().flat_map(|found| live_seats(found).map(move |seat| row(found, seat, now)));
    Ok(Rows { reservations: rows.collect() })
}

/// Its first machine, as its clients expect, and all of them.
#[derive(Serialize, ToSchema)]
#[schema(as = IacReservationWhole)]
struct Whole {
    #[serde(flatten)]
    first: Row,
    machines: Vec<Seat>,
}

async fn one(desk: Desk, request: Request) -> Result<Whole, Failure> {
    let found = desk.reservation_get(&request.place).await?;
    let first = live_seats(&found).next().map(|seat| row(&found, seat, desk.now()));
    let over = || Refusal::NotFound("this reservation is over; make a new one".to_owned());
    let machines = live_seats(&found).map(Seat::from).collect();
    Ok(Whole { first: first.ok_or_else(over)?, machines })
}

async fn remove(desk: Desk, request: Request) -> Result<Deleted, Failure> {
    desk.reservation_release(&request.place, Some(WAIT)).await?;
    Ok(DELETED)
}

#[cfg(any(test, fuzzing))]
pub(super) fn law(bytes: &[u8]) {
    let read = crate::api::body::parse(bytes).and_then(Asked::read);
    read.map_or_else(crate::api::laws::is_theirs, |reading| {
        assert!(reading.minutes >= 1 && reading.create.username.is_empty());
    });
}
