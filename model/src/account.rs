//! How somebody logs in: password, hash of one, SSH keys, shell.

use crate::serde_as_text;
use data_encoding::BASE64;
use serde::Deserialize;
use std::{fmt, str::FromStr};

/// A password as somebody typed it. It is hashed once at the door; `Debug` says nothing.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Password(String);

impl Password {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Password {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.chars().count() > 128 {
            return Err("use 1 to 128 characters".to_owned());
        }
        if text.chars().any(char::is_control) {
            return Err("no control characters, newlines among them".to_owned());
        }
        Ok(Self(text))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A crypt(3) hash as it stands in /etc/shadow: `$6$…`, `$5$…`, `$y$…` or `$2b$…`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PasswordHash {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = ["$6$", "$5$", "$y$", "$2b$"].iter().any(|prefix| text.starts_with(prefix));
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"./$=,".contains(&c);
        let shape =
            (20..=256).contains(&text.len()) && text.bytes().all(allowed) && text.matches('$').count() >= 3;
        if known && shape {
            return Ok(Self(text.to_owned()));
        }
        Err("is no crypt(3) hash: make one with `openssl passwd -6`".to_owned())
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}
serde_as_text!(PasswordHash);

/// One line of an authorized_keys file, without options: `ssh-ed25519 AAAA… comment`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshKey(String);

const KEY_TYPES: &[&str] = &[
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

impl SshKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SshKey {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() > 16 * 1024 || text.chars().any(char::is_control) {
            return Err("is no SSH public key: give one line of a .pub file".to_owned());
        }
        let mut words = text.split_ascii_whitespace();
        let (Some(kind), Some(blob)) = (words.next(), words.next()) else {
            return Err("is no SSH public key: give the line of a .pub file, `ssh-ed25519 AAAA…`".to_owned());
        };
        if !KEY_TYPES.contains(&kind) {
            return Err(format!(
                "starts with `{}`, not with a key type such as `ssh-ed25519`",
                kind.escape_debug()
            ));
        }
        let bytes =
            BASE64.decode(blob.as_bytes()).map_err(|_| "the key's second word is not base64".to_owned())?;
        if !blob_is(&bytes, kind) {
            return Err(format!("is no well-formed `{kind}` key; was it cut off?"));
        }
        Ok(Self(text.to_owned()))
    }
}
serde_as_text!(SshKey);

/// RFC 4253 §6.6: length-prefixed strings, the first of them the key's type, and nothing after the last.
fn blob_is(mut bytes: &[u8], kind: &str) -> bool {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return false };
        let length = u32::from_be_bytes(*length) as usize;
        if length == 0 || length > rest.len() {
            return false;
        }
        let (field, rest) = rest.split_at(length);
        fields.push(field);
        bytes = rest;
    }
    let wanted = match kind {
        "ssh-ed25519" => 2,
        "sk-ecdsa-sha2-nistp256@openssh.com" => 4,
        _ => 3,
    };
    fields.len() == wanted && fields[0] == kind.as_bytes() && (kind != "ssh-ed25519" || fields[1].len() == 32)
}

/// A log-in shell: an absolute path of plain characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shell(String);

impl Shell {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Shell {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"/-_.+".contains(&c);
        let absolute = text.starts_with('/') && text.len() > 1 && !text.ends_with('/');
        if absolute && text.len() <= 128 && text.bytes().all(allowed) && !text.contains("/../") {
            return Ok(Self(text.to_owned()));
        }
        Err("use an absolute path such as `/bin/bash`".to_owned())
    }
}
serde_as_text!(Shell);

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@here";

    #[test]
    fn keys() {
        assert_eq!(ED25519.parse::<SshKey>().unwrap().as_str(), ED25519);
        for bad in [
            "",
            "hello",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "ssh-ed25519 !!!!",
            "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
            &ED25519[..70],
            &format!("command=\"id\" {ED25519}"),
            &format!("{ED25519}\n{ED25519}"),
        ] {
            assert!(bad.parse::<SshKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_and_hashes_keep_silent() {
        let password = Password::try_from("hunter2".to_owned()).unwrap();
        let hash: PasswordHash = "$6$abcdefgh$0123456789012345678901234567890123456789".parse().unwrap();
        assert_eq!(format!("{password:?} {hash:?}"), "Password(…) PasswordHash(…)");
        for bad in ["pw\nroot:hacked", "", "\0", &"x".repeat(129)] {
            assert!(Password::try_from(bad.to_owned()).is_err());
        }
        for bad in
            ["", "x", "$6$a:b$cccccccccccccccccccccccc", "$1$aaaaaaaa$bbbbbbbbbbbbbbbbbbbbbb", "!$6$abc$def"]
        {
            assert!(bad.parse::<PasswordHash>().is_err(), "{bad}");
        }
    }

    #[test]
    fn shells() {
        assert!("/bin/bash".parse::<Shell>().is_ok());
        for bad in ["bash", "/", "/bin/", "/bin/sh -c id", "/bin/../etc/x", "/a:b"] {
            assert!(bad.parse::<Shell>().is_err(), "{bad}");
        }
    }
}
