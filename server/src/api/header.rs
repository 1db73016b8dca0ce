//! The headers that mean something here.

use super::error::Fault;
use crate::app::Refusal;
use warp::{Filter, Rejection};

const KEY: &str = "Idempotency-Key";

/// The same key and the same request again get the first one's answer.
pub(super) fn idempotency_key()
-> impl Filter<Extract = (Result<Option<String>, Fault>,), Error = Rejection> + Clone {
    warp::header::optional::<String>("idempotency-key")
        .map(|key: Option<String>| key.map(checked_key).transpose())
}

pub(super) fn checked_key(key: String) -> Result<String, Fault> {
    let printable = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if (1..=128).contains(&key.len()) && printable {
        return Ok(key);
    }
    Err(Fault::field(KEY, format!("`{KEY}` must be 1 to 128 printable ASCII characters; a UUID does")))
}

/// The token of `Authorization: Bearer …`.
pub(super) fn bearer() -> impl Filter<Extract = (Result<String, Refusal>,), Error = Rejection> + Clone {
    warp::header::optional::<String>("authorization").map(|header: Option<String>| token(header.as_deref()))
}

fn token(header: Option<&str>) -> Result<String, Refusal> {
    let parts = header.and_then(|header| header.split_once(' '));
    match parts {
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
        assert_eq!(token(Some("bearer  abc")).ok().as_deref(), Some("abc"));
        for bad in [None, Some("abc"), Some("Basic abc")] {
            assert!(token(bad).is_err(), "{bad:?}");
        }
    }
}
