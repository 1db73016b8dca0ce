//! Who may ask while there are no accounts: programs on this computer, and pages served by it.
//!
//! Listening on loopback keeps other computers out, not the browser on this one: a page from anywhere may
//! send requests to `localhost`, or let its own name resolve to 127.0.0.1 (DNS rebinding) and read answers.

use super::error::Fault;
use std::net::{IpAddr, Ipv6Addr};
use warp::http::StatusCode;
use warp::http::uri::Authority;
use warp::{Filter, Rejection};

pub(super) fn loopback_only() -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::host::optional()
        .and(warp::header::optional::<String>("origin"))
        .and(warp::header::optional::<String>("sec-fetch-site"))
        .and_then(|host: Option<Authority>, origin: Option<String>, site: Option<String>| {
            let checked = check(host.as_ref().map(Authority::as_str), origin.as_deref(), site.as_deref());
            std::future::ready(checked.map_err(warp::reject::custom))
        })
        .untuple_one()
}

/// A browser always says which host it believes to talk to, so that a request without one is no browser's.
fn check(host: Option<&str>, origin: Option<&str>, site: Option<&str>) -> Result<(), Fault> {
    if host.is_some_and(|host| !is_loopback(host)) {
        return Err(refused("it is meant for another host; use `localhost` or `127.0.0.1` in the address"));
    }
    if matches!(site, Some("cross-site" | "same-site")) {
        return Err(refused("it was sent by a page of another site"));
    }
    if origin.is_some_and(|origin| !is_loopback_origin(origin)) {
        return Err(refused("it was sent by a page that does not come from this computer"));
    }
    Ok(())
}

fn refused(why: &str) -> Fault {
    let detail = format!(
        "without accounts this server answers its own computer only, and the request is refused: {why}"
    );
    Fault::new(StatusCode::FORBIDDEN, detail)
}

fn is_loopback_origin(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    host.is_some_and(is_loopback)
}

/// `localhost`, `127.x.y.z` or `[::1]`, with or without a port.
fn is_loopback(authority: &str) -> bool {
    let (host, rest) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => return host.parse() == Ok(Ipv6Addr::LOCALHOST) && is_port(rest),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let by_number = || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_port(rest) && (host.eq_ignore_ascii_case("localhost") || by_number())
}

fn is_port(text: &str) -> bool {
    text.is_empty()
        || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_this_computer_pass() {
        for host in
            ["localhost", "LocalHost:8080", "127.0.0.1:80", "127.9.9.9", "[::1]", "[::1]:8080", "localhost:"]
        {
            assert_eq!(check(Some(host), None, None), Ok(()), "{host}");
        }
        assert_eq!(check(None, None, None), Ok(()));
        assert_eq!(check(Some("localhost"), Some("http://127.0.0.1:8080"), Some("same-origin")), Ok(()));
        assert_eq!(check(Some("localhost"), None, Some("none")), Ok(()));
    }

    #[test]
    fn names_that_only_resolve_here_do_not() {
        let rebound = [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "10.0.0.1",
            "[::2]",
            "localhost:1@evil.example",
        ];
        for host in rebound.into_iter().chain([
            "",
            "[::1",
            "[::1]x",
            "0.0.0.0",
            "127.1",
            "localhost.",
            "user@localhost",
        ]) {
            let fault = check(Some(host), None, None).expect_err(host);
            assert_eq!(fault.status, StatusCode::FORBIDDEN);
        }
    }

    #[test]
    fn pages_of_elsewhere_do_not() {
        for origin in [
            "null",
            "https://evil.example",
            "localhost",
            "http://localhost.evil.example",
            "file://localhost",
            "",
        ] {
            assert!(check(Some("localhost"), Some(origin), None).is_err(), "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert!(check(Some("localhost"), None, Some(site)).is_err(), "{site}");
        }
    }
}
