//! The machine manager, in its own words: `/machines`, `/reserve`, `/available`, `/reservations` and
//! `/release_all`.

use super::number::{self, Number};
use super::{WAIT, every, live_seats, refusal, status};
use crate::api::answer::Created;
use crate::api::error::{Failure, Fault};
use crate::api::parameter::{OLD_COUNT, OLD_DURATION, OLD_KEY, OLD_LABEL, OLD_PASSWORD, OLD_USERNAME};
use crate::api::query::Query;
use crate::api::route::{Request, Route, Wording, delete, get, post};
use crate::api::schemas::Schemas;
use crate::app::{Desk, Refusal, Stock};
use crate::secret;
use model::allocate::Shortage;
use model::auth::Deed;
use model::phase::{MachineState, Phase};
use model::ssh::{Secret, SshAccess};
use model::wire::{
    DurationText, MachineCreate, MachineView, ReservationCreate, ReservationView, SeatView, ssh_port,
};
use model::{Labels, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::reply::Response;

/// What it gave to those who asked for no password; in open mode, with no accounts, they still get it.
const PASSWORD: &str = "test";
const DURATION: i64 = 60;

pub(super) fn routes() -> Vec<Route> {
    let machines = vec![
        post("/machines", "for older clients, as are all below")
            .deed(Deed::Machines)
            .leniently()
            .worded(SAID)
            .by(add),
        get("/machines", "machines").deed(Deed::Look).leniently().worded(SAID).by(machines),
        delete("/machines/{name}", "retire a machine")
            .deed(Deed::Machines)
            .leniently()
            .worded(SAID)
            .by(remove),
        get("/available", "names of free and of reserved machines")
            .deed(Deed::Look)
            .leniently()
            .worded(SAID)
            .by(available),
    ];
    machines.into_iter().chain(reservation_routes()).collect()
}

/// A `GET` that changes something answers no `HEAD`.
fn reservation_routes() -> Vec<Route> {
    vec![
        get("/reserve", "reserve; `duration` is in minutes")
            .deed(Deed::Reserve)
            .no_head()
            .leniently()
            .takes(&[&OLD_USERNAME, &OLD_PASSWORD, &OLD_COUNT, &OLD_DURATION, &OLD_KEY, &OLD_LABEL])
            .worded(REFUSED)
            .by(reserve_by_query),
        post("/reserve", "the same, from a JSON body")
            .deed(Deed::Reserve)
            .leniently()
            .worded(REFUSED)
            .by(reserve_by_body),
        get("/reservations", "who has which machine, and for how long")
            .deed(Deed::Look)
            .leniently()
            .worded(REFUSED)
            .by(reservations),
        get("/release_all", "end every reservation")
            .deed(Deed::Reserve)
            .no_head()
            .leniently()
            .worded(SAID)
            .by(release_all),
    ]
}

// --- machines

/// With a password the server logs in by SSH, as it always did; without, an agent enrols with the token of the answer.
#[derive(Deserialize, ToSchema)]
#[schema(as = OldAdded)]
struct Added {
    #[schema(value_type = model::MachineName)]
    name: String,
    #[schema(value_type = model::text::Host)]
    host: String,
    #[schema(schema_with = number::port, required = false)]
    port: Option<Number>,
    #[schema(value_type = Option<model::text::SshUser>)]
    user: Option<String>,
    #[schema(value_type = Option<model::text::SshPassword>)]
    password: Option<Secret>,
}

impl Added {
    fn read(self) -> Result<MachineCreate, Fault> {
        let port = self.port.map_or(Ok(ssh_port()), |port| port.read_port())?;
        // Nobody is there who could confirm its host key: the first one that it shows is believed, and no other after that.
        let host_key = Some("accept-new".to_owned());
        let by_password = |password| SshAccess {
            user: self.user,
            password: Some(password),
            host_key,
            ..SshAccess::default()
        };
        Ok(MachineCreate {
            name: self.name,
            host: self.host,
            port,
            labels: Labels::default(),
            uids: None,
            ssh: self.password.map(by_password),
        })
    }
}

/// Its word that all went well.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = OldSaid)]
struct Said {
    status: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    join_token: Option<String>,
}

fn success(message: impl Into<String>) -> Said {
    Said { status: "success", message: message.into(), join_token: None }
}

async fn add(desk: Desk, request: Request<Added>) -> Result<Created<Said>, Failure> {
    let create = request.body.read()?;
    let name = create.name.clone();
    let made = match desk.machine_create(create, None).await {
        Err(Refusal::Conflict(_)) if desk.machine_get(&name).await.is_ok() => {
            Err(Refusal::Conflict("Machine name already exists.".to_owned()))
        }
        made => made,
    }?;
    let name = made.machine.name;
    Ok(Created { location: format!("/v1/machines/{name}"), body: added(name.as_str(), made.join_token) })
}

fn added(name: &str, join_token: Option<String>) -> Said {
    Said { join_token, ..success(format!("Machine {name} added.")) }
}

#[derive(Serialize, ToSchema)]
struct OldMachines {
    machines: Vec<OldMachine>,
}

/// With the user that is logged in as; on most nobody does, and it is the usual one.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct OldMachine {
    host: String,
    name: String,
    port: u16,
    user: String,
}

async fn machines(desk: Desk, _: Request) -> Result<OldMachines, Failure> {
    Ok(OldMachines { machines: every::machines(&desk).await?.iter().map(machine_row).collect() })
}

fn machine_row(machine: &MachineView) -> OldMachine {
    OldMachine {
        host: machine.host.clone(),
        name: machine.name.to_string(),
        port: machine.port,
        user: machine.ssh.as_ref().map_or("root", |ssh| &ssh.user).to_owned(),
    }
}

async fn remove(desk: Desk, request: Request) -> Result<Said, Failure> {
    let machine = desk.machine_retire(&request.place).await?;
    Ok(success(format!("Machine {} removed.", machine.name)))
}

async fn available(desk: Desk, _: Request) -> Result<OldAvailability, Failure> {
    let mut stock = desk.stock_list().await?;
    // First registered, first given.
    stock.sort_by_key(|stock| stock.machine.id);
    Ok(availability(&stock))
}

/// Names of machines.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct OldAvailability {
    available: Vec<String>,
    reserved: Vec<String>,
}

fn availability(stock: &[Stock]) -> OldAvailability {
    let names = |is_meant: fn(&Stock) -> bool| -> Vec<_> {
        stock.iter().filter(|stock| is_meant(stock)).map(|stock| stock.machine.name.to_string()).collect()
    };
    OldAvailability {
        available: names(|stock| stock.state == MachineState::Free && !stock.is_spare),
        reserved: names(|stock| stock.state == MachineState::Held),
    }
}

// --- reservations

#[derive(Default, Deserialize, ToSchema)]
#[schema(as = OldAsked)]
struct Asked {
    #[serde(default)]
    #[schema(value_type = model::UserName, required = true)]
    username: String,
    #[schema(value_type = Option<model::text::UnixPassword>)]
    password: Option<String>,
    #[schema(schema_with = number::count, required = false)]
    count: Option<Number>,
    /// In minutes.
    #[schema(schema_with = number::minutes, required = false)]
    duration: Option<Number>,
    #[schema(value_type = Option<model::account::SshKey>)]
    ssh_key: Option<String>,
    #[schema(value_type = Option<model::text::LabelPair>)]
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
    fn read(self, usual_password: fn() -> String) -> Result<Reading, Fault> {
        if self.username.is_empty() {
            return Err(Fault::field("username", "give `username`"));
        }
        let minutes = self.duration.map_or(Ok(DURATION), |number| number.read_minutes("duration"))?;
        let labels = match self.label.as_deref() {
            None => Labels::default(),
            Some("") => return Err(Fault::field("label", "leave `label` out, or give it as `name=value`")),
            Some(label) => label.parse().map_err(|why: String| Fault::field("label", why))?,
        };
        let password = self.password.unwrap_or_else(usual_password);
        let create = ReservationCreate {
            username: self.username,
            password: Some(password.clone()),
            ssh_keys: self.ssh_key.into_iter().collect(),
            count: Some(self.count.map_or(Ok(1), |number| number.read("count"))?),
            labels,
            duration: Some(DurationText::Minutes(minutes)),
            ..ReservationCreate::default()
        };
        Ok(Reading { create, password, minutes })
    }
}

async fn reserve_by_query(desk: Desk, request: Request) -> Result<Reserved, Failure> {
    reserve(desk, request.query.into()).await
}

async fn reserve_by_body(desk: Desk, request: Request<Asked>) -> Result<Reserved, Failure> {
    reserve(desk, request.body).await
}

async fn reserve(desk: Desk, asked: Asked) -> Result<Reserved, Failure> {
    let Reading { create, password, minutes } = asked.read(usual_password(&desk))?;
    let made = super::reserve(&desk, create).await?;
    Ok(reserved(&made, &password, minutes))
}

/// A password that everybody knows is none, where others could come in.
fn usual_password(desk: &Desk) -> fn() -> String {
    if desk.is_open() { || PASSWORD.to_owned() } else { secret::password }
}

/// Who got what, until when.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = OldReserved)]
struct Reserved {
    status: &'static str,
    username: String,
    password: String,
    machines: Vec<OldSeat>,
    reserved_until: Timestamp,
    duration_minutes: i64,
}

#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct OldSeat {
    machine: String,
    host: String,
    port: u16,
}

fn reserved(made: &ReservationView, password: &str, minutes: i64) -> Reserved {
    let live = made.machines.iter().filter(|seat| seat.phase == Phase::Ready);
    let row = |seat: &SeatView| OldSeat {
        machine: seat.name.to_string(),
        host: seat.host.clone(),
        port: seat.port,
    };
    Reserved {
        status: "success",
        username: made.username.to_string(),
        password: password.to_owned(),
        machines: live.map(row).collect(),
        reserved_until: made.expires_at,
        duration_minutes: minutes,
    }
}

#[derive(Serialize, ToSchema)]
struct OldReservations {
    reservations: Vec<OldReservation>,
}

/// One machine of somebody.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct OldReservation {
    username: String,
    machine: String,
    expiration_time: Timestamp,
    time_remaining: String,
}

async fn reservations(desk: Desk, _: Request) -> Result<OldReservations, Failure> {
    let now = desk.now();
    let live = every::live(&desk).await?;
    Ok(OldReservations { reservations: live.iter().flat_map(|reservation| rows(reservation, now)).collect() })
}

fn rows(reservation: &ReservationView, now: Timestamp) -> Vec<OldReservation> {
    let minutes = reservation.expires_at.duration_since(now).as_secs_f64().max(0.0) / 60.0;
    let row = |seat: &SeatView| OldReservation {
        username: reservation.username.to_string(),
        machine: seat.name.to_string(),
        expiration_time: reservation.expires_at,
        time_remaining: format!("{minutes:.1} minutes remaining"),
    };
    live_seats(reservation).map(row).collect()
}

async fn release_all(desk: Desk, _: Request) -> Result<Said, Failure> {
    Ok(success(match desk.release_all(Some(WAIT)).await? {
        0 => "No machines to release",
        _ => "All machines released",
    }))
}

// --- its two ways of saying no

/// About machines.
const SAID: Wording = Wording {
    refuse: said,
    describe: |schemas: &mut Schemas| schemas.of::<SaidNo>(),
    statuses: &[StatusCode::BAD_REQUEST],
};

/// About reservations.
const REFUSED: Wording = Wording {
    refuse: refused,
    describe: |schemas: &mut Schemas| schemas.of::<Refused>(),
    statuses: &[StatusCode::BAD_REQUEST, StatusCode::INTERNAL_SERVER_ERROR],
};

#[derive(Serialize, ToSchema)]
#[schema(as = OldSaidNo)]
struct SaidNo {
    status: &'static str,
    message: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OldRefused)]
struct Refused {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
}

fn said(failure: Failure) -> Response {
    refusal(&failure, status(&failure), SaidNo { status: "error", message: failure.detail() })
}

fn refused(failure: Failure) -> Response {
    let no = |status, error: String, details| refusal(&failure, status, Refused { error, details });
    match &failure {
        Failure::Refused(Refusal::Failed(details)) => {
            let error = "Failed to create user".to_owned();
            no(StatusCode::INTERNAL_SERVER_ERROR, error, Some(details.clone()))
        }
        Failure::Refused(Refusal::Shortage(Shortage::TooFew { free, .. })) => {
            no(StatusCode::BAD_REQUEST, format!("Only {free} machines available"), None)
        }
        other => no(status(other), other.detail(), None),
    }
}

#[cfg(any(test, fuzzing))]
mod law;
#[cfg(any(test, fuzzing))]
pub(in crate::api) use law::law;
#[cfg(test)]
mod tests;
