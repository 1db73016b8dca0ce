//! The record of what happened: numbered without gaps, each entry bound to the one before by a hash, so that nothing can
//! be changed, left out or put in without every later entry showing it.

use crate::AccountName;
use crate::wire::EventView;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::fmt;

/// Whose doing something is, and where they asked from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    pub who: Who,
    pub source: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Who {
    /// The loops: a reservation expired, a machine fell silent.
    #[default]
    Server,
    /// What an agent told, of its own machine.
    Agent,
    /// Somebody, before there were accounts.
    Open,
    Account(AccountName),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Agent => f.write_str("agent"),
            Self::Open => f.write_str("open"),
            Self::Account(name) => write!(f, "account:{name}"),
        }
    }
}

/// The hash of an event that comes after one with the hash `before`.
pub fn hash(before: &str, event: &EventView) -> String {
    let EventView { seq, at, kind, machine, reservation, detail, actor, source, hash: _ } = event;
    let mut digest = Sha256::new();
    let mut add = |field: Option<&str>| {
        // With their lengths, so that no two events are hashed alike.
        let length = field.map_or(u64::MAX, |field| field.len() as u64);
        digest.update(length.to_be_bytes());
        digest.update(field.unwrap_or_default());
    };
    let (reservation, numbers) = (reservation.map(|id| id.to_string()), [*seq, at.as_microsecond()]);
    let fields =
        [Some(before), Some(kind), machine.as_ref().map(|name| name.as_str()), reservation.as_deref()];
    fields.into_iter().chain([Some(detail.as_str()), Some(actor), source.as_deref()]).for_each(&mut add);
    numbers.iter().for_each(|number| digest.update(number.to_be_bytes()));
    HEXLOWER.encode(&digest.finalize())
}

/// Reads a record from its beginning.
#[derive(Debug, Default)]
pub struct Chain {
    last: Option<(i64, String)>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("event {0} is missing")]
    Missing(i64),
    #[error("event {0} is not what it was when it was written, or one before it is not")]
    Changed(i64),
}

impl Chain {
    pub fn add(&mut self, event: &EventView) -> Result<(), Broken> {
        let (last, before) = self.last.take().unwrap_or_default();
        // Before hashes were kept numbers had gaps.
        let is_old = event.hash.is_empty() && before.is_empty();
        if event.seq != last + 1 && !is_old && !(before.is_empty() && last == 0) {
            return Err(Broken::Missing(last + 1));
        }
        if !is_old && event.hash != hash(&before, event) {
            return Err(Broken::Changed(event.seq));
        }
        self.last = Some((event.seq, event.hash.clone()));
        Ok(())
    }

    /// The number of the last event and its hash: whoever has noted it elsewhere sees whether the end was cut off.
    pub fn head(&self) -> Option<(i64, &str)> {
        self.last.as_ref().map(|(seq, hash)| (*seq, hash.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chained(count: i64) -> Vec<EventView> {
        let mut before = String::new();
        (1..=count)
            .map(|seq| {
                let mut event = EventView {
                    seq,
                    at: crate::Timestamp::from_second(seq).unwrap(),
                    kind: "machine.registered".to_owned(),
                    machine: Some("m1".parse().unwrap()),
                    reservation: None,
                    detail: String::new(),
                    actor: Who::Account("alice".parse().unwrap()).to_string(),
                    source: Some("192.0.2.7".to_owned()),
                    hash: String::new(),
                };
                event.hash = hash(&before, &event);
                before.clone_from(&event.hash);
                event
            })
            .collect()
    }

    fn verdict(events: &[EventView]) -> Result<(), Broken> {
        let mut chain = Chain::default();
        events.iter().try_for_each(|event| chain.add(event))
    }

    #[test]
    fn whatever_is_changed_shows() {
        let whole = chained(5);
        assert_eq!(verdict(&whole), Ok(()));
        let changes: [fn(&mut EventView); 7] = [
            |event| event.kind = "machine.retired".to_owned(),
            |event| event.machine = None,
            |event| event.detail = "x".to_owned(),
            |event| event.actor = "server".to_owned(),
            |event| event.source = None,
            |event| event.at += std::time::Duration::from_micros(1),
            |event| event.hash = "0".repeat(64),
        ];
        for change in changes {
            let mut events = whole.clone();
            change(&mut events[2]);
            assert_eq!(verdict(&events), Err(Broken::Changed(3)));
        }
        let mut forged = whole.clone();
        forged[2].detail = "x".to_owned();
        forged[2].hash = hash(&forged[1].hash, &forged[2]);
        assert_eq!(verdict(&forged), Err(Broken::Changed(4)), "the next one shows it");
        let mut short = whole.clone();
        short.remove(2);
        assert_eq!(verdict(&short), Err(Broken::Missing(3)));
        assert_eq!(verdict(&whole[1..]), Err(Broken::Changed(2)));
        let mut swapped = whole;
        swapped.swap(1, 2);
        assert_eq!(verdict(&swapped), Err(Broken::Missing(2)));
    }

    #[test]
    fn a_record_may_have_begun_before_there_were_hashes() {
        let mut events = chained(3);
        let first = events[0].clone();
        let old = |seq| EventView { seq, hash: String::new(), ..first.clone() };
        let mut record = vec![old(1), old(4)];
        let mut before = String::new();
        for (seq, event) in (5..).zip(&mut events) {
            event.seq = seq;
            event.hash = hash(&before, event);
            before.clone_from(&event.hash);
        }
        record.extend(events);
        assert_eq!(verdict(&record), Ok(()));
        record.push(old(8));
        assert_eq!(verdict(&record), Err(Broken::Changed(8)), "there is no way back");
    }
}
