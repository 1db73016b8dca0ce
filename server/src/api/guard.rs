//! Which requests are pages' of elsewhere. While there are no accounts, programs of this computer may ask, and pages served
//! by it.
//!
//! Listening on loopback keeps other computers out, not the browser on this one: a page from anywhere may
//! send requests to `localhost`, or let its own name resolve to 127.0.0.1 (DNS rebinding) and read answers.

use std::net::{IpAddr, Ipv6Addr};
use warp::http::HeaderMap;
use warp::http::header::{HOST, ORIGIN};

/// Nothing speaks against its coming from a program of this computer, or what does. A browser always says which host it
/// believes to talk to, so that a request without one is no browser's.
pub(super) fn is_local(headers: &HeaderMap) -> Result<(), &'static str> {
    if text(headers, HOST.as_str()).is_some_and(|host| !is_loopback(host)) {
        return Err("it is meant for another host; use `localhost` or `127.0.0.1` in the address");
    }
    if matches!(text(headers, SITE), Some("cross-site" | "same-site")) {
        return Err("it was sent by a page of another site");
    }
    if text(headers, ORIGIN.as_str()).is_some_and(|origin| !is_loopback_origin(origin)) {
        return Err("it was sent by a page that does not come from this computer");
    }
    Ok(())
}

/// Whether it comes from a page of ours, or from no page at all.
pub(super) fn is_same_site(headers: &HeaderMap) -> bool {
    let is_ours = |origin: &str| {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        host.is_some() && host == text(headers, HOST.as_str())
    };
    !matches!(text(headers, SITE), Some("cross-site" | "same-site"))
        && text(headers, ORIGIN.as_str()).is_none_or(is_ours)
}

const SITE: &str = "sec-fetch-site";

/// What cannot be read is nobody's.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
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

    fn headers(host: Option<&str>, origin: Option<&str>, site: Option<&str>) -> HeaderMap {
        let all = [("host", host), ("origin", origin), (SITE, site)];
        all.iter()
            .filter_map(|(name, value)| Some((name.parse().unwrap(), value.as_ref()?.parse().unwrap())))
            .collect()
    }

    fn check(host: Option<&str>, origin: Option<&str>, site: Option<&str>) -> Result<(), &'static str> {
        is_local(&headers(host, origin, site))
    }

    #[test]
    fn pages_of_ours_and_programs_are_of_the_same_site() {
        let same = |origin, site| is_same_site(&headers(Some("berth.example:8443"), origin, site));
        assert!(same(None, None) && same(None, Some("none")));
        assert!(same(Some("https://berth.example:8443"), Some("same-origin")));
        for origin in ["https://berth.example", "https://evil.example", "null", "", "berth.example:8443"] {
            assert!(!same(Some(origin), None), "{origin}");
        }
        assert!(!same(None, Some("cross-site")) && !same(None, Some("same-site")));
    }

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
            assert!(check(Some(host), None, None).is_err(), "{host}");
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
