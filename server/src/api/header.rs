//! The headers that mean something here.

use super::error::Fault;
use crate::app::Refusal;
use warp::http::HeaderMap;
use warp::http::header::AUTHORIZATION;

const KEY: &str = "Idempotency-Key";

/// The same key and the same request again get the first one's answer.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let Some(key) = headers.get(KEY) else { return Ok(None) };
    checked_key(key.to_str().unwrap_or_default().to_owned()).map(Some)
}

pub(super) fn checked_key(key: String) -> Result<String, Fault> {
    let printable = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if (1..=128).contains(&key.len()) && printable {
        return Ok(key);
    }
    Err(Fault::field(KEY, format!("`{KEY}` must be 1 to 128 printable ASCII characters; a UUID does")))
}

/// The token of `Authorization: Bearer …`.
pub(super) fn token(headers: &HeaderMap) -> Result<String, Refusal> {
    let shown = headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok()?.split_once(' '));
    match shown {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim().to_owned()),
        _ => Err(Refusal::Unauthorised("send the credential as `Authorization: Bearer …`".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        assert!(checked_key("0190-a b~".to_owned()).is_ok());
        for bad in ["", "\u{7f}", "a\tb", "é", &"k".repeat(129)] {
            assert_eq!(checked_key(bad.to_owned()).unwrap_err().field.as_deref(), Some(KEY), "{bad}");
        }
    }

    #[test]
    fn tokens() {
        let read = |header: Option<&str>| {
            let headers = header.map(|header| (AUTHORIZATION, header.parse().unwrap()));
            token(&headers.into_iter().collect())
        };
        assert_eq!(read(Some("bearer  abc")).ok().as_deref(), Some("abc"));
        for bad in [None, Some("abc"), Some("Basic abc")] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
