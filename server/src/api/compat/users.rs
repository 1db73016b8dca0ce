//! The users API, in its own words: `/api/v1/users`. Its users are accounts, and their passwords come as SHA-1 digests.

use super::{refusal, status};
use crate::api::answer::{Answers, Created, answered, json};
use crate::api::error::{Failure, Fault};
use crate::api::route::{Request, Route, Wording, delete, get, post};
use crate::api::schemas::Schemas;
use crate::app::{Desk, Refusal};
use model::AccountName;
use model::auth::{Deed, Sha1Digest};
use model::ssh::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::Response as Described;
use utoipa::openapi::path::Operation;
use warp::Reply;
use warp::http::StatusCode;
use warp::reply::Response;

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("/api/v1/users", "add a user, whose password is its SHA-1 digest")
            .deed(Deed::Accounts)
            .leniently()
            .worded(SAID)
            .by(add),
        get("/api/v1/users", "names of users").deed(Deed::Accounts).leniently().worded(SAID).by(users),
        delete("/api/v1/users/{name}", "remove a user, and end their reservations")
            .deed(Deed::Accounts)
            .leniently()
            .worded(SAID)
            .by(remove),
    ]
}

#[derive(Deserialize, ToSchema)]
#[schema(as = OldUser)]
struct User {
    #[schema(value_type = AccountName, required = true)]
    username: Option<String>,
    #[schema(value_type = Sha1Digest, required = true)]
    password: Option<Secret>,
}

impl User {
    fn read(self) -> Result<(AccountName, Secret), Fault> {
        let (Some(name), Some(password)) = (self.username, self.password) else { return Err(missing()) };
        if name.is_empty() || password.expose().is_empty() {
            return Err(missing());
        }
        let name = name.parse().map_err(|why| Fault::field("username", format!("`username`: {why}")))?;
        Ok((name, password))
    }
}

fn missing() -> Fault {
    Fault::new(StatusCode::BAD_REQUEST, "username or password missing")
}

fn digest(password: &Secret) -> Result<Sha1Digest, Fault> {
    let odd = |_| Fault::field("password", "password not in sha1 format. Enter a proper format");
    password.expose().parse().map_err(odd)
}

async fn add(desk: Desk, request: Request<User>) -> Result<Created<Said>, Failure> {
    let (name, password) = request.body.read()?;
    let exists = || Refusal::Conflict(format!("user {name} already exists"));
    // Its clients learn this before anything is said of their password.
    match desk.account_get(name.as_str()).await {
        Ok(_) => return Err(exists().into()),
        Err(Refusal::NotFound(_)) => {}
        Err(other) => return Err(other.into()),
    }
    let made = desk.account_create_by_digest(name.clone(), digest(&password)?).await;
    made.map_err(|refusal| match refusal {
        Refusal::Conflict(_) => exists(),
        other => other,
    })?;
    let body = Said { message: format!("User {name} added") };
    Ok(Created { location: format!("/v1/accounts/{name}"), body })
}

async fn users(desk: Desk, _: Request) -> Result<Users, Failure> {
    Ok(Users(Names(desk.account_users().await?)))
}

async fn remove(desk: Desk, request: Request) -> Result<Said, Failure> {
    let name = request.place;
    desk.account_delete(&name, true).await.map_err(|refusal| match refusal {
        Refusal::NotFound(_) => Refusal::Conflict("User doesn't exist".to_owned()),
        other => other,
    })?;
    Ok(Said { message: format!("user {name} removed") })
}

/// Of users.
#[derive(Serialize, ToSchema)]
#[schema(as = OldUserNames)]
struct Names(Vec<AccountName>);

/// 204 when there are none.
struct Users(Names);

impl Answers for Users {
    fn respond(self) -> Response {
        if self.0.0.is_empty() { StatusCode::NO_CONTENT.into_response() } else { self.0.respond() }
    }

    fn describe(schemas: &mut Schemas, operation: Operation) -> Operation {
        let operation = answered(operation, StatusCode::OK, json::<Names>(schemas, "their names"));
        answered(operation, StatusCode::NO_CONTENT, Described::new("there are none"))
    }
}

/// What became of it, well or not.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OldUserSaid)]
struct Said {
    message: String,
}

const SAID: Wording = Wording {
    refuse: said,
    describe: |schemas: &mut Schemas| schemas.of::<Said>(),
    statuses: &[StatusCode::BAD_REQUEST],
};

fn said(failure: Failure) -> Response {
    refusal(&failure, status(&failure), Said { message: failure.detail() })
}

/// What holds of any body.
#[cfg(any(test, fuzzing))]
pub(super) fn law(bytes: &[u8]) {
    let read = crate::api::body::parse(bytes).and_then(User::read);
    read.map_or_else(crate::api::laws::is_theirs, |(_, password)| {
        digest(&password).map_or_else(crate::api::laws::is_theirs, |digest| {
            assert!(digest.expose().eq_ignore_ascii_case(password.expose()));
        });
    });
}
