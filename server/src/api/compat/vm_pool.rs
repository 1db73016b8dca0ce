//! The VM pool with check-out and check-in, in its own words. Whoever asks may say who they are in the body:
//! `"auth": {"userid": 1, "password": "…"}`.

#[cfg(any(test, fuzzing))]
mod law;
mod lending;
mod size;
mod users;
mod vms;

#[cfg(any(test, fuzzing))]
pub(in crate::api) use law::law;

use super::number::{self, Number};
use super::{every, refusal};
use crate::api::error::{Failure, Fault};
use crate::api::route::{Asker, Route, Wording};
use crate::api::schemas::Schemas;
use crate::app::{Desk, Refusal};
use model::ssh::Secret;
use model::wire::AccountView;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};
use warp::http::StatusCode;
use warp::reply::Response;

pub(super) fn routes() -> Vec<Route> {
    [users::routes(), size::routes(), vms::routes(), lending::routes()].into_iter().flatten().collect()
}

/// Who asks.
#[derive(Deserialize, ToSchema)]
#[schema(as = VmAuth)]
struct Auth {
    #[schema(schema_with = id)]
    userid: Number,
    #[schema(value_type = model::text::Line)]
    password: Secret,
}

fn id() -> RefOr<Schema> {
    number::up_to(i32::MAX.into())
}

impl Asker {
    /// Whoever the body names, or else the header. While there is no account, nobody has to be named.
    async fn desk(self, auth: Option<Auth>) -> Result<Desk, Failure> {
        let Self { app, shown, deed } = self;
        let is_locked = app.is_locked().await.map_err(Refusal::from)?;
        match auth.filter(|_| is_locked) {
            Some(Auth { userid, password }) => {
                Ok(app.admit_numbered(shown, userid.read("auth.userid")?, password, deed).await?)
            }
            None if is_locked && shown.credential.is_none() => {
                Err(no(StatusCode::BAD_REQUEST, "auth parameters missing"))
            }
            None => Ok(app.admit(shown, deed).await?),
        }
    }
}

/// Those whom the asker may see.
async fn people(desk: &Desk) -> Result<Vec<AccountView>, Refusal> {
    match desk.me().account {
        Some(_) if desk.looks_after_all() => every::accounts(desk).await,
        own => Ok(own.into_iter().collect()),
    }
}

/// Things by their ids, or, if there are none, a text that looks like an empty list.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Rows<T> {
    Some(BTreeMap<String, T>),
    None(String),
}

const NOTHING: &str = "[]";

impl<T> Rows<T> {
    fn of(rows: impl IntoIterator<Item = (i64, T)>) -> Self {
        let rows: BTreeMap<_, _> = rows.into_iter().map(|(id, row)| (id.to_string(), row)).collect();
        if rows.is_empty() { Self::None(NOTHING.to_owned()) } else { Self::Some(rows) }
    }
}

#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = VmMessage)]
struct Message {
    message: &'static str,
}

#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = VmLoudMessage)]
struct LoudMessage {
    #[serde(rename = "Message")]
    message: &'static str,
}

// --- how it says no

const WORDS: Wording = Wording {
    refuse,
    describe: |schemas: &mut Schemas| schemas.of::<No>(),
    statuses: &[StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND],
};

/// One of these.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = VmNo)]
struct No {
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(rename = "Message", skip_serializing_if = "Option::is_none")]
    loud: Option<String>,
    #[serde(rename = "VM owned by user", skip_serializing_if = "Option::is_none")]
    owned: Option<String>,
    #[serde(rename = "VM owner Details", skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(rename = "Maintenance_VM_details", skip_serializing_if = "Option::is_none")]
    maintained: Option<String>,
}

const REFUSED: &str = "Authentication or Authorization failed";
const NONE_LEFT: &str = "No VM's are available in pool for checkout.Please retry after some time.";
const OWNED: &str = "VM owned by user";
const OWNER: &str = "VM owner Details";
const MAINTAINED: &str = "Maintenance_VM_details";

fn no(status: StatusCode, says: &str) -> Failure {
    Fault::new(status, says).into()
}

/// There is none, said under this name.
fn none(name: &str) -> Failure {
    Fault::field(name, NOTHING).into()
}

fn refuse(failure: Failure) -> Response {
    let says = failure.detail();
    let message = |message: String| No { message: Some(message), ..No::default() };
    let loud = |message: String| No { loud: Some(message), ..No::default() };
    let body = match &failure {
        _ if is_refused(&failure) => loud(REFUSED.to_owned()),
        Failure::Refused(Refusal::Shortage(_)) => message(NONE_LEFT.to_owned()),
        Failure::Fault(Fault { status: StatusCode::UNAUTHORIZED, .. }) => loud(says),
        Failure::Fault(Fault { field, .. }) => match field.as_deref() {
            Some(OWNED) => No { owned: Some(says), ..No::default() },
            Some(OWNER) => No { owner: Some(says), ..No::default() },
            Some(MAINTAINED) => No { maintained: Some(says), ..No::default() },
            _ => message(says),
        },
        Failure::Refused(_) => message(says),
    };
    refusal(&failure, status(&failure), body)
}

/// It knew 401 for whoever may not, too.
fn status(failure: &Failure) -> StatusCode {
    match super::status(failure) {
        StatusCode::FORBIDDEN if is_refused(failure) => StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN => StatusCode::BAD_REQUEST,
        other => other,
    }
}

/// Whoever asks is not known, or may not.
fn is_refused(failure: &Failure) -> bool {
    use Refusal::{Anonymous, Forbidden, NotAllowed, Unauthorised};
    matches!(failure, Failure::Refused(Anonymous(_) | Forbidden(_) | NotAllowed(_) | Unauthorised(_)))
}

/// What stands in a path, and can be what somebody looks for.
fn word(place: String) -> Result<String, Failure> {
    let fits = place.len() <= 100 && place.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(place) } else { Err(no(StatusCode::NOT_FOUND, "there is nothing of that name")) }
}

/// The same of a number.
fn numbered(place: &str) -> Result<i64, Failure> {
    let number = place.parse().ok().filter(|number| (1..=i64::from(i32::MAX)).contains(number));
    number.ok_or_else(|| no(StatusCode::NOT_FOUND, "an id is a whole number from 1 up"))
}
