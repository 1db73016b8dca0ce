//! What a request shows of its sender, and whether that lets it in.

use super::guard;
use super::peer::Peer;
use crate::app::{Refusal, Shown, Shows};
use data_encoding::BASE64;
use model::ssh::Secret;
use warp::http::HeaderMap;
use warp::http::header::{AUTHORIZATION, COOKIE};

/// The cookie of a browser that is logged in.
pub(super) const SESSION: &str = "berth_session";

pub(super) fn shown(peer: Peer, headers: &HeaderMap) -> Result<Shown, Refusal> {
    let network = peer.network().map(|network| network.to_string());
    Ok(Shown {
        credential: credential(headers)?,
        source: Some(peer.to_string()),
        is_local: if network.is_some() { Err("it comes from another one") } else { guard::is_local(headers) },
        network,
        is_same_site: guard::is_same_site(headers),
    })
}

pub(super) fn credential(headers: &HeaderMap) -> Result<Option<Shows>, Refusal> {
    let Some(header) = headers.get(AUTHORIZATION) else { return Ok(session(headers)) };
    let odd = || {
        Refusal::Unauthorised(
            "send one `Authorization: Bearer TOKEN`, or `Basic` with a name and a password".to_owned(),
        )
    };
    let (scheme, rest) = header.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(odd)?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        let is_token = !rest.is_empty() && !rest.contains(char::is_whitespace);
        return if is_token { Ok(Some(Shows::Bearer(rest.to_owned().into()))) } else { Err(odd()) };
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(odd());
    }
    // Two texts, each with an end of its own, are none.
    if rest.trim_end_matches('=').contains('=') {
        return Err(odd());
    }
    let text =
        BASE64.decode(rest.as_bytes()).ok().and_then(|text| String::from_utf8(text).ok()).ok_or_else(odd)?;
    let (account, password) =
        text.split_once(':').filter(|_| !text.contains(char::is_control)).ok_or_else(odd)?;
    Ok(Some(Shows::Basic { account: account.to_owned(), password: password.to_owned().into() }))
}

fn session(headers: &HeaderMap) -> Option<Shows> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok());
    let mut pairs =
        cookies.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, token) = pairs.find(|(name, _)| *name == SESSION)?;
    Some(Shows::Cookie(Secret::from(token.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn credentials_are_read() {
        let shows = |value| credential(&headers(&[("authorization", value)]));
        assert!(matches!(shows("bearer  abc"), Ok(Some(Shows::Bearer(token))) if token.expose() == "abc"));
        let basic = shows("Basic YWxpY2U6YTpi");
        assert!(
            matches!(basic, Ok(Some(Shows::Basic { account, password })) if account == "alice" && password.expose() == "a:b")
        );
        for bad in [
            "",
            "abc",
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Basic !",
            "Basic YWxpY2U=",
            "Basic YWU=YTpi",
            "Digest x",
        ] {
            assert!(shows(bad).is_err(), "{bad:?}");
        }
        assert!(matches!(credential(&HeaderMap::new()), Ok(None)));
    }

    #[test]
    fn a_cookie_counts_without_a_header_only() {
        let cookies = ("cookie", "a=b; berth_session=abc; c=d");
        assert!(
            matches!(credential(&headers(&[cookies])), Ok(Some(Shows::Cookie(token))) if token.expose() == "abc")
        );
        let both = headers(&[cookies, ("authorization", "Bearer x")]);
        assert!(matches!(credential(&both), Ok(Some(Shows::Bearer(_)))));
        assert!(matches!(credential(&headers(&[("cookie", "xberth_session=abc")])), Ok(None)));
    }
}
