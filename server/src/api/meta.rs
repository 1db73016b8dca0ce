//! About the server: what it offers, how it does, how much is free.

use super::error::{Answer, Fault};
use super::query::{Query, query};
use super::{Routes, answered, any_of, desk, get, ok, text, with};
use crate::app::{App, Desk};
use model::auth::Deed;
use serde_json::json;
use std::fmt::Write;
use warp::Filter;

/// Every path and what it is for: shown at `/`, and what `allow` says at a wrong method.
const INDEX: &[(&str, &str, &str)] = &[
    ("GET", "/", "this list"),
    ("GET", "/healthz", "whether the server works, and how much is stuck"),
    ("GET", "/metrics", "numbers for Prometheus"),
    ("GET", "/v1/version", "version of the server, epoch of its database"),
    ("GET", "/v1/availability", "how many machines are free (?label=os=debian)"),
    ("POST", "/v1/machines", "register a machine"),
    ("GET", "/v1/machines", "list machines (?label= &state= &limit= &cursor=)"),
    ("GET", "/v1/machines/{name}", "one machine"),
    ("PATCH", "/v1/machines/{name}", "change its labels, cordon it"),
    ("DELETE", "/v1/machines/{name}", "retire it; it goes when nothing is left on it"),
    ("GET", "/v1/machines/{name}/cleanings", "what was taken away, and how long it took (?limit= &cursor=)"),
    ("POST", "/v1/machines/{name}/clean", "have its agent try again to get clean"),
    ("POST", "/v1/reservations", "reserve machines"),
    ("GET", "/v1/reservations", "list reservations (?username= &phase= &limit= &cursor=)"),
    ("GET", "/v1/reservations/{id}", "one reservation"),
    ("PATCH", "/v1/reservations/{id}", "let it end at another time (?wait=)"),
    ("DELETE", "/v1/reservations/{id}", "release it (?wait=)"),
    ("GET", "/v1/pools", "list pools"),
    ("GET", "/v1/pools/{name}", "one pool"),
    ("PUT", "/v1/pools/{name}", "make a pool, or change it"),
    ("POST", "/v1/pools/{name}/accept-losses", "believe its provider that machines are lost"),
    ("GET", "/v1/machines/{name}/access", "who could log in on it (?at=)"),
    ("POST", "/v1/machines/{name}/adopt", "give it an agent of its own"),
    ("POST", "/v1/machines/{name}/release-agent", "take that away again"),
    ("GET", "/v1/events", "what happened (?after= &machine= &kind= &actor= &limit=)"),
    ("POST", "/v1/login", "a token for a name or e-mail and a password"),
    ("POST", "/v1/session", "the same, as a cookie for browsers"),
    ("DELETE", "/v1/session", "log out"),
    ("GET", "/v1/me", "who you are here"),
    ("PATCH", "/v1/me", "change your password or keys"),
    ("POST", "/v1/accounts", "make an account; the first one is an admin"),
    ("GET", "/v1/accounts", "list accounts (?limit= &cursor=)"),
    ("GET", "/v1/accounts/{name}", "one account"),
    ("PATCH", "/v1/accounts/{name}", "change it, disable it"),
    ("DELETE", "/v1/accounts/{name}", "delete it (?end_reservations=true)"),
    ("POST", "/v1/tokens", "make a token for a program"),
    ("GET", "/v1/tokens", "list yours, with their last use (?account=)"),
    ("DELETE", "/v1/tokens/{id}", "revoke one"),
    ("POST", "/machines", "for older clients, as are all below"),
    ("GET", "/machines", "machines"),
    ("DELETE", "/machines/{name}", "retire a machine"),
    ("GET", "/reserve", "reserve (?username= &password= &count= &duration= in minutes)"),
    ("POST", "/reserve", "the same, from a JSON body"),
    ("GET", "/available", "names of free and of reserved machines"),
    ("GET", "/reservations", "who has which machine, and for how long"),
    ("GET", "/release_all", "end every reservation"),
    ("POST", "/v1/agent/enrol", "agents only, at their own door: become a machine"),
    ("POST", "/v1/agent/sync", "agents only, at their own door: report, and hear what to do"),
];

pub(super) fn v1(app: &App) -> Routes {
    let availability = warp::path!("availability")
        .and(get())
        .and(desk(app, Deed::Look))
        .and(query(&["label"]))
        .then(availability)
        .map(answered(app, "GET /v1/availability"))
        .boxed();
    let version = warp::path!("version")
        .and(get())
        .and(desk(app, Deed::Look))
        .map(|desk: Desk| ok(desk.version()))
        .map(answered(app, "GET /v1/version"))
        .boxed();
    any_of(availability, [version])
}

pub(super) fn routes(app: &App) -> Routes {
    let health = warp::path!("healthz")
        .and(get())
        .and(with(app))
        .then(health)
        .map(answered(app, "GET /healthz"))
        .boxed();
    let metrics = warp::path!("metrics")
        .and(get())
        .and(desk(app, Deed::Look))
        .then(metrics)
        .map(answered(app, "GET /metrics"))
        .boxed();
    let index = warp::path::end()
        .and(get())
        .and(warp::header::optional::<String>("accept"))
        .map(index)
        .map(answered(app, "GET /"))
        .boxed();
    any_of(health, [metrics, index])
}

async fn availability(desk: Desk, query: Result<Query, Fault>) -> Answer {
    ok(desk.availability(query?.labels()?).await?)
}

async fn health(app: App) -> Answer {
    ok(app.health().await?)
}

async fn metrics(desk: Desk) -> Answer {
    let metrics = desk.metrics().await?;
    Ok(text("application/openmetrics-text; version=1.0.0; charset=utf-8", metrics))
}

fn index(accept: Option<String>) -> Answer {
    if accept.is_some_and(|accept| accept.contains("json")) {
        let row =
            |(method, path, what): &(&str, &str, &str)| json!({"method": method, "path": path, "what": what});
        return ok(json!({"name": "berth", "routes": INDEX.iter().map(row).collect::<Vec<_>>()}));
    }
    Ok(text("text/plain; charset=utf-8", plain_index()))
}

fn plain_index() -> String {
    let mut page = "Berth lends machines.\n\n".to_owned();
    for (method, path, what) in INDEX {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{method:<7}{path:<32}{what}");
    }
    page
}

/// The methods a path has, as the header `allow` lists them.
pub(super) fn allowed(path: &str) -> String {
    let methods = INDEX.iter().filter(|(_, template, _)| fits(template, path)).map(|(method, _, _)| *method);
    // What changes something for a mere GET, for older clients' sake, does not for a HEAD.
    let head = |method| {
        if method == "GET" && !matches!(path, "/reserve" | "/release_all") { "GET, HEAD" } else { method }
    };
    methods.map(head).collect::<Vec<_>>().join(", ")
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.strip_suffix('/').unwrap_or(path).split('/'));
    template.clone().count() == path.clone().count()
        && template.zip(path).all(|(a, b)| a == b || a.starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        assert_eq!(allowed("/v1/machines"), "POST, GET, HEAD");
        assert_eq!(allowed("/v1/machines/"), "POST, GET, HEAD");
        assert_eq!(allowed("/v1/reservations/0190"), "GET, HEAD, PATCH, DELETE");
        assert_eq!(allowed("/reserve"), "GET, POST");
        assert_eq!(allowed("/nowhere"), "");
    }

    #[test]
    fn the_index_fits_a_terminal() {
        for line in plain_index().lines() {
            assert!(line.len() <= 100, "{line}");
        }
        let json = index(Some("application/json".to_owned())).unwrap();
        assert_eq!(json.headers()["content-type"], "application/json");
    }
}
