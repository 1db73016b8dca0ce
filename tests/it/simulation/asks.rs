//! What people asked for, and what they were told: nobody else may know better afterwards.

use super::dice::Dice;
use model::reservation::OnFailure;
use model::wire::{DurationText, ReservationCreate};
use model::{ReservationId, Timestamp};

pub(super) struct Ask {
    /// Also its idempotency key.
    pub(super) name: String,
    pub(super) body: ReservationCreate,
    /// Known once it was acknowledged.
    pub(super) id: Option<ReservationId>,
    /// The server died over it: it may have been done or not.
    pub(super) in_doubt: bool,
    pub(super) released: bool,
    /// The same key was answered with another reservation.
    pub(super) doubled: bool,
    /// The acknowledged end, and those asked for since over which the server died.
    pub(super) ends: Vec<Timestamp>,
}

/// `bob` has an account of his own on every machine, so that each refuses him.
pub(super) const USERS: [&str; 8] = ["alice", "alice", "alice", "carol", "carol", "dora", "dora", "bob"];

const HASH: &str = "$6$abcdefgh$0123456789012345678901234567890123456789";

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@here";

impl Ask {
    pub(super) fn make(number: usize, dice: &Dice, machines: &[String]) -> Self {
        let username = dice.pick(&USERS).to_owned();
        let named = dice.percent(15);
        let (on_failure, minutes) = match !named && dice.percent(25) {
            // Long enough to lose a machine, and to get another.
            true => (OnFailure::Replace, dice.between(20, 60)),
            false => (OnFailure::Keep, dice.between(1, 10)),
        };
        let body = ReservationCreate {
            password_hash: Some(HASH.to_owned()),
            count: (!named).then(|| dice.between(1, 3) as i64),
            machines: if named { vec![machines[dice.index(machines.len())].clone()] } else { vec![] },
            duration: Some(DurationText::Minutes(minutes as i64)),
            on_failure,
            ssh_keys: if dice.percent(50) { vec![KEY.to_owned()] } else { vec![] },
            wait: Some(0),
            username: username.clone(),
            ..ReservationCreate::default()
        };
        let name = format!("{username}-{number}");
        Self { name, body, id: None, in_doubt: false, released: false, doubled: false, ends: vec![] }
    }
}
