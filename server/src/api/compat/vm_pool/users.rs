//! Its users, by number and e-mail.

use super::{
    Auth, LoudMessage, Message, REFUSED, Rows, WORDS, is_refused, no, numbered, people, refuse, word,
};
use crate::api::answer::Made;
use crate::api::body::MayBody;
use crate::api::error::{Failure, Fault};
use crate::api::route::{Asker, Request, Route, Wording, delete, get, patch, post};
use crate::app::{Desk, Person, PersonChange, Refusal};
use model::auth::{Deed, Role};
use model::ssh::Secret;
use model::wire::AccountView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::reply::Response;

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("/user", "make a user; the first one is admin")
            .deed_by_body(Deed::Accounts)
            .leniently()
            .worded(WORDS)
            .by(create),
        get("/user", "users by id").deed(Deed::Look).leniently().worded(WORDS).by(list),
        get("/user/id/{number}", "one user").deed(Deed::Look).leniently().worded(WORDS).by(by_id),
        get("/user/email/{word}", "one user").deed(Deed::Look).leniently().worded(WORDS).by(by_email),
        patch("/user", "change oneself, or as admin anybody")
            .deed_by_body(Deed::OwnAccount)
            .leniently()
            .worded(GENTLY)
            .by(change),
        delete("/user/id/{number}", "delete a user and end what they have")
            .deed_by_body(Deed::Accounts)
            .leniently()
            .worded(WORDS)
            .by(remove),
    ]
}

/// Who may not change somebody is told so with another status.
const GENTLY: Wording = Wording { refuse: gently, ..WORDS };

fn gently(failure: Failure) -> Response {
    let was_refused = is_refused(&failure);
    let mut response = refuse(failure);
    if was_refused {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    response
}

#[derive(Default, Deserialize, ToSchema)]
#[schema(as = VmUserNew)]
pub(super) struct NewUser {
    auth: Option<Auth>,
    #[schema(value_type = model::text::Line, required = true)]
    name: Option<String>,
    #[schema(value_type = model::auth::Email, required = true)]
    email: Option<String>,
    #[schema(value_type = model::text::Line, required = true)]
    password: Option<Secret>,
    #[schema(value_type = Option<Role>)]
    role: Option<String>,
}

fn needed<T>(field: &str, value: Option<T>) -> Result<T, Fault> {
    value.ok_or_else(|| Fault::field(field, format!("give `{field}`")))
}

async fn create(asker: Asker, request: Request<MayBody<NewUser>>) -> Result<Made<Message>, Failure> {
    let NewUser { auth, name, email, password, role } = request.body.0.unwrap_or_default();
    let desk = asker.desk(auth).await?;
    let role = role.map(|role| role.to_lowercase().parse()).transpose();
    let person = Person {
        full_name: needed("name", name)?,
        email: needed("email", email)?,
        password: needed("password", password)?,
        role: role
            .map_err(|why: String| Fault::field("role", format!("`role` {why}")))?
            .unwrap_or(Role::User),
    };
    desk.person_create(person).await.map_err(taken)?;
    Ok(Made(Message { message: "User Created." }))
}

fn taken(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Conflict(_) => {
            no(StatusCode::BAD_REQUEST, "User with same email already exist,User is not created.")
        }
        other => other.into(),
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = VmUsers)]
struct Users {
    #[serde(rename = "User_Details")]
    details: Rows<User>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = VmUser)]
struct User {
    email: String,
    id: i64,
    name: String,
}

pub(super) fn email_of(account: &AccountView) -> String {
    account.email.as_ref().map(ToString::to_string).unwrap_or_default()
}

pub(super) fn name_of(account: &AccountView) -> String {
    account.full_name.clone().unwrap_or_else(|| account.name.to_string())
}

async fn those(desk: &Desk, are_meant: impl Fn(&AccountView) -> bool) -> Result<Users, Failure> {
    let row =
        |account: &AccountView| User { email: email_of(account), id: account.number, name: name_of(account) };
    let people = people(desk).await?;
    let rows =
        people.iter().filter(|account| are_meant(account)).map(|account| (account.number, row(account)));
    Ok(Users { details: Rows::of(rows) })
}

async fn list(desk: Desk, _: Request) -> Result<Users, Failure> {
    those(&desk, |_| true).await
}

async fn by_id(desk: Desk, request: Request) -> Result<Users, Failure> {
    let number = numbered(&request.place)?;
    those(&desk, |account| account.number == number).await
}

async fn by_email(desk: Desk, request: Request) -> Result<Users, Failure> {
    let email = word(request.place)?.to_lowercase();
    those(&desk, |account| email_of(account) == email).await
}

#[derive(Default, Deserialize, ToSchema)]
#[schema(as = VmUserChange)]
pub(super) struct Change {
    auth: Option<Auth>,
    #[schema(schema_with = super::id)]
    id: Option<super::Number>,
    #[schema(value_type = Option<model::text::Line>)]
    name: Option<String>,
    #[schema(value_type = Option<model::auth::Email>)]
    email: Option<String>,
    #[schema(value_type = Option<model::text::Line>)]
    password: Option<Secret>,
}

async fn change(asker: Asker, request: Request<MayBody<Change>>) -> Result<LoudMessage, Failure> {
    let Change { auth, id, name, email, password } = request.body.0.unwrap_or_default();
    let desk = asker.desk(auth).await?;
    let number = needed("id", id)?.read("id")?;
    // Of others nobody but an admin knows.
    let people = people(&desk).await?;
    let found = people.iter().find(|account| account.number == number).ok_or_else(|| {
        if desk.looks_after_all() {
            no(StatusCode::BAD_REQUEST, "Invalid User")
        } else {
            Refusal::Forbidden(REFUSED.to_owned()).into()
        }
    })?;
    let change = PersonChange { full_name: name, email, password };
    desk.person_change(found.name.as_str(), change).await.map_err(taken)?;
    Ok(LoudMessage { message: "Update done" })
}

#[derive(Default, Deserialize, ToSchema)]
#[schema(as = VmAsking)]
pub(super) struct Asking {
    pub(super) auth: Option<Auth>,
}

async fn remove(asker: Asker, request: Request<MayBody<Asking>>) -> Result<LoudMessage, Failure> {
    let desk = asker.desk(request.body.0.unwrap_or_default().auth).await?;
    let number = numbered(&request.place)?;
    if desk.me().account.is_some_and(|own| own.number == number) {
        return Err(no(StatusCode::BAD_REQUEST, "User self delete not allowed"));
    }
    let people = people(&desk).await?;
    let invalid = || no(StatusCode::BAD_REQUEST, "Invalid User");
    let found = people.iter().find(|account| account.number == number).ok_or_else(invalid)?;
    desk.account_delete(found.name.as_str(), true).await?;
    Ok(LoudMessage { message: "Record Deleted" })
}
