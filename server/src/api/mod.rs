//! HTTP: the only place that knows warp. A route extracts, asks the app, and words the answer.

pub mod accept;
mod accounts;
mod agent;
mod answer;
mod auth;
mod body;
mod compat;
mod connection;
mod crowd;
mod docs;
mod document;
mod error;
mod events;
mod guard;
mod header;
#[cfg(any(test, fuzzing))]
pub mod laws;
mod machines;
mod meta;
mod parameter;
mod path;
pub mod peer;
mod pools;
mod query;
mod reservations;
mod route;
mod schemas;
mod steady;
mod taken;

use crate::app::App;
use error::Fault;
use route::{Description, Route};
use std::convert::Infallible;
use std::sync::{Arc, LazyLock};
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::http::header::{ALLOW, CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

/// A route, or several: boxed, because the compiler takes minutes over their types otherwise.
pub type Routes = BoxedFilter<(Response,)>;

/// Every route there is, in the order of the index. What is not in here is not served.
fn every_route() -> Vec<Route> {
    [
        meta::routes(),
        machines::routes(),
        reservations::routes(),
        pools::routes(),
        events::routes(),
        accounts::routes(),
        compat::routes(),
        agent::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What every route is.
static DESCRIPTIONS: LazyLock<Vec<Arc<Description>>> =
    LazyLock::new(|| every_route().into_iter().map(|route| route.description).collect());

/// What people and their programs use.
pub fn routes(app: App) -> Routes {
    served(app, |description| !description.access.is_of_agents())
}

/// The agents' own door: enrol and sync, each with a credential of its own, and nothing else.
pub fn agent_routes(app: App) -> Routes {
    served(app, |description| description.access.is_of_agents())
}

fn served(app: App, is_here: fn(&Description) -> bool) -> Routes {
    let routes = every_route().into_iter().filter(|route| is_here(&route.description));
    let served = routes.map(|route| route.serve(&app));
    let all = served.reduce(|all, next| all.or(next).unify().boxed()).expect("there are routes");
    finished(app, all, is_here)
}

/// Answers what no route took, and marks every response.
fn finished(app: App, routes: Routes, is_here: fn(&Description) -> bool) -> Routes {
    let recover = move |rejection: Rejection| {
        let fault = Fault::of(&rejection);
        app.request_seen("none", fault.status.as_u16());
        let mut response = Response::default();
        response.extensions_mut().insert(fault);
        std::future::ready(Ok::<_, Infallible>(response))
    };
    let marked = move |path: FullPath, mut response: Response| {
        let fault = response.extensions_mut().remove::<Fault>();
        let response = fault.map_or(response, |fault| worded(path.as_str(), fault, is_here));
        marked(path, response, is_here)
    };
    warp::path::full().and(routes.recover(recover).unify()).map(marked).boxed()
}

/// In the words of the older system whose path it is.
fn worded(path: &str, fault: Fault, is_here: fn(&Description) -> bool) -> Response {
    let of_path = |route: &&Arc<Description>| is_here(route) && path::is_like(route.path, path);
    match DESCRIPTIONS.iter().find(of_path).and_then(|route| route.wording) {
        Some(own) => (own.refuse)(fault.into()),
        None => fault.into_response(),
    }
}

fn marked(path: FullPath, mut response: Response, is_here: fn(&Description) -> bool) -> Response {
    let is_wrong = response.status() == StatusCode::METHOD_NOT_ALLOWED;
    let allow = is_wrong.then(|| allowed(path.as_str(), is_here));
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(allow) = allow.and_then(|methods| HeaderValue::try_from(methods).ok()) {
        headers.insert(ALLOW, allow);
    }
    response
}

/// The methods a path has, as the header `allow` lists them.
fn allowed(path: &str, is_here: fn(&Description) -> bool) -> String {
    let of_path = |route: &&Arc<Description>| is_here(route) && path::places(route.path, path).is_some();
    let methods = DESCRIPTIONS
        .iter()
        .filter(of_path)
        .map(|route| if route.answers_head() { "GET, HEAD".to_owned() } else { route.method.to_string() });
    methods.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let allowed = |path| allowed(path, |route| !route.access.is_of_agents());
        assert_eq!(allowed("/v1/machines"), "POST, GET, HEAD");
        assert_eq!(allowed("/v1/machines/"), "POST, GET, HEAD");
        assert_eq!(allowed("/v1/reservations/0190"), "GET, HEAD, PATCH, DELETE");
        assert_eq!(allowed("/reserve"), "GET, POST");
        assert_eq!((allowed("/nowhere"), allowed("/v1/agent/sync")), (String::new(), String::new()));
    }

    #[test]
    fn no_two_routes_are_the_same() {
        let mut labels: Vec<_> = DESCRIPTIONS.iter().map(|route| route.label()).collect();
        let all = labels.len();
        labels.sort();
        labels.dedup();
        assert_eq!(labels.len(), all);
    }
}
