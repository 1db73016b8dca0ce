//! Logging in, and who may.

use super::{DELETED, Deleted, NO, NO_GRANT};
use crate::api::answer::Created;
use crate::api::compat::every;
use crate::api::error::{Failure, Fault};
use crate::api::route::{Request, Route, Stranger, delete, get, patch, post};
use crate::app::Desk;
use model::auth::{Deed, Email, Role, TokenKind};
use model::ssh::Secret;
use model::wire::{AccountCreate, AccountPatch, AccountView, Login};
use model::{AccountId, AccountName, Timestamp, text};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use warp::http::StatusCode;

pub(super) fn routes() -> Vec<Route> {
    const CLASH: &[StatusCode] = &[StatusCode::CONFLICT];
    vec![
        post("/iac/auth/login", "a token for a name or e-mail and a password")
            .log_in()
            .leniently()
            .refuses(&[StatusCode::UNAUTHORIZED])
            .worded(NO_GRANT)
            .by(log_in),
        get("/iac/auth/me", "who you are here").deed(Deed::Look).leniently().worded(NO).by(me),
        get("/iac/users", "list users").deed(Deed::Accounts).leniently().worded(NO).by(list),
        post("/iac/users", "make a user; the first one is an admin")
            .deed(Deed::Accounts)
            .leniently()
            .refuses(CLASH)
            .worded(NO)
            .by(create),
        get("/iac/users/{name}", "one user").deed(Deed::Accounts).leniently().worded(NO).by(one),
        patch("/iac/users/{name}", "change it")
            .deed(Deed::Accounts)
            .leniently()
            .refuses(CLASH)
            .worded(NO)
            .by(change),
        delete("/iac/users/{name}", "delete it, and end its reservations")
            .deed(Deed::Accounts)
            .leniently()
            .refuses(CLASH)
            .worded(NO)
            .by(remove),
    ]
}

/// A name or an e-mail.
#[derive(Deserialize, ToSchema)]
#[schema(as = IacLogIn)]
struct LogIn {
    #[schema(value_type = Option<text::Line>)]
    username: Option<String>,
    #[schema(value_type = Option<text::Line>)]
    email: Option<String>,
    #[schema(value_type = text::Line, required = true)]
    password: Option<Secret>,
}

impl LogIn {
    fn read(self) -> Result<Login, Fault> {
        let account = [self.username, self.email].into_iter().flatten().find(|name| !name.is_empty());
        let (Some(account), Some(password)) = (account, self.password) else {
            let detail = "username and password are required; an email will do for the username";
            return Err(Fault::new(StatusCode::BAD_REQUEST, detail));
        };
        Ok(Login { account, password })
    }
}

pub(super) fn rule() -> (&'static str, Value) {
    let said =
        |field: &str| json!({"required": [field], "properties": {field: {"type": "string", "minLength": 1}}});
    ("IacLogIn", json!({"anyOf": [said("username"), said("email")]}))
}

#[derive(Serialize, ToSchema)]
#[schema(as = IacToken)]
struct Token {
    access_token: Secret,
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
}

async fn log_in(stranger: Stranger, request: Request<LogIn>) -> Result<Token, Failure> {
    let Stranger { app, shown } = stranger;
    let logged_in = app.log_in(&shown, request.body.read()?, TokenKind::Login).await?;
    let expires_in = logged_in.expires_at.duration_since(app.now()).as_secs();
    Ok(Token { access_token: logged_in.token, token_type: "Bearer", expires_in })
}

#[derive(Serialize, ToSchema)]
#[schema(as = IacMe)]
struct Me {
    username: String,
    is_admin: bool,
}

/// While there are no accounts, whoever is on this computer is an admin by the name that the events give them.
async fn me(desk: Desk, _: Request) -> Result<Me, Failure> {
    let username = desk.me().account.map_or_else(|| "open".to_owned(), |account| account.name.to_string());
    Ok(Me { username, is_admin: desk.looks_after_all() })
}

#[derive(Serialize, ToSchema)]
#[schema(as = IacUser)]
struct User {
    user_id: AccountId,
    username: AccountName,
    is_admin: bool,
    created_at: Timestamp,
}

impl From<AccountView> for User {
    fn from(account: AccountView) -> Self {
        Self {
            user_id: account.id,
            username: account.name,
            is_admin: account.role == Role::Admin,
            created_at: account.created_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = IacUsers)]
struct Users(Vec<User>);

#[derive(Deserialize, ToSchema)]
#[schema(as = IacUserCreate)]
struct New {
    #[schema(value_type = AccountName)]
    username: String,
    #[schema(value_type = text::Password)]
    password: Secret,
    #[schema(value_type = Option<Email>)]
    email: Option<String>,
    is_admin: Option<bool>,
}

impl New {
    fn read(self) -> Result<AccountCreate, Fault> {
        let fit = self.username.parse::<AccountName>();
        fit.map_err(|why| Fault::field("username", format!("`username`: {why}")))?;
        Ok(AccountCreate {
            name: self.username,
            email: self.email,
            password: Some(self.password),
            // Left out, so that the first one may be an admin.
            role: self.is_admin.filter(|is_admin| *is_admin).map(role),
            ..AccountCreate::default()
        })
    }
}

/// What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[schema(as = IacUserPatch)]
struct Change {
    #[schema(value_type = Option<text::Password>)]
    password: Option<Secret>,
    #[schema(value_type = Option<text::EmailOrNone>)]
    email: Option<String>,
    is_admin: Option<bool>,
}

impl Change {
    fn read(self) -> Option<AccountPatch> {
        let Self { password, email, is_admin } = self;
        if password.is_none() && email.is_none() && is_admin.is_none() {
            return None;
        }
        Some(AccountPatch { password, email, role: is_admin.map(role), ..AccountPatch::default() })
    }
}

fn role(is_admin: bool) -> Role {
    if is_admin { Role::Admin } else { Role::User }
}

async fn list(desk: Desk, _: Request) -> Result<Users, Failure> {
    Ok(Users(every::accounts(&desk).await?.into_iter().map(User::from).collect()))
}

async fn create(desk: Desk, request: Request<New>) -> Result<Created<User>, Failure> {
    let made = desk.account_create(request.body.read()?).await?;
    Ok(Created { location: format!("/iac/users/{}", made.name), body: made.into() })
}

async fn one(desk: Desk, request: Request) -> Result<User, Failure> {
    Ok(desk.account_get(&request.place).await?.into())
}

async fn change(desk: Desk, request: Request<Change>) -> Result<User, Failure> {
    Ok(match request.body.read() {
        Some(patch) => desk.account_patch(&request.place, patch).await?.into(),
        None => desk.account_get(&request.place).await?.into(),
    })
}

async fn remove(desk: Desk, request: Request) -> Result<Deleted, Failure> {
    desk.account_delete(&request.place, true).await?;
    Ok(DELETED)
}

#[cfg(any(test, fuzzing))]
pub(super) fn law(bytes: &[u8]) {
    use crate::api::{body::parse, laws::is_theirs};
    parse(bytes).and_then(LogIn::read).map_or_else(is_theirs, |login| assert!(!login.account.is_empty()));
    parse(bytes).and_then(New::read).map_or_else(is_theirs, |create| {
        assert!(create.name.parse::<AccountName>().is_ok_and(|name| !name.as_user().as_str().is_empty()));
    });
    parse::<Change>(bytes).map_or_else(is_theirs, |change| drop(change.read()));
}
