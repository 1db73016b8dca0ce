//! What the stories start from.
use model::spec::{AccountSpec, Spec};
use model::{Timestamp, UidRange};

pub(crate) const HASH: &str = "$6$abcdefgh$0123456789012345678901234567890123456789";
pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@here";

/// Minutes after the beginning, which is a year after the test clock's.
pub(crate) fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
}

pub(crate) fn id(number: u32) -> String {
    format!("01900000-0000-7000-8000-{number:012}")
}

pub(crate) fn spec(generation: u64, accounts: Vec<AccountSpec>) -> Spec {
    Spec { epoch: id(1).parse().unwrap(), generation, uids: UidRange::default(), accounts, follows: vec![] }
}

/// `alice` for an hour.
pub(crate) fn account(uid: u32) -> AccountSpec {
    AccountSpec {
        assignment: id(uid).parse().unwrap(),
        reservation: None,
        name: "alice".parse().unwrap(),
        uid,
        password_hash: Some(HASH.parse().unwrap()),
        ssh_keys: vec![KEY.parse().unwrap()],
        shell: None,
        groups: vec![],
        sudo: false,
        not_after: at(60),
    }
}
