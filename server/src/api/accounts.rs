//! `/v1/accounts`, `/v1/tokens`, `/v1/me`, and logging in

use super::auth::{SESSION, shown};
use super::error::{Answer, Fault};
use super::path::Segment;
use super::query::{Query, query};
use super::{Routes, answered, any_of, body, created, desk, get, guard, ok, with};
use crate::app::{App, Desk, Refusal, Shown};
use model::auth::{Deed, TokenKind};
use model::wire::{AccountCreate, AccountPatch, Login, TokenCreate};
use warp::http::header::{HeaderValue, SET_COOKIE};
use warp::http::{HeaderMap, StatusCode};
use warp::{Filter, Reply};

pub(super) fn routes(app: &App) -> Routes {
    any_of(account_routes(app), [own_routes(app), token_routes(app), log_in_routes(app)])
}

fn account_routes(app: &App) -> Routes {
    let create = warp::path!("accounts")
        .and(warp::post())
        .and(desk(app, Deed::Accounts))
        .and(query(&[]))
        .and(body::json())
        .then(create)
        .map(answered(app, "POST /v1/accounts"))
        .boxed();
    let list = warp::path!("accounts")
        .and(get())
        .and(desk(app, Deed::Accounts))
        .and(query(&["cursor", "limit"]))
        .then(list)
        .map(answered(app, "GET /v1/accounts"))
        .boxed();
    let one = warp::path!("accounts" / Segment)
        .and(get())
        .and(desk(app, Deed::Accounts))
        .and(query(&[]))
        .then(one)
        .map(answered(app, "GET /v1/accounts/{name}"))
        .boxed();
    let patch = warp::path!("accounts" / Segment)
        .and(warp::patch())
        .and(desk(app, Deed::Accounts))
        .and(query(&[]))
        .and(body::json())
        .then(patch)
        .map(answered(app, "PATCH /v1/accounts/{name}"))
        .boxed();
    let delete = warp::path!("accounts" / Segment)
        .and(warp::delete())
        .and(desk(app, Deed::Accounts))
        .and(query(&["end_reservations"]))
        .then(delete)
        .map(answered(app, "DELETE /v1/accounts/{name}"))
        .boxed();
    any_of(list, [create, one, patch, delete])
}

fn own_routes(app: &App) -> Routes {
    let me = warp::path!("me")
        .and(get())
        .and(desk(app, Deed::Look))
        .and(query(&[]))
        .then(me)
        .map(answered(app, "GET /v1/me"))
        .boxed();
    let patch = warp::path!("me")
        .and(warp::patch())
        .and(desk(app, Deed::OwnAccount))
        .and(query(&[]))
        .and(body::json())
        .then(patch_me)
        .map(answered(app, "PATCH /v1/me"))
        .boxed();
    any_of(me, [patch])
}

fn token_routes(app: &App) -> Routes {
    let create = warp::path!("tokens")
        .and(warp::post())
        .and(desk(app, Deed::OwnAccount))
        .and(query(&[]))
        .and(body::json())
        .then(create_token)
        .map(answered(app, "POST /v1/tokens"))
        .boxed();
    let list = warp::path!("tokens")
        .and(get())
        .and(desk(app, Deed::OwnAccount))
        .and(query(&["account"]))
        .then(list_tokens)
        .map(answered(app, "GET /v1/tokens"))
        .boxed();
    let revoke = warp::path!("tokens" / Segment)
        .and(warp::delete())
        .and(desk(app, Deed::OwnAccount))
        .and(query(&[]))
        .then(revoke_token)
        .map(answered(app, "DELETE /v1/tokens/{id}"))
        .boxed();
    any_of(list, [create, revoke])
}

fn log_in_routes(app: &App) -> Routes {
    let log_in = warp::path!("login")
        .and(warp::post())
        .and(with(app))
        .and(shown())
        .and(query(&[]))
        .and(body::json())
        .then(log_in)
        .map(answered(app, "POST /v1/login"))
        .boxed();
    let open = warp::path!("session")
        .and(warp::post())
        .and(with(app))
        .and(shown())
        .and(warp::header::headers_cloned())
        .and(query(&[]))
        .and(body::json())
        .then(open_session)
        .map(answered(app, "POST /v1/session"))
        .boxed();
    let close = warp::path!("session")
        .and(warp::delete())
        .and(desk(app, Deed::Look))
        .and(query(&[]))
        .then(close_session)
        .map(answered(app, "DELETE /v1/session"))
        .boxed();
    any_of(log_in, [open, close])
}

async fn create(desk: Desk, query: Result<Query, Fault>, body: Result<AccountCreate, Fault>) -> Answer {
    query?;
    let made = desk.account_create(body?).await?;
    created(format!("/v1/accounts/{}", made.name), made)
}

async fn list(desk: Desk, query: Result<Query, Fault>) -> Answer {
    let query = query?;
    ok(desk.account_list(query.owned("cursor"), query.limit()?).await?)
}

async fn one(name: Segment, desk: Desk, query: Result<Query, Fault>) -> Answer {
    query?;
    ok(desk.account_get(&name.0).await?)
}

async fn patch(
    name: Segment,
    desk: Desk,
    query: Result<Query, Fault>,
    body: Result<AccountPatch, Fault>,
) -> Answer {
    query?;
    ok(desk.account_patch(&name.0, body?).await?)
}

async fn delete(name: Segment, desk: Desk, query: Result<Query, Fault>) -> Answer {
    desk.account_delete(&name.0, query?.flag("end_reservations")?).await?;
    nothing()
}

async fn me(desk: Desk, query: Result<Query, Fault>) -> Answer {
    query?;
    ok(desk.me())
}

async fn patch_me(desk: Desk, query: Result<Query, Fault>, body: Result<AccountPatch, Fault>) -> Answer {
    query?;
    ok(desk.own_account_patch(body?).await?)
}

async fn create_token(desk: Desk, query: Result<Query, Fault>, body: Result<TokenCreate, Fault>) -> Answer {
    query?;
    let made = desk.token_create(body?).await?;
    created(format!("/v1/tokens/{}", made.view.id), made)
}

async fn list_tokens(desk: Desk, query: Result<Query, Fault>) -> Answer {
    ok(desk.token_list(query?.text("account")).await?)
}

async fn revoke_token(id: Segment, desk: Desk, query: Result<Query, Fault>) -> Answer {
    query?;
    desk.token_revoke(&id.0).await?;
    nothing()
}

async fn log_in(
    app: App,
    shown: Result<Shown, Refusal>,
    query: Result<Query, Fault>,
    body: Result<Login, Fault>,
) -> Answer {
    query?;
    ok(app.log_in(&shown?, body?, TokenKind::Login).await?)
}

/// The token goes into the cookie, where no script of the page reads it, and nowhere else.
async fn open_session(
    app: App,
    shown: Result<Shown, Refusal>,
    headers: HeaderMap,
    query: Result<Query, Fault>,
    body: Result<Login, Fault>,
) -> Answer {
    query?;
    let shown = shown?;
    if !shown.is_same_site {
        return Err(Refusal::Forbidden("a page of another site has sent this request".to_owned()).into());
    }
    let made = app.log_in(&shown, body?, TokenKind::Session).await?;
    let mut response = ok(&made.account)?;
    set_cookie(&mut response, made.token.expose(), guard::is_local(&headers).is_err());
    Ok(response)
}

async fn close_session(desk: Desk, query: Result<Query, Fault>) -> Answer {
    query?;
    desk.log_out().await?;
    let mut response = nothing()?;
    set_cookie(&mut response, "; Max-Age=0", false);
    Ok(response)
}

/// Browsers keep it from scripts and from pages of other sites, and off plain HTTP beyond this computer.
fn set_cookie(response: &mut warp::reply::Response, value: &str, is_remote: bool) {
    let secure = if is_remote { "; Secure" } else { "" };
    let cookie = format!("{SESSION}={value}; Path=/; HttpOnly; SameSite=Strict{secure}");
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
}

fn nothing() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}
