//! What holds of any request, whoever sends it: laws for the fuzzer, and for the tests over its seeds.

use super::auth::credential;
use super::compat;
use super::guard::{is_local, is_same_site};
use super::header::checked_key;
use super::path::Segment;
use super::peer::Peer;
use super::query::{LONGEST, Query};
use super::{body, error::Fault};
use crate::app::Shows;
use data_encoding::BASE64;
use model::reservation::{Ask, MOST_MACHINES, parse_end};
use model::wire::{
    AccountCreate, AccountPatch, EnrolRequest, Login, MachineAdopt, MachineCreate, MachinePatch, PoolPut,
    ReservationCreate, ReservationPatch, SyncRequest, TokenCreate,
};
use model::{GroupName, Timestamp, duration};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::net::IpAddr;
use warp::http::header::{AUTHORIZATION, COOKIE, HOST, HeaderName, HeaderValue, ORIGIN};
use warp::http::{HeaderMap, StatusCode};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// One body, taken for each of those that are sent to us.
pub fn body(bytes: &[u8]) {
    same_again::<AccountCreate>(bytes);
    same_again::<AccountPatch>(bytes);
    same_again::<EnrolRequest>(bytes);
    same_again::<Login>(bytes);
    same_again::<MachineAdopt>(bytes);
    same_again::<MachineCreate>(bytes);
    same_again::<MachinePatch>(bytes);
    same_again::<PoolPut>(bytes);
    same_again::<SyncRequest>(bytes);
    same_again::<TokenCreate>(bytes);
    if let Some(create) = same_again::<ReservationCreate>(bytes) {
        asked(create);
    }
    if let Some(ReservationPatch { duration, until }) = same_again(bytes)
        && let Ok(end) = parse_end(duration, until, NOW)
    {
        lies_ahead(end);
    }
    compat::law(bytes);
}

/// What was read, and that it is sent as something that reads the same. What cannot be read is the sender's fault.
fn same_again<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let read: T = body::parse(bytes).map_err(is_theirs).ok()?;
    assert!(serde_json::from_slice::<IgnoredAny>(bytes).is_ok(), "no JSON, and taken for some");
    let sent = serde_json::to_vec(&read).expect("what was read is sent");
    let again: T = body::parse(&sent).unwrap_or_else(|fault| panic!("{fault:?}"));
    assert_eq!(serde_json::to_vec(&again).ok(), Some(sent));
    Some(read)
}

pub(super) fn is_theirs(fault: Fault) {
    assert!(fault.status == StatusCode::BAD_REQUEST && !fault.detail.is_empty(), "{fault:?}");
}

fn asked(create: ReservationCreate) {
    let sudo = create.sudo;
    let Ok(ask) = Ask::parse(create, NOW) else { return };
    assert!((1..=MOST_MACHINES).contains(&ask.want.count()));
    assert!(ask.login.secret.is_some() || !ask.login.ssh_keys.is_empty(), "nobody could log in");
    assert!(sudo || !ask.groups.iter().any(GroupName::is_rootlike), "root by a group");
    lies_ahead(ask.expires_at);
}

fn lies_ahead(end: Timestamp) {
    assert!(NOW < end && end.duration_since(NOW).unsigned_abs() <= duration::LONGEST, "{end}");
}

/// One text, taken for every part of a request but its body.
pub fn head(bytes: &[u8]) {
    let text = &*String::from_utf8_lossy(bytes);
    asks(text);
    encoded(text);
    if let Ok(Segment(name)) = text.parse() {
        let weird = |c: char| c.is_control() || c.is_whitespace() || c == '/';
        assert!((1..=128).contains(&name.len()) && !name.contains(weird) && name != "..", "{name:?}");
    }
    if let Ok(key) = checked_key(text.to_owned()) {
        assert!(key == text && key.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
    }
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        shown(&value);
        is_nobody_elses(&value);
        comes_from(&value);
    }
}

fn asks(raw: &str) {
    let Ok(query) = Query::parse(raw).map_err(is_theirs) else { return };
    query.limit().map_or_else(is_theirs, |limit| assert!((1..=1000).contains(&limit)));
    query.wait().map_or_else(is_theirs, |wait| assert!(wait.unwrap_or_default() <= 60));
    query.labels().map_or_else(is_theirs, |labels| assert_eq!(labels.to_string().parse(), Ok(labels)));
    query.state().map_or_else(is_theirs, drop);
    query.phase().map_or_else(is_theirs, drop);
    query.time("at").map_or_else(is_theirs, drop);
    query.flag("mine").map_or_else(is_theirs, drop);
}

/// Whatever somebody means can be said, but for control characters and what is too long.
fn encoded(text: &str) {
    let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let query = Query::parse(&format!("x={encoded}"));
    let is_taken = |text: &&str| text.chars().count() <= LONGEST && !text.contains(char::is_control);
    let expected = Some(text).filter(is_taken);
    assert_eq!(query.as_ref().ok().and_then(|query| query.text("x")), expected);
}

fn headers(name: HeaderName, value: &HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(name, value.clone())])
}

fn shown(value: &HeaderValue) {
    match credential(&headers(AUTHORIZATION, value)) {
        Ok(Some(Shows::Bearer(token))) => {
            assert!(!token.expose().is_empty() && !token.expose().contains(char::is_whitespace));
        }
        Ok(Some(Shows::Basic { account, password })) => {
            let sent = BASE64.encode(format!("{account}:{}", password.expose()).as_bytes());
            assert!(
                !account.contains(':') && value.to_str().is_ok_and(|value| value.trim().ends_with(&sent))
            );
        }
        Ok(other) => assert!(other.is_none(), "a header is no cookie"),
        Err(_) => {}
    }
    match credential(&headers(COOKIE, value)) {
        Ok(Some(Shows::Cookie(token))) => assert!(!token.expose().contains(';')),
        other => assert!(matches!(other, Ok(None)), "a cookie is nothing else"),
    }
}

/// Where everybody of this computer may do everything, only this computer is meant.
fn is_nobody_elses(value: &HeaderValue) {
    let text = value.to_str().unwrap_or_default();
    if is_local(&headers(HOST, value)).is_ok() {
        assert!(is_here(text), "{text:?}");
    }
    if is_local(&headers(ORIGIN, value)).is_ok() {
        assert!(text.split_once("://").is_some_and(|(_, host)| is_here(host)), "{text:?}");
    }
    assert!(!is_same_site(&headers(ORIGIN, value)), "without a host it is of no site");
}

fn is_here(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !authority.ends_with(']') => {
            host
        }
        _ => authority,
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whoever a proxy speaks of is in one network.
fn comes_from(value: &HeaderValue) {
    let headers = headers(HeaderName::from_static("x-forwarded-for"), value);
    let peer = Peer::Unix.behind(&headers);
    if let Some(network) = peer.network() {
        assert_eq!(Peer::Address(network).network(), Some(network), "{peer}");
    }
}

#[cfg(test)]
mod tests {
    use crate::replay::replay;

    #[test]
    fn bodies_of_the_fuzzer() {
        replay("bodies", super::body);
    }

    #[test]
    fn requests_of_the_fuzzer() {
        replay("requests", super::head);
    }
}
