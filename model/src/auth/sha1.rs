//! What a client tells of a password that it keeps to itself.

use crate::ssh::Secret;
use std::str::FromStr;

/// A SHA-1 digest in hex, lower case. Whoever has it can find a weak password by trying, so that it is as secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sha1Digest(Secret);

impl Sha1Digest {
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl From<[u8; 20]> for Sha1Digest {
    fn from(bytes: [u8; 20]) -> Self {
        Self(data_encoding::HEXLOWER.encode(&bytes).into())
    }
}

impl FromStr for Sha1Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() == 40 && text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Ok(Self(text.to_ascii_lowercase().into()));
        }
        Err("must be the SHA-1 digest of the password: 40 hex digits".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forty_hex_digits_in_either_case() {
        let lower = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";
        let read = |text: &str| text.parse::<Sha1Digest>();
        assert_eq!(read(lower).unwrap().expose(), lower);
        assert_eq!(read(&lower.to_uppercase()), read(lower));
        for bad in
            ["", &lower[1..], &format!("{lower}0"), &lower.replace('a', "g"), &lower.replace("a9", "é")]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(!format!("{:?}", read(lower)).contains("a94a"));
    }
}
