//! HTTP: the only place that knows warp. A route extracts, asks the app, and words the answer.

pub mod accept;
mod accounts;
mod agent;
mod auth;
mod body;
mod compat;
mod connection;
mod crowd;
mod error;
mod events;
mod guard;
mod header;
#[cfg(any(test, fuzzing))]
pub mod laws;
mod machines;
mod meta;
mod path;
pub mod peer;
mod pools;
mod query;
mod reservations;
mod steady;

use crate::app::App;
use auth::desk;
use error::{Answer, Denied, Failure, Fault};
use serde::Serialize;
use std::convert::Infallible;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS};
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

/// A route, or several: boxed, because the compiler takes minutes over their types otherwise.
pub type Routes = BoxedFilter<(Response,)>;

/// What people and their programs use.
pub fn routes(app: App) -> Routes {
    let v1 = any_of(
        machines::routes(&app),
        [
            reservations::routes(&app),
            pools::routes(&app),
            events::routes(&app),
            accounts::routes(&app),
            meta::v1(&app),
        ],
    );
    let v1 = warp::path("v1").and(v1).boxed();
    let all = any_of(v1, [meta::routes(&app), compat::routes(&app)]);
    finished(app, all)
}

/// The agents' own door: enrol and sync, each with a credential of its own, and nothing else.
pub fn agent_routes(app: App) -> Routes {
    let agent = warp::path("v1").and(agent::routes(&app)).boxed();
    finished(app, agent)
}

fn any_of<const N: usize>(first: Routes, others: [Routes; N]) -> Routes {
    others.into_iter().fold(first, |all, next| all.or(next).unify().boxed())
}

fn with(app: &App) -> impl Filter<Extract = (App,), Error = Infallible> + Clone + use<> {
    let app = app.clone();
    warp::any().map(move || app.clone())
}

/// `HEAD` is answered like `GET`; hyper leaves the body out.
fn get() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    warp::get().or(warp::head()).unify()
}

/// The end of every route: a failure becomes its response here, so that warp never tries another route after
/// a handler ran, and the request is counted.
fn answered(app: &App, route: &'static str) -> impl Fn(Answer) -> Response + Clone + use<> {
    let app = app.clone();
    move |answer| {
        let response = answer.unwrap_or_else(|failure| failure.into_response());
        app.request_seen(route, response.status().as_u16());
        response
    }
}

/// Answers what no route took, and marks every response.
fn finished(app: App, routes: Routes) -> Routes {
    let recover = move |rejection: Rejection| {
        let response = match rejection.find::<Denied>() {
            Some(Denied(refusal)) => Failure::from(refusal.clone()).into_response(),
            None => Fault::of(&rejection).into_response(),
        };
        app.request_seen("none", response.status().as_u16());
        std::future::ready(Ok::<_, Infallible>(response))
    };
    warp::path::full().and(routes.recover(recover).unify()).map(marked).boxed()
}

fn marked(path: FullPath, mut response: Response) -> Response {
    let allow = (response.status() == StatusCode::METHOD_NOT_ALLOWED).then(|| meta::allowed(path.as_str()));
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(allow) = allow.and_then(|methods| HeaderValue::try_from(methods).ok()) {
        headers.insert(ALLOW, allow);
    }
    response
}

fn ok<T: Serialize>(body: T) -> Answer {
    json(StatusCode::OK, body)
}

fn json<T: Serialize>(status: StatusCode, body: T) -> Answer {
    Ok(warp::reply::with_status(warp::reply::json(&body), status).into_response())
}

fn created<T: Serialize>(location: String, body: T) -> Answer {
    let mut response = json(StatusCode::CREATED, body)?;
    // Ids and names are plain ASCII, so that this cannot fail; without the header the answer still holds.
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

fn text(content_type: &'static str, body: String) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
