//! What holds of any file or key that somebody gives us: laws for the fuzzer, and for the tests over its seeds.

use crate::config;
use crate::reach::ssh::{HostKey, read_key};
use crate::tls::are_authorities;
use model::ssh::AwaitedKey;

/// One text, taken for a configuration, a host's key, a private key, a certificate.
pub fn file(bytes: &[u8]) {
    let text = &*String::from_utf8_lossy(bytes);
    let _ = (config::parse(text).is_ok(), are_authorities(text));
    if let Ok(key) = text.parse::<HostKey>() {
        is_pinned(&key);
    }
    if let Ok(key) = read_key(&text.to_owned().into(), None) {
        is_pinned(&key.public_key().clone().into());
    }
}

/// What is stored of a key is one line, and reads as that key.
fn is_pinned(key: &HostKey) {
    let line = key.to_string();
    assert!(line.split(' ').count() == 2 && !line.contains(char::is_control), "{line:?}");
    assert_eq!(line.parse().ok().as_ref(), Some(key), "{line:?}");
    assert!(key.fingerprint().parse::<AwaitedKey>().is_ok());
}

#[cfg(test)]
#[test]
fn files_of_the_fuzzer() {
    crate::replay::replay("files", file);
}
