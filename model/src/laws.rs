//! What holds of every text that somebody may send: laws for the fuzzer, and for the tests over its seeds.

use crate::account::{Password, PasswordHash, Shell, SshKey};
use crate::auth::{Email, Level};
use crate::dial::{Dial, Dials};
use crate::machine::Uids;
use crate::reservation::parse_end;
use crate::ssh::AwaitedKey;
use crate::{AccountName, GroupName, Labels, MachineId, MachineName, PoolName, UidRange, UserName, duration};
use jiff::{SignedDuration, Timestamp};
use std::fmt::{Debug, Display};
use std::net::SocketAddr;
use std::str::FromStr;

/// One word of somebody's, taken for everything that a word may be.
pub fn word(bytes: &[u8]) {
    let text = &*String::from_utf8_lossy(bytes);
    names(text);
    ways_in(text);
    times(text);
    same_again::<Labels>(text);
    same_again::<Email>(text);
    same_again::<Dials>(text);
    same_again::<Level>(text);
    same_again::<MachineId>(text);
    for uids in
        [same_again::<UidRange>(text), same_again::<Uids>(text).map(Uids::range)].into_iter().flatten()
    {
        assert!(uids.first <= uids.last && UidRange::may_hold(uids.first) && UidRange::may_hold(uids.last));
    }
    if let Some(Dial::Http(authority)) = same_again::<Dial>(text) {
        let address = authority.replacen("localhost", "127.0.0.1", 1).parse::<SocketAddr>();
        assert!(address.is_ok_and(|address| address.ip().is_loopback()), "{authority:?} is not this machine");
    }
}

/// What was read, and that it prints as something harmless that reads the same.
fn same_again<T: FromStr + Display + Debug + PartialEq>(text: &str) -> Option<T> {
    let read: T = text.parse().ok()?;
    let printed = read.to_string();
    assert!(!printed.contains(char::is_control), "{text:?} prints as {printed:?}");
    assert_eq!(printed.parse().ok().as_ref(), Some(&read), "{text:?} prints as {printed:?}");
    Some(read)
}

fn names(text: &str) {
    let lower = |c: char| c.is_ascii_lowercase();
    let digit = |c: char| c.is_ascii_digit();
    let unix = is_made_of(text, 31, |c| lower(c) || c == '_', |c| lower(c) || digit(c) || "_-".contains(c));
    let account = is_made_of(text, 63, lower, |c| lower(c) || digit(c) || "._-".contains(c));
    let host = is_made_of(text, 63, |c| lower(c) || digit(c), |c| lower(c) || digit(c) || ".-".contains(c))
        && !text.ends_with(['.', '-'])
        && !text.contains("..");
    assert_eq!(same_again::<GroupName>(text).is_some(), unix, "{text:?}");
    assert_eq!(same_again::<AccountName>(text).is_some(), account, "{text:?}");
    assert_eq!(same_again::<MachineName>(text).is_some(), host, "{text:?}");
    assert_eq!(same_again::<PoolName>(text).is_some(), host, "{text:?}");
    if same_again::<UserName>(text).is_some() {
        let group: Option<GroupName> = text.parse().ok();
        assert!(group.is_some_and(|group| !group.is_rootlike()), "{text:?} is root by another name");
        assert!(!text.starts_with('_'), "{text:?} is a daemon's");
    }
}

fn is_made_of(text: &str, longest: usize, first: impl Fn(char) -> bool, rest: impl Fn(char) -> bool) -> bool {
    text.len() <= longest && text.starts_with(first) && text.chars().all(rest)
}

/// What ends up in `shadow`, in `passwd`, or in a file of keys is one field, or one line.
fn ways_in(text: &str) {
    if let Ok(password) = Password::try_from(text.to_owned()) {
        assert!(password.expose() == text && (1..=128).contains(&text.len()));
        assert!(!text.contains(char::is_control), "{text:?}");
    }
    if let Ok(hash) = text.parse::<PasswordHash>() {
        assert!(hash.as_str() == text && text.starts_with('$') && is_field(text), "{text:?}");
    }
    if let Ok(shell) = text.parse::<Shell>() {
        assert!(shell.as_str() == text && text.starts_with('/') && is_field(text), "{text:?}");
    }
    if let Ok(key) = text.parse::<SshKey>() {
        let line = key.as_str();
        let kind = line.split(' ').next().unwrap_or_default();
        assert!(line == text.trim() && !line.contains(char::is_control), "{text:?}");
        assert!(
            kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-"),
            "options: {line:?}"
        );
        assert_eq!(line.parse().as_ref(), Ok(&key));
    }
    same_again::<AwaitedKey>(text);
}

fn is_field(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_graphic() && c != b':')
}

fn times(text: &str) {
    if let Ok(lasts) = duration::parse(text) {
        assert!(lasts.as_secs() >= 1 && lasts <= duration::LONGEST, "{text:?} is {lasts:?}");
        let signed = SignedDuration::try_from(lasts).unwrap_or_default();
        for printed in [signed.to_string(), format!("{signed:#}")] {
            assert_eq!(duration::parse(&printed), Ok(lasts), "{text:?} prints as {printed:?}");
        }
    }
    let now = Timestamp::UNIX_EPOCH;
    if let Ok(end) = parse_end(None, Some(text.to_owned()), now) {
        assert!(now < end && end.duration_since(now).unsigned_abs() <= duration::LONGEST, "{text:?}");
        assert_eq!(parse_end(None, Some(end.to_string()), now), Ok(end), "{text:?}");
    }
}

#[cfg(test)]
#[test]
fn words_of_the_fuzzer() {
    crate::replay::replay("words", word);
}
