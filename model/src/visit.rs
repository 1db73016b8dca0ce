//! When a machine that has no agent is visited.

use crate::adoption::{Adoption, Stage};
use crate::machine::Machine;
use crate::session::Quarantine;
use crate::ssh::Ssh;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// While somebody waits and the machine could not do it yet.
const IMPATIENCE: SignedDuration = SignedDuration::from_secs(1);
/// After a visit that failed, doubled with each further one; likewise while an account does not go away.
const BACK_OFF: SignedDuration = SignedDuration::from_secs(2);
const LONGEST_BACK_OFF: SignedDuration = SignedDuration::from_mins(5);
const LONGEST_CLEANING: SignedDuration = SignedDuration::from_mins(1);
/// A machine is looked at so often within its time to live, so that one that answers never counts as unreachable.
const LOOKS_PER_TTL: u32 = 3;

/// From when on a visit is due, and no other wake-up is needed before. Absent: it waits for somebody.
pub fn next_visit(machine: &Machine, ssh: &Ssh, now: Timestamp, ttl: Duration) -> Option<Timestamp> {
    // One that is restored from a backup obeys nothing until it is empty, and that has to be seen.
    if machine.quarantined.is_some_and(|quarantine| quarantine != Quarantine::Restored)
        || (ssh.host_key.is_none() && ssh.awaited.is_none() && ssh.offered.is_some())
    {
        return None;
    }
    let step = ssh.adoption.as_ref().and_then(Adoption::next).map(|(at, _)| at);
    match ssh.stage() {
        // Its agent is at work there, and lets nobody else.
        Some(Stage::Adopted | Stage::Releasing) => step,
        Some(Stage::Adopting) => step.into_iter().chain([next_look(machine, ssh, now, ttl)]).min(),
        None => Some(next_look(machine, ssh, now, ttl)),
    }
}

fn next_look(machine: &Machine, ssh: &Ssh, now: Timestamp, ttl: Duration) -> Timestamp {
    let pace = SignedDuration::try_from(ttl / LOOKS_PER_TTL).unwrap_or(SignedDuration::MAX);
    let is_unsettled = machine.seen_generation != machine.generation;
    let wanted = match (&machine.holding, machine.seen_at) {
        (_, None) => Timestamp::MIN,
        (_, Some(seen)) if machine.quarantined.is_some() => later(seen, pace),
        // It obeys another database, or cannot.
        (_, Some(seen)) if is_unsettled && machine.problem.is_some() => later(seen, BACK_OFF),
        _ if is_unsettled => Timestamp::MIN,
        (Some(holding), Some(seen)) if holding.is_leaving(now) => {
            later(seen, doubled(BACK_OFF, holding.attempts, LONGEST_CLEANING))
        }
        (Some(holding), Some(seen)) if !holding.ready && !holding.refused => later(seen, IMPATIENCE),
        (_, Some(seen)) => later(seen, pace),
    };
    wanted.max(after_failures(ssh.tried_at, ssh.failures))
}

/// From when on another try is allowed.
pub(crate) fn after_failures(tried_at: Option<Timestamp>, failures: u32) -> Timestamp {
    match tried_at {
        Some(tried) if failures > 0 => later(tried, doubled(BACK_OFF, failures - 1, LONGEST_BACK_OFF)),
        _ => Timestamp::MIN,
    }
}

fn doubled(first: SignedDuration, times: u32, longest: SignedDuration) -> SignedDuration {
    first.checked_mul(1 << times.min(16)).unwrap_or(longest).min(longest)
}

pub(crate) fn later(than: Timestamp, by: SignedDuration) -> Timestamp {
    than.saturating_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phase::tests::{held, machine};
    use crate::session::Quarantine;
    use crate::ssh::{AuthKind, AwaitedKey};

    const TTL: Duration = Duration::from_secs(90);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ssh() -> Ssh {
        Ssh {
            user: "root".to_owned(),
            auth: AuthKind::Password,
            host_key: Some("ssh-ed25519 AAAA".to_owned()),
            awaited: None,
            offered: None,
            jump: None,
            failures: 0,
            tried_at: None,
            error: None,
            adoption: None,
        }
    }

    fn due(machine: &Machine, ssh: &Ssh) -> Option<Timestamp> {
        next_visit(machine, ssh, at(10), TTL)
    }

    #[test]
    fn a_quiet_machine_is_looked_at_three_times_before_it_counts_as_unreachable() {
        let mut quiet = machine("m1");
        assert_eq!(due(&quiet, &ssh()), Some(at(30)));
        quiet.seen_at = None;
        assert_eq!(due(&quiet, &ssh()), Some(Timestamp::MIN));
    }

    #[test]
    fn news_and_whoever_waits_bring_a_visit() {
        let mut machine = machine("m1");
        machine.generation += 1;
        assert_eq!(due(&machine, &ssh()), Some(Timestamp::MIN));
        machine.generation -= 1;
        machine.holding = Some(held(50));
        assert_eq!(due(&machine, &ssh()), Some(at(30)));
        let holding = machine.holding.as_mut().unwrap();
        holding.ready = false;
        assert_eq!(due(&machine, &ssh()), Some(at(1)));
        machine.holding.as_mut().unwrap().ended_at = Some(at(5));
        assert_eq!(due(&machine, &ssh()), Some(at(2)));
        machine.holding.as_mut().unwrap().attempts = 100;
        assert_eq!(due(&machine, &ssh()), Some(at(60)));
    }

    #[test]
    fn a_machine_that_fails_is_tried_less_and_less() {
        let mut machine = machine("m1");
        machine.generation += 1;
        let failed = |failures| Ssh { failures, tried_at: Some(at(100)), ..ssh() };
        let after: Vec<_> = [1, 2, 3, 8, 9, 1000].map(|failures| due(&machine, &failed(failures))).to_vec();
        assert_eq!(after, [102, 104, 108, 356, 400, 400].map(|second| Some(at(second))));
    }

    #[test]
    fn nobody_visits_what_nobody_vouches_for() {
        let mut strange = machine("m1");
        let unknown = Ssh { host_key: None, ..ssh() };
        assert!(due(&strange, &unknown).is_some(), "to see its key");
        let offered = Ssh { offered: Some("ssh-ed25519 BBBB".to_owned()), ..unknown };
        assert_eq!(due(&strange, &offered), None);
        let accepted = Ssh { awaited: Some(AwaitedKey::New), ..offered };
        assert!(due(&strange, &accepted).is_some());
        strange.quarantined = Some(Quarantine::HostKey);
        assert_eq!(due(&strange, &ssh()), None);
    }

    #[test]
    fn whoever_has_an_agent_is_not_looked_at() {
        let mut machine = machine("m1");
        machine.generation += 1;
        let adoption = Adoption {
            server: "unix:/run/berth/agent.sock".to_owned(),
            ca: None,
            stage: Stage::Adopting,
            installed_at: Some(at(5)),
            failures: 0,
            tried_at: Some(at(5)),
            error: None,
        };
        let of = |stage| Ssh { adoption: Some(Adoption { stage, ..adoption.clone() }), ..ssh() };
        assert_eq!(due(&machine, &of(Stage::Adopting)), Some(Timestamp::MIN));
        machine.generation -= 1;
        assert_eq!(due(&machine, &of(Stage::Adopting)), Some(at(30)), "before the agent is overdue");
        assert_eq!(due(&machine, &of(Stage::Adopted)), None);
        assert_eq!(due(&machine, &of(Stage::Releasing)), Some(Timestamp::MIN));
    }
}
