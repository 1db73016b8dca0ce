//! Addresses of people.

use crate::serde_as_text;
use std::fmt;
use std::str::FromStr;

/// `local@domain` in lower case. Whether somebody reads there is not looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(String);

const LONGEST: usize = 254;
const LONGEST_LOCAL: usize = 64;

impl Email {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Email {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("is longer than {LONGEST} characters"));
        }
        let fits = |(local, domain): (&str, &str)| is_local(local) && is_domain(domain);
        if !text.rsplit_once('@').is_some_and(fits) {
            return Err("must be an address such as `alice@example.org`".to_owned());
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

fn is_local(local: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
    (1..=LONGEST_LOCAL).contains(&local.len())
        && local.bytes().all(allowed)
        && !local.split('.').any(str::is_empty)
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.split('.').all(is_label)
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

serde_as_text!(Email);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["a@b", "alice@example.org", "Alice.B+x@Sub.Example.org", "o'neil@x-y.z", "a@127.0.0.1"] {
            assert_eq!(good.parse::<Email>().unwrap().as_str(), good.to_ascii_lowercase());
        }
        let long = format!("{}@example.org", "a".repeat(65));
        let longer = format!("a@{}", ["b".repeat(60).as_str(); 5].join("."));
        for bad in [
            "", "@", "a", "a@", "@b", "a b@c", "a@b c", "a@-b", "a@b-", "a@b..c", ".a@b", "a.@b", "a..b@c",
            "ä@b", "a@ü", "a@b\n", "a@b@c d", &long, &longer,
        ] {
            assert!(bad.parse::<Email>().is_err(), "{bad:?}");
        }
    }
}
