//! `/v1/accounts`, `/v1/tokens`, `/v1/me`, and logging in

use super::answer::{Answers, Created, Nothing};
use super::auth::SESSION;
use super::error::Failure;
use super::guard;
use super::parameter::{ACCOUNT, CURSOR_NAME, END_RESERVATIONS, ITEMS};
use super::route::{Request, Route, Stranger, delete, get, patch, post};
use super::schemas::Schemas;
use crate::app::{Desk, Refusal};
use model::auth::{Deed, TokenKind};
use model::wire::{
    AccountCreate, AccountPatch, AccountView, LoggedIn, Login, Me, Page, TokenCreate, TokenCreated, TokenView,
};
use utoipa::openapi::path::Operation;
use warp::http::StatusCode;
use warp::http::header::{HeaderValue, SET_COOKIE};
use warp::reply::Response;

pub(super) fn routes() -> Vec<Route> {
    [log_in_routes(), own_routes(), account_routes(), token_routes()].into_iter().flatten().collect()
}

fn log_in_routes() -> Vec<Route> {
    vec![
        post("/v1/login", "a token for a name or e-mail and a password")
            .log_in()
            .refuses(&[StatusCode::UNAUTHORIZED])
            .by(log_in),
        post("/v1/session", "the same, as a cookie for browsers")
            .log_in()
            .refuses(&[StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN])
            .by(open_session),
        delete("/v1/session", "log out").deed(Deed::Look).by(close_session),
    ]
}

fn own_routes() -> Vec<Route> {
    vec![
        get("/v1/me", "who you are here").deed(Deed::Look).by(me),
        patch("/v1/me", "change your password or keys")
            .deed(Deed::OwnAccount)
            .refuses(&[StatusCode::CONFLICT])
            .by(change_me),
    ]
}

fn account_routes() -> Vec<Route> {
    const CLASH: &[StatusCode] = &[StatusCode::CONFLICT];
    vec![
        post("/v1/accounts", "make an account; the first one is an admin")
            .deed(Deed::Accounts)
            .refuses(CLASH)
            .by(create),
        get("/v1/accounts", "list accounts").deed(Deed::Accounts).takes(&[&CURSOR_NAME, &ITEMS]).by(list),
        get("/v1/accounts/{name}", "one account").deed(Deed::Accounts).by(one),
        patch("/v1/accounts/{name}", "change it, disable it").deed(Deed::Accounts).refuses(CLASH).by(change),
        delete("/v1/accounts/{name}", "delete it")
            .deed(Deed::Accounts)
            .takes(&[&END_RESERVATIONS])
            .refuses(CLASH)
            .by(remove),
    ]
}

fn token_routes() -> Vec<Route> {
    const REFUSED: &[StatusCode] = &[StatusCode::CONFLICT, StatusCode::NOT_FOUND];
    vec![
        post("/v1/tokens", "make a token for a program")
            .deed(Deed::OwnAccount)
            .refuses(REFUSED)
            .by(create_token),
        get("/v1/tokens", "list yours, with their last use")
            .deed(Deed::OwnAccount)
            .takes(&[&ACCOUNT])
            .refuses(REFUSED)
            .by(list_tokens),
        delete("/v1/tokens/{id}", "revoke one").deed(Deed::OwnAccount).owned().by(revoke_token),
    ]
}

async fn create(desk: Desk, request: Request<AccountCreate>) -> Result<Created<AccountView>, Failure> {
    let body = desk.account_create(request.body).await?;
    Ok(Created { location: format!("/v1/accounts/{}", body.name), body })
}

async fn list(desk: Desk, request: Request) -> Result<Page<AccountView>, Failure> {
    Ok(desk.account_list(request.query.owned("cursor"), request.query.limit()?).await?)
}

async fn one(desk: Desk, request: Request) -> Result<AccountView, Failure> {
    Ok(desk.account_get(&request.place).await?)
}

async fn change(desk: Desk, request: Request<AccountPatch>) -> Result<AccountView, Failure> {
    Ok(desk.account_patch(&request.place, request.body).await?)
}

async fn remove(desk: Desk, request: Request) -> Result<Nothing, Failure> {
    desk.account_delete(&request.place, request.query.flag("end_reservations")?).await?;
    Ok(Nothing)
}

async fn me(desk: Desk, _: Request) -> Result<Me, Failure> {
    Ok(desk.me())
}

async fn change_me(desk: Desk, request: Request<AccountPatch>) -> Result<AccountView, Failure> {
    Ok(desk.own_account_patch(request.body).await?)
}

async fn create_token(desk: Desk, request: Request<TokenCreate>) -> Result<Created<TokenCreated>, Failure> {
    let body = desk.token_create(request.body).await?;
    Ok(Created { location: format!("/v1/tokens/{}", body.view.id), body })
}

async fn list_tokens(desk: Desk, request: Request) -> Result<Page<TokenView>, Failure> {
    Ok(desk.token_list(request.query.text("account")).await?)
}

async fn revoke_token(desk: Desk, request: Request) -> Result<Nothing, Failure> {
    desk.token_revoke(&request.place).await?;
    Ok(Nothing)
}

async fn log_in(stranger: Stranger, request: Request<Login>) -> Result<LoggedIn, Failure> {
    Ok(stranger.app.log_in(&stranger.shown, request.body, TokenKind::Login).await?)
}

/// The token goes into the cookie, where no script of the page reads it, and nowhere else.
async fn open_session(
    stranger: Stranger,
    request: Request<Login>,
) -> Result<WithCookie<AccountView>, Failure> {
    if !stranger.shown.is_same_site {
        return Err(Refusal::Forbidden("a page of another site has sent this request".to_owned()).into());
    }
    let made = stranger.app.log_in(&stranger.shown, request.body, TokenKind::Session).await?;
    let cookie = cookie(made.token.expose(), guard::is_local(&request.headers).is_err());
    Ok(WithCookie { body: made.account, cookie })
}

async fn close_session(desk: Desk, _: Request) -> Result<WithCookie<Nothing>, Failure> {
    desk.log_out().await?;
    Ok(WithCookie { body: Nothing, cookie: cookie("; Max-Age=0", false) })
}

struct WithCookie<A> {
    body: A,
    cookie: String,
}

impl<A: Answers> Answers for WithCookie<A> {
    fn respond(self) -> Response {
        let mut response = self.body.respond();
        if let Ok(cookie) = HeaderValue::try_from(self.cookie) {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }

    fn describe(schemas: &mut Schemas, operation: Operation) -> Operation {
        A::describe(schemas, operation)
    }
}

/// Browsers keep it from scripts and from pages of other sites, and off plain HTTP beyond this computer.
fn cookie(value: &str, is_remote: bool) -> String {
    let secure = if is_remote { "; Secure" } else { "" };
    format!("{SESSION}={value}; Path=/; HttpOnly; SameSite=Strict{secure}")
}
