//! What the people on a machine are told: until when it is theirs, at log-in, on demand, and shortly before the end.

use crate::ledger::{Ledger, who};
use model::spec::AccountSpec;
use model::{AssignmentId, ReservationId, Timestamp, UserName};
use playbooks::Host;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// So long before the end terminals are written to.
const BEFORE: [Duration; 2] = [Duration::from_secs(10 * 60), Duration::from_secs(5 * 60)];

/// What `berth-agent status` shows to anybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub accounts: Vec<Lent>,
}

/// Somebody's time on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lent {
    pub name: UserName,
    pub uid: u32,
    pub until: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<ReservationId>,
}

/// Best effort: whoever cannot be told loses nothing by it.
pub(crate) fn show(host: &mut dyn Host, ledger: &Ledger, now: Timestamp) {
    let status = Status { accounts: there(ledger, now).map(lent).collect() };
    let bytes =
        if status.accounts.is_empty() { Vec::new() } else { serde_json::to_vec(&status).unwrap_or_default() };
    if let Err(error) = host.notice_write(&line(&status), &bytes) {
        tracing::warn!(%error, "people cannot be told until when this machine is theirs");
    }
}

fn there(ledger: &Ledger, now: Timestamp) -> impl Iterator<Item = &AccountSpec> {
    ledger.wanted(now).filter(|account| ledger.manages(&who(account)))
}

/// Remembers who was warned.
#[derive(Debug, Default)]
pub struct Warnings {
    given: BTreeSet<(AssignmentId, Timestamp, Duration)>,
}

impl Warnings {
    pub(crate) fn give(&mut self, host: &mut dyn Host, ledger: &Ledger, now: Timestamp) {
        self.given.retain(|(_, end, _)| now < *end);
        for account in there(ledger, now) {
            self.warn(host, account, now);
        }
    }

    /// Of several warnings that are due only one is given.
    fn warn(&mut self, host: &mut dyn Host, account: &AccountSpec, now: Timestamp) {
        let left = left(account, now);
        let due = BEFORE.into_iter().filter(|before| left <= *before);
        let fresh: Vec<_> = due.map(|before| self.given.insert(key(account, before))).collect();
        if fresh.last() == Some(&true)
            && let Err(error) = host.tell(&who(account), &warning(&lent(account), left))
        {
            tracing::debug!(%error, "nobody could be warned");
        }
    }

    /// When somebody is to be warned next.
    pub(crate) fn next(&self, ledger: &Ledger, now: Timestamp) -> Option<Timestamp> {
        let of = |account: &AccountSpec| {
            let times = BEFORE.map(|before| account.not_after.saturating_sub(before));
            times.into_iter().filter_map(Result::ok).filter(|at| now < *at).min()
        };
        ledger.wanted(now).filter_map(of).min()
    }
}

fn key(account: &AccountSpec, before: Duration) -> (AssignmentId, Timestamp, Duration) {
    (account.assignment, account.not_after, before)
}

fn left(account: &AccountSpec, now: Timestamp) -> Duration {
    Duration::try_from(account.not_after.duration_since(now)).unwrap_or_default()
}

fn lent(account: &AccountSpec) -> Lent {
    Lent {
        name: account.name.clone(),
        uid: account.uid,
        until: account.not_after,
        reservation: account.reservation,
    }
}

fn line(status: &Status) -> String {
    let lent: Vec<String> =
        status.accounts.iter().map(|lent| format!("{} until {}", lent.name, clock(lent.until))).collect();
    if lent.is_empty() { String::new() } else { format!("Berth: lent to {}", lent.join(", ")) }
}

fn warning(lent: &Lent, left: Duration) -> String {
    let minutes = left.as_secs().div_ceil(60).max(1);
    let until = clock(lent.until);
    format!("\r\nBerth: {minutes} min left on this machine, until {until}.{}\r\n", extend_hint(lent))
}

fn extend_hint(lent: &Lent) -> String {
    lent.reservation.map_or(String::new(), |id| format!(" More time: berth extend {id} --for 1h"))
}

fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// For the one who asks, in words.
pub fn words(lent: &Lent, now: Timestamp) -> String {
    let left = Duration::try_from(lent.until.duration_since(now)).unwrap_or_default();
    let minutes = left.as_secs() / 60;
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let until = clock(lent.until);
    format!("{}: until {until}, {hours} h {minutes:02} min left.{}", lent.name, extend_hint(lent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::spec::Spec;
    use playbooks::FakeHost;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn ledger(end: i64) -> Ledger {
        let account: AccountSpec = serde_json::from_value(serde_json::json!({
            "assignment": "01900000-0000-7000-8000-000000066000", "name": "alice", "uid": 66_000,
            "reservation": "01900000-0000-7000-8000-000000000007", "not_after": at(end),
        }))
        .unwrap();
        let mut ledger = Ledger::default();
        ledger.record(who(&account));
        let epoch = "01900000-0000-7000-8000-000000000001".parse().unwrap();
        ledger.spec = Some(Spec {
            epoch,
            generation: 1,
            uids: model::UidRange::default(),
            accounts: vec![account],
            follows: vec![],
        });
        ledger
    }

    #[test]
    fn people_are_warned_twice_and_told_at_log_in() {
        let mut host = FakeHost::new();
        let mut warnings = Warnings::default();
        let ledger = ledger(3600);
        for second in [0, 2999, 3000, 3001, 3299, 3300, 3301, 3599] {
            show(&mut host, &ledger, at(second));
            warnings.give(&mut host, &ledger, at(second));
        }
        let told: Vec<String> = host.told().into_iter().map(|(_, text)| text).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("10 min left") && told[1].contains("5 min left"), "{told:?}");
        assert!(told[0].contains("berth extend 01900000-0000-7000-8000-000000000007"));
        let (line, status) = host.with(|world| world.notice.clone());
        assert_eq!(line, "Berth: lent to alice until 2027-01-15 09:00 UTC");
        let status: Status = serde_json::from_slice(&status).unwrap();
        assert_eq!(
            words(&status.accounts[0], at(60)).split(". ").next().unwrap(),
            "alice: until 2027-01-15 09:00 UTC, 0 h 59 min left"
        );
        show(&mut host, &ledger, at(3600));
        assert_eq!(host.with(|world| world.notice.clone()), (String::new(), Vec::new()));
    }

    #[test]
    fn a_short_lease_warns_once_and_an_extension_anew() {
        let mut host = FakeHost::new();
        let mut warnings = Warnings::default();
        warnings.give(&mut host, &ledger(240), at(0));
        assert_eq!(host.told().len(), 1);
        assert_eq!(warnings.next(&ledger(240), at(0)), None);
        warnings.give(&mut host, &ledger(1200), at(1));
        assert_eq!(warnings.next(&ledger(1200), at(1)), Some(at(600)));
        warnings.give(&mut host, &ledger(1200), at(600));
        assert_eq!(host.told().len(), 2);
    }
}
