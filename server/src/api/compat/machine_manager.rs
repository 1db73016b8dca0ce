//! The machine manager, in its own words: `/machines`, `/reserve`, `/available`, `/reservations` and
//! `/release_all`.

use crate::api::auth::admitted;
use crate::api::error::{Answer, Failure, Fault};
use crate::api::path::Segment;
use crate::api::query::{Query, lenient};
use crate::api::{Routes, answered, any_of, body, get, json, ok};
use crate::app::{App, Desk, MachineFilter, Refusal, ReservationFilter};
use model::allocate::Shortage;
use model::auth::Deed;
use model::phase::Phase;
use model::wire::{
    DurationText, MachineCreate, MachineView, ReservationCreate, ReservationView, SeatView, ssh_port,
};
use model::{Labels, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use warp::http::StatusCode;
use warp::{Filter, Rejection};

/// What it gave to those who asked for no password; in open mode, with no accounts, it still does.
const PASSWORD: &str = "test";
const DURATION: i64 = 60;
/// Seconds until a reservation must be ready, or gone.
const WAIT: u32 = 60;
/// The largest page.
const PAGE: u32 = 1000;

pub(super) fn routes(app: &App) -> Routes {
    let add = warp::path!("machines")
        .and(warp::post())
        .and(admitted(app, Deed::Machines))
        .and(body::json())
        .then(add)
        .map(answered(app, "POST /machines"))
        .boxed();
    let machines = warp::path!("machines")
        .and(get())
        .and(admitted(app, Deed::Look))
        .then(machines)
        .map(answered(app, "GET /machines"))
        .boxed();
    let remove = warp::path!("machines" / Segment)
        .and(warp::delete())
        .and(admitted(app, Deed::Machines))
        .then(remove)
        .map(answered(app, "DELETE /machines/{name}"))
        .boxed();
    let available = warp::path!("available")
        .and(get())
        .and(admitted(app, Deed::Look))
        .then(available)
        .map(answered(app, "GET /available"))
        .boxed();
    any_of(machines, [add, remove, available, reservation_routes(app)])
}

/// A `GET` that changes something answers no `HEAD`.
fn reservation_routes(app: &App) -> Routes {
    let reserve = warp::path!("reserve")
        .and(asked())
        .and(admitted(app, Deed::Reserve))
        .then(reserve)
        .map(answered(app, "GET or POST /reserve"))
        .boxed();
    let reservations = warp::path!("reservations")
        .and(get())
        .and(admitted(app, Deed::Look))
        .then(reservations)
        .map(answered(app, "GET /reservations"))
        .boxed();
    let release_all = warp::path!("release_all")
        .and(warp::get())
        .and(admitted(app, Deed::Reserve))
        .then(release_all)
        .map(answered(app, "GET /release_all"))
        .boxed();
    any_of(reserve, [reservations, release_all])
}

/// A number, or one in quotes: its clients sent both.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a whole number")]
enum Number {
    Number(i64),
    Text(String),
}

impl Number {
    fn read(&self, field: &str) -> Result<i64, Fault> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Text(text) => text
                .trim()
                .parse()
                .map_err(|_| Fault::field(field, format!("`{field}` must be a whole number"))),
        }
    }
}

// --- machines

/// It takes a user and a password too: the way in for a server that logs in itself. Here an agent does the
/// work, so that whoever adds a machine is given the token its agent enrols with.
#[derive(Deserialize)]
struct Added {
    name: String,
    host: String,
    port: Option<Number>,
}

impl Added {
    fn read(self) -> Result<MachineCreate, Fault> {
        let port = self.port.map(|port| port.read("port")).transpose()?;
        let port = port.map_or(Ok(ssh_port()), u16::try_from).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| Fault::field("port", "`port` must be 1 to 65535"))?;
        Ok(MachineCreate {
            name: self.name,
            host: self.host,
            port,
            labels: Labels::default(),
            uids: None,
            ssh: None,
        })
    }
}

async fn add(desk: Result<Desk, Refusal>, body: Result<Added, Fault>) -> Answer {
    let (desk, machine) = match (desk, body.and_then(Added::read)) {
        (Ok(desk), Ok(machine)) => (desk, machine),
        (Err(refusal), _) => return said(&refusal.into()),
        (Ok(_), Err(fault)) => return said(&fault.into()),
    };
    match desk.machine_create(machine, None).await {
        Ok(made) => json(StatusCode::CREATED, added(&made.machine.name.to_string(), made.join_token)),
        Err(Refusal::Conflict(_)) => json(
            StatusCode::BAD_REQUEST,
            json!({"status": "error", "message": "Machine name already exists."}),
        ),
        Err(refusal) => said(&refusal.into()),
    }
}

fn added(name: &str, join_token: Option<String>) -> Value {
    let mut answer = json!({"status": "success", "message": format!("Machine {name} added.")});
    if let Some(token) = join_token {
        answer["join_token"] = token.into();
    }
    answer
}

async fn machines(desk: Result<Desk, Refusal>) -> Answer {
    let machines = match every_machine(desk).await {
        Ok(machines) => machines,
        Err(refusal) => return said(&refusal.into()),
    };
    ok(json!({"machines": machines.iter().map(machine_row).collect::<Vec<_>>()}))
}

/// The user it would have logged in as; nobody does here.
fn machine_row(machine: &MachineView) -> Value {
    json!({"host": machine.host, "name": machine.name, "port": machine.port, "user": "root"})
}

async fn remove(name: Segment, desk: Result<Desk, Refusal>) -> Answer {
    let retired = async { desk?.machine_retire(&name.0).await };
    match retired.await {
        Ok(machine) => {
            ok(json!({"status": "success", "message": format!("Machine {} removed.", machine.name)}))
        }
        Err(refusal) => said(&refusal.into()),
    }
}

async fn available(desk: Result<Desk, Refusal>) -> Answer {
    match every_machine(desk).await {
        Ok(machines) => ok(availability(&machines)),
        Err(refusal) => said(&refusal.into()),
    }
}

fn availability(machines: &[MachineView]) -> Value {
    let names = |state: &str| -> Vec<_> {
        machines
            .iter()
            .filter(|machine| machine.state == state)
            .map(|machine| machine.name.as_str())
            .collect()
    };
    json!({"available": names("free"), "reserved": names("held")})
}

async fn every_machine(desk: Result<Desk, Refusal>) -> Result<Vec<MachineView>, Refusal> {
    let desk = desk?;
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let filter = MachineFilter { labels: Labels::default(), state: None, cursor, limit: PAGE };
        let page = desk.machine_list(filter).await?;
        all.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(all);
        }
    }
}

// --- reservations

#[derive(Default, Deserialize)]
struct Asked {
    #[serde(default)]
    username: String,
    password: Option<String>,
    count: Option<Number>,
    duration: Option<Number>,
    ssh_key: Option<String>,
    label: Option<String>,
}

impl From<Query> for Asked {
    fn from(query: Query) -> Self {
        Self {
            username: query.owned("username").unwrap_or_default(),
            password: query.owned("password"),
            count: query.owned("count").map(Number::Text),
            duration: query.owned("duration").map(Number::Text),
            ssh_key: query.owned("ssh_key"),
            label: query.owned("label"),
        }
    }
}

/// What one asks for, ready for the app, and what the answer repeats of it.
struct Reading {
    create: ReservationCreate,
    password: String,
    minutes: i64,
}

impl Asked {
    fn read(self) -> Result<Reading, Fault> {
        if self.username.is_empty() {
            return Err(Fault::field("username", "give `username`"));
        }
        let minutes = self.duration.map_or(Ok(DURATION), |number| number.read("duration"))?;
        if minutes < 1 {
            return Err(Fault::field("duration", "`duration` must be 1 minute or more"));
        }
        let labels =
            self.label.unwrap_or_default().parse().map_err(|why: String| Fault::field("label", why))?;
        let password = self.password.unwrap_or_else(|| PASSWORD.to_owned());
        let create = ReservationCreate {
            username: self.username,
            password: Some(password.clone()),
            ssh_keys: self.ssh_key.into_iter().collect(),
            count: Some(self.count.map_or(Ok(1), |number| number.read("count"))?),
            labels,
            duration: Some(DurationText::Minutes(minutes)),
            wait: Some(WAIT),
            ..ReservationCreate::default()
        };
        Ok(Reading { create, password, minutes })
    }
}

/// From the query of a `GET`, or the body of a `POST`.
fn asked() -> impl Filter<Extract = (Result<Asked, Fault>,), Error = Rejection> + Clone {
    let in_query = warp::get().and(lenient()).map(|query: Result<Query, Fault>| query.map(Asked::from));
    let in_body = warp::post().and(body::json());
    in_query.or(in_body).unify()
}

async fn reserve(asked: Result<Asked, Fault>, desk: Result<Desk, Refusal>) -> Answer {
    let (desk, reading) = match (desk, asked.and_then(Asked::read)) {
        (Ok(desk), Ok(reading)) => (desk, reading),
        (Err(refusal), _) => return refused(&refusal.into()),
        (Ok(_), Err(fault)) => return refused(&fault.into()),
    };
    let Reading { create, password, minutes } = reading;
    match desk.reservation_create(create, None).await {
        Ok(made) if made.phase == Phase::Ready => ok(reserved(&made, &password, minutes)),
        Ok(made) => given_up(&desk, made).await,
        Err(refusal) => refused(&refusal.into()),
    }
}

/// Its clients know no "later": what is not ready in time is returned.
async fn given_up(desk: &Desk, made: ReservationView) -> Answer {
    if let Err(refusal) = desk.reservation_release(&made.id.to_string(), Some(0)).await {
        tracing::warn!(reservation = %made.id, %refusal, "could not release what was not ready in time");
    }
    let seat_error = made.machines.into_iter().find_map(|seat| seat.error);
    let details = made.reason.or(seat_error).unwrap_or_else(|| format!("not ready within {WAIT} seconds"));
    failed(&details)
}

fn failed(details: &str) -> Answer {
    let body = json!({"error": "Failed to create user", "details": details});
    json(StatusCode::INTERNAL_SERVER_ERROR, body)
}

fn reserved(made: &ReservationView, password: &str, minutes: i64) -> Value {
    let live = made.machines.iter().filter(|seat| seat.phase == Phase::Ready);
    let row = |seat: &SeatView| json!({"machine": seat.name, "host": seat.host, "port": seat.port});
    json!({
        "status": "success",
        "username": made.username,
        "password": password,
        "machines": live.map(row).collect::<Vec<_>>(),
        "reserved_until": made.expires_at,
        "duration_minutes": minutes,
    })
}

async fn reservations(desk: Result<Desk, Refusal>) -> Answer {
    match live_rows(desk).await {
        Ok(rows) => ok(json!({"reservations": rows})),
        Err(refusal) => refused(&refusal.into()),
    }
}

/// Those that become ready between the two lists are in both, and counted once.
async fn live_rows(desk: Result<Desk, Refusal>) -> Result<Vec<Value>, Refusal> {
    let desk = desk?;
    let mut live = BTreeMap::new();
    for phase in [Phase::Pending, Phase::Ready] {
        let mut cursor = None;
        loop {
            let filter = ReservationFilter { username: None, phase: Some(phase), cursor, limit: PAGE };
            let page = desk.reservation_list(filter).await?;
            live.extend(page.items.into_iter().map(|reservation| (reservation.id, reservation)));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    let now = desk.health().await?.now;
    Ok(live.values().flat_map(|reservation| rows(reservation, now)).collect())
}

fn rows(reservation: &ReservationView, now: Timestamp) -> Vec<Value> {
    let seats =
        reservation.machines.iter().filter(|seat| matches!(seat.phase, Phase::Pending | Phase::Ready));
    let minutes = reservation.expires_at.duration_since(now).as_secs_f64().max(0.0) / 60.0;
    let row = |seat: &SeatView| {
        json!({
            "username": reservation.username,
            "machine": seat.name,
            "expiration_time": reservation.expires_at,
            "time_remaining": format!("{minutes:.1} minutes remaining"),
        })
    };
    seats.map(row).collect()
}

async fn release_all(desk: Result<Desk, Refusal>) -> Answer {
    let released = async { desk?.release_all(Some(WAIT)).await };
    let message = match released.await {
        Ok(0) => "No machines to release",
        Ok(_) => "All machines released",
        Err(refusal) => return said(&refusal.into()),
    };
    ok(json!({"status": "success", "message": message}))
}

// --- its two ways of saying no

/// About machines: `{"status": "error", "message"}`.
fn said(failure: &Failure) -> Answer {
    failure.log();
    json(status(failure), json!({"status": "error", "message": failure.detail()}))
}

/// About reservations: `{"error"}`.
fn refused(failure: &Failure) -> Answer {
    failure.log();
    match failure {
        Failure::Refused(Refusal::Failed(details)) => failed(details),
        Failure::Refused(Refusal::Shortage(Shortage::TooFew { free, .. })) => {
            json(StatusCode::BAD_REQUEST, json!({"error": format!("Only {free} machines available")}))
        }
        other => json(status(other), json!({"error": other.detail()})),
    }
}

/// It knew 400 for whatever the caller could do something about, and little else.
fn status(failure: &Failure) -> StatusCode {
    match failure.status() {
        StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        other => other,
    }
}

#[cfg(any(test, fuzzing))]
mod law;
#[cfg(any(test, fuzzing))]
pub(in crate::api) use law::law;
#[cfg(test)]
mod tests;
