//! What OpenSSH remembers of hosts: whose key is which.

use data_encoding::BASE64;
use model::account::SshKey;
use sha1::{Digest, Sha1};

/// The best first: the server pins one of them and asks the host for that one.
const KINDS: &[&str] =
    &["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];

pub(crate) struct KnownHosts(Vec<Line>);

struct Line {
    hosts: Hosts,
    revoked: bool,
    /// Of [`KINDS`].
    rank: usize,
    /// `ssh-ed25519 AAAA…`
    key: String,
}

enum Hosts {
    Patterns(Vec<String>),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

impl KnownHosts {
    /// Lines of other kinds are passed over, as OpenSSH does.
    pub(crate) fn parse(text: &str) -> Self {
        Self(super::lines(text, &['#']).filter_map(|(_, text)| line(text)).collect())
    }

    /// Nothing if the host is not known.
    pub(crate) fn key_of(&self, host: &str, port: u16) -> Result<Option<&str>, String> {
        let host = host.to_ascii_lowercase();
        let host = if port == 22 { host } else { format!("[{host}]:{port}") };
        let of_host: Vec<&Line> = self.0.iter().filter(|line| line.hosts.is(&host)).collect();
        let is_revoked = |key: &str| of_host.iter().any(|line| line.revoked && line.key == key);
        let good = of_host.iter().filter(|line| !is_revoked(&line.key));
        match good.min_by_key(|line| line.rank) {
            Some(line) => Ok(Some(&line.key)),
            None if of_host.is_empty() => Ok(None),
            None => Err("its host key is revoked: have another made, or find out who has it".to_owned()),
        }
    }
}

fn line(text: &str) -> Option<Line> {
    let (marker, text) = match text.strip_prefix('@') {
        Some(marked) => marked.split_once([' ', '\t'])?,
        None => ("", text),
    };
    let mut words = text.split_ascii_whitespace();
    let (hosts, kind, blob) = (words.next()?, words.next()?, words.next()?);
    if !matches!(marker, "" | "revoked") {
        return None;
    }
    let rank = KINDS.iter().position(|known| *known == kind)?;
    let key = format!("{kind} {blob}").parse::<SshKey>().ok()?;
    Some(Line {
        hosts: Hosts::parse(hosts)?,
        revoked: marker == "revoked",
        rank,
        key: key.as_str().to_owned(),
    })
}

impl Hosts {
    fn parse(text: &str) -> Option<Self> {
        let Some(hashed) = text.strip_prefix("|1|") else {
            return Some(Self::Patterns(text.split(',').map(str::to_ascii_lowercase).collect()));
        };
        let (salt, hash) = hashed.split_once('|')?;
        let decoded = |text: &str| BASE64.decode(text.as_bytes()).ok();
        Some(Self::Hashed { salt: decoded(salt).filter(|salt| salt.len() <= BLOCK)?, hash: decoded(hash)? })
    }

    fn is(&self, host: &str) -> bool {
        match self {
            Self::Hashed { salt, hash } => hmac_sha1(salt, host.as_bytes())[..] == hash[..],
            Self::Patterns(patterns) => {
                let none_of = |pattern: &str| pattern.strip_prefix('!').is_some_and(|it| fits(it, host));
                patterns.iter().any(|pattern| fits(pattern, host))
                    && !patterns.iter().any(|pattern| none_of(pattern))
            }
        }
    }
}

/// With `*` for any text and `?` for any one letter.
fn fits(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.as_bytes(), host.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // Where the last `*` stands, and up to where it is taken to reach.
    let mut star = None;
    while seen < host.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(&letter) if letter == b'?' || letter == host[seen] => (at, seen) = (at + 1, seen + 1),
            _ => {
                let Some((stands, reaches)) = star else { return false };
                star = Some((stands, reaches + 1));
                (at, seen) = (stands + 1, reaches + 1);
            }
        }
    }
    pattern[at..].iter().all(|&letter| letter == b'*')
}

/// Of SHA-1, in bytes.
const BLOCK: usize = 64;

/// RFC 2104, for keys up to a block.
fn hmac_sha1(key: &[u8], text: &[u8]) -> [u8; 20] {
    let padded = |pad: u8| {
        let mut block = [pad; BLOCK];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha1::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha1::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Well-formed, with `letter` all over.
    fn ed25519(letter: u8) -> String {
        let blob = [&[0, 0, 0, 11][..], b"ssh-ed25519", &[0, 0, 0, 32], &[letter; 32]].concat();
        format!("ssh-ed25519 {}", BASE64.encode(&blob))
    }

    fn rsa() -> String {
        let blob = [&[0, 0, 0, 7][..], b"ssh-rsa", &[0, 0, 0, 3, 1, 0, 1], &[0, 0, 0, 2, 7, 7]].concat();
        format!("ssh-rsa {}", BASE64.encode(&blob))
    }

    #[test]
    fn found_by_name_port_and_pattern() {
        let (a, b, c, rsa) = (ed25519(b'a'), ed25519(b'b'), ed25519(b'c'), rsa());
        let text = format!(
            "# ours\r\nWeb1,10.0.0.1 {rsa}\r\nweb1 {a} comment\r\n[web1]:2222 {b}\n*.lab,!x.lab {c}\n\
             @cert-authority web2 {a}\n@revoked web3 {a}\nweb3 {b}\nweb4 {c}\n@revoked * {c}\n\
             odd\nweb5 ssh-dss AAAA\nweb6 ssh-ed25519 AAAA\n"
        );
        let known = KnownHosts::parse(&text);
        for (host, port, key) in [
            ("web1", 22, Ok(Some(&a))),
            ("WEB1", 22, Ok(Some(&a))),
            ("10.0.0.1", 22, Ok(Some(&rsa))),
            ("web1", 2222, Ok(Some(&b))),
            ("web1", 2223, Err(())),
            ("web3", 22, Ok(Some(&b))),
            ("web4", 22, Err(())),
        ] {
            let found = known.key_of(host, port).map_err(|_| ());
            assert_eq!(found, key.map(|key| key.map(String::as_str)), "{host}:{port}");
        }
        let known = KnownHosts::parse(&text.replace("@revoked *", "# "));
        for (host, port, key) in [
            ("y.lab", 22, Some(&c)),
            ("x.lab", 22, None),
            ("lab", 22, None),
            ("web2", 22, None),
            ("web5", 22, None),
            ("web6", 22, None),
            ("web1", 2223, None),
        ] {
            assert_eq!(known.key_of(host, port), Ok(key.map(String::as_str)), "{host}:{port}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, host, fit) in [
            ("*", "a", true),
            ("a*c", "abbc", true),
            ("a*b*c", "a-b-bc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*.example", "example", false),
            ("a*", "ba", false),
            ("**a**", "bab", true),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, host), fit, "{pattern} {host}");
        }
    }

    /// RFC 2202, the second case.
    #[test]
    fn hmac() {
        let digest = hmac_sha1(b"Jefe", b"what do ya want for nothing?");
        let hex = data_encoding::HEXLOWER.encode(&digest);
        assert_eq!(hex, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    }

    /// As `ssh-keygen -H` writes them.
    #[test]
    fn hashed_names() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        let (a, b) = (ed25519(b'a'), ed25519(b'b'));
        std::fs::write(&file, format!("web1 {a}\n[web1]:2222 {b}\n")).unwrap();
        let hashed = Command::new("ssh-keygen").arg("-H").arg("-f").arg(&file).output().unwrap();
        assert!(hashed.status.success(), "{hashed:?}");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("web1"), "{text}");
        let known = KnownHosts::parse(&text);
        assert_eq!(known.key_of("web1", 22), Ok(Some(a.as_str())));
        assert_eq!(known.key_of("web1", 2222), Ok(Some(b.as_str())));
        assert_eq!(known.key_of("web2", 22), Ok(None));
    }
}
