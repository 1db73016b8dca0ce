//! Keys as people have them.

use server::reach::ssh::{Auth, HostKey, KeyError, Login, read_key};
use tests::sshd::{key_pair, secret};

#[test]
fn private_keys_of_each_kind_are_read() {
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let (key, _) = key_pair(kind, "");
        assert!(read_key(&key, None).is_ok(), "{kind}");
        assert!(read_key(&key, Some(&secret("not needed"))).is_ok(), "{kind}");
    }
    assert_eq!(read_key(&secret("ssh-ed25519 AAAA"), None).unwrap_err(), KeyError::NotAKey);
    assert_eq!(read_key(&secret(""), Some(&secret("x"))).unwrap_err(), KeyError::NotAKey);
}

#[test]
fn an_encrypted_key_needs_its_passphrase() {
    for kind in ["ed25519", "rsa"] {
        let (key, _) = key_pair(kind, "open sesame");
        assert!(read_key(&key, Some(&secret("open sesame"))).is_ok(), "{kind}");
        assert_eq!(read_key(&key, None).unwrap_err(), KeyError::PassphraseMissing);
        assert_eq!(read_key(&key, Some(&secret("wrong"))).unwrap_err(), KeyError::PassphraseWrong);
    }
}

#[test]
fn a_host_key_is_the_same_whatever_stands_behind_it() {
    let (_, line) = key_pair("ed25519", "");
    let key: HostKey = line.parse().unwrap();
    assert_eq!(format!("{key} test"), line);
    assert_eq!(key.to_string().parse::<HostKey>().unwrap(), key);
    assert!(key.fingerprint().starts_with("SHA256:"));
    let (_, other) = key_pair("ed25519", "");
    assert_ne!(other.parse::<HostKey>().unwrap(), key);
    assert_eq!("SHA256:abc".parse::<HostKey>().unwrap_err(), KeyError::NotAHostKey);
}

#[test]
fn nothing_that_is_secret_is_shown() {
    let (key, _) = key_pair("ed25519", "");
    for auth in [Auth::Password(secret("hush")), Auth::Key(read_key(&key, None).unwrap())] {
        let login = Login { user: "op".into(), auth, sudo_password: Some(secret("hush")) };
        let kind = match &login.auth {
            Auth::Password(_) => "Password",
            Auth::Key(_) => "Key",
        };
        let expected = format!("Login {{ user: \"op\", auth: {kind}(…), sudo_password: Some(Secret(…)) }}");
        assert_eq!(format!("{login:?}"), expected);
    }
}
