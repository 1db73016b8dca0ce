//! The machine manager as it was written anew, with log-in: everything below `/iac`, in its own words.

mod machines;
mod people;
mod reservations;

use super::refusal;
use crate::api::error::Failure;
use crate::api::route::{Request, Route, Wording, get};
use crate::api::schemas::Schemas;
use crate::app::{App, Refusal};
use model::allocate::Shortage;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::reply::Response;

pub(super) fn routes() -> Vec<Route> {
    let health = vec![get("/iac/healthz", "whether the server works").leniently().worded(NO).by(health)];
    [health, people::routes(), machines::routes(), reservations::routes()].into_iter().flatten().collect()
}

pub(super) fn rules() -> Vec<(&'static str, Value)> {
    vec![people::rule(), machines::rule_of_new(), machines::rule_of_change()]
}

#[derive(Serialize, ToSchema)]
#[schema(as = IacHealth)]
struct Health {
    status: String,
}

async fn health(app: App, _: Request) -> Result<Health, Failure> {
    Ok(Health { status: app.health().await?.status })
}

/// What became of something that is gone now.
#[derive(Serialize, ToSchema)]
#[schema(as = IacDeleted)]
struct Deleted {
    message: &'static str,
}

const DELETED: Deleted = Deleted { message: "deleted" };

const NO: Wording = Wording {
    refuse: |failure| no(&failure, said(&failure)),
    describe: |schemas: &mut Schemas| schemas.of::<No>(),
    statuses: &[StatusCode::BAD_REQUEST],
};

/// To whoever logs in.
const NO_GRANT: Wording = Wording {
    refuse: |failure| match &failure {
        Failure::Refused(Refusal::Unauthorised(_)) => {
            no(&failure, (Code::InvalidGrant, "invalid credentials".to_owned()))
        }
        other => no(other, said(other)),
    },
    ..NO
};

#[derive(Serialize, ToSchema)]
#[schema(as = IacNo)]
struct No {
    error: Code,
    message: String,
    /// How many machines somebody could get, where they are too few.
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = IacCode)]
#[serde(rename_all = "snake_case")]
enum Code {
    NotFound,
    Conflict,
    Forbidden,
    Unauthorized,
    InvalidRequest,
    InvalidGrant,
    NotEnoughAvailable,
    TooManyRequests,
    ServerError,
}

fn no(failure: &Failure, (error, message): (Code, String)) -> Response {
    let available = match failure {
        Failure::Refused(Refusal::Shortage(Shortage::TooFew { free, .. })) => Some(*free),
        _ => None,
    };
    refusal(failure, status(failure), No { error, message, available })
}

/// Where it had words of its own for it, those.
fn said(failure: &Failure) -> (Code, String) {
    let Failure::Refused(refusal) = failure else { return (code(status(failure)), failure.detail()) };
    match refusal {
        Refusal::Anonymous(_) => (Code::Unauthorized, "Missing Bearer token".to_owned()),
        Refusal::Unauthorised(_) => (Code::Unauthorized, "Invalid token".to_owned()),
        Refusal::NotAllowed(why) if why.has.0 < why.takes.0 => {
            (Code::Forbidden, format!("Missing required role: {}", why.takes.0))
        }
        Refusal::Shortage(_) => (Code::NotEnoughAvailable, failure.detail()),
        _ => (code(status(failure)), failure.detail()),
    }
}

/// It made no difference between a request that is wrong by itself and one that nobody could meet.
fn status(failure: &Failure) -> StatusCode {
    match failure.status() {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        other => other,
    }
}

fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthorized,
        StatusCode::FORBIDDEN => Code::Forbidden,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::CONFLICT => Code::Conflict,
        StatusCode::TOO_MANY_REQUESTS => Code::TooManyRequests,
        other if other.is_server_error() => Code::ServerError,
        _ => Code::InvalidRequest,
    }
}

/// What holds of any body.
#[cfg(any(test, fuzzing))]
pub(super) fn law(bytes: &[u8]) {
    machines::law(bytes);
    people::law(bytes);
    reservations::law(bytes);
}
