//! Clocks that are set around the end of a lease: nobody loses anything early, nobody stays longer once the truth is
//! known, and while it is not known nobody gets in.

use super::given::{account, at, spec};
use agent::Clock;
use agent::sync::Agent;
use jiff::SignedDuration;
use model::Timestamp;
use model::report::AccountState;
use model::wire::SyncAnswer;
use playbooks::{Db, FakeHost};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A machine's clocks. The true time is that of the server.
#[derive(Clone)]
struct Clocks(Arc<Mutex<Hands>>);

#[derive(Clone, Copy)]
struct Hands {
    truth: Timestamp,
    booted_at: Timestamp,
    ahead: SignedDuration,
}

impl Clock for Clocks {
    fn wall(&self) -> Timestamp {
        let hands = self.0.lock().unwrap();
        hands.truth + hands.ahead
    }

    fn boottime(&self) -> Duration {
        let hands = self.0.lock().unwrap();
        hands.truth.duration_since(hands.booted_at).unsigned_abs()
    }

    fn sleep_until(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

/// alice's machine. Her lease of an hour begins now.
struct Story {
    host: FakeHost,
    clocks: Clocks,
    agent: Agent<FakeHost>,
}

/// What can be done with her account.
#[derive(Debug, PartialEq, Eq)]
enum Access {
    Open,
    /// Nobody gets in, and nothing is lost.
    Locked,
    Gone,
}
use Access::{Gone, Locked, Open};

const SKEWS: [i64; 4] = [-24 * 60, -60, 60, 24 * 60];

impl Story {
    fn new() -> Self {
        let hands = Hands { truth: at(0), booted_at: at(-600), ahead: SignedDuration::ZERO };
        let (host, clocks) = (FakeHost::new(), Clocks(Arc::new(Mutex::new(hands))));
        let agent = Agent::new(host.clone(), Arc::new(clocks.clone()));
        let mut story = Self { host, clocks, agent };
        story.start();
        story.hear();
        assert_eq!(story.turn(), Open);
        story
    }

    fn start(&mut self) {
        self.agent = Agent::new(self.host.clone(), Arc::new(self.clocks.clone()));
        self.agent.open().unwrap();
    }

    fn set(&self, change: impl FnOnce(&mut Hands)) {
        change(&mut self.clocks.0.lock().unwrap());
    }

    /// The machine is down for a minute, and its clock is set to be so many minutes ahead.
    fn reboot(&mut self, ahead: i64) {
        self.host.reboot();
        self.set(|hands| {
            hands.truth += SignedDuration::from_mins(1);
            hands.booted_at = hands.truth;
            hands.ahead = SignedDuration::from_mins(ahead);
        });
        self.start();
    }

    fn at_second(&self, second: i64) {
        self.set(|hands| hands.truth = at(0) + SignedDuration::from_secs(second));
    }

    /// The server says what time it is.
    fn hear(&mut self) {
        let now = self.clocks.0.lock().unwrap().truth;
        let wanted = spec(1, vec![account(66_000)]);
        let answer = SyncAnswer { now, spec: Some(wanted), hold: 20, challenge: None, kept: vec![] };
        let spec = self.agent.hear(answer);
        let began = self.agent.moment();
        self.agent.converge(spec, began);
    }

    fn turn(&mut self) -> Access {
        let began = self.agent.moment();
        let report = self.agent.converge(None, began);
        let expired = self.host.text(Db::Shadow).contains("alice:*::0:99999:7::1:");
        let home = self.host.with(|world| world.homes.contains_key("alice"));
        match report.accounts.first().map(|account| &account.state) {
            None => {
                assert!(!home && !self.host.text(Db::Passwd).contains("alice"));
                Gone
            }
            Some(AccountState::Ready) => {
                assert!(home && !expired);
                Open
            }
            Some(AccountState::Failed { .. }) => {
                assert!(home && expired, "locked, and nothing lost");
                Locked
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn within_a_boot_no_change_of_the_clock_moves_the_end() {
    for ahead in SKEWS {
        for restarts in [false, true] {
            let mut story = Story::new();
            story.set(|hands| hands.ahead = SignedDuration::from_mins(ahead));
            for (second, access) in [(1, Open), (3598, Open), (3600, Gone)] {
                story.at_second(second);
                if restarts {
                    story.start();
                }
                assert_eq!(story.turn(), access, "{ahead} min ahead, at {second}");
            }
        }
    }
}

#[test]
fn after_a_boot_a_clock_that_is_right_is_gone_by() {
    let mut story = Story::new();
    story.reboot(0);
    assert_eq!(story.turn(), Open);
    story.at_second(3598);
    assert_eq!(story.turn(), Open);
    story.at_second(3600);
    assert_eq!(story.turn(), Gone);
}

#[test]
fn after_a_boot_a_wrong_clock_locks_until_the_truth_is_known() {
    for ahead in SKEWS {
        let mut story = Story::new();
        story.at_second(1800);
        story.reboot(ahead);
        assert_eq!(story.turn(), Locked, "{ahead} min ahead");
        story.hear();
        assert_eq!(story.turn(), Open, "{ahead} min ahead, and the server has said the time");
        story.at_second(3598);
        assert_eq!(story.turn(), Open);
        story.at_second(3600);
        assert_eq!(story.turn(), Gone);
    }
}

#[test]
fn whoever_is_over_when_the_truth_is_known_goes_at_once() {
    for ahead in SKEWS {
        let mut story = Story::new();
        story.at_second(3000);
        assert_eq!(story.turn(), Open);
        story.reboot(ahead);
        story.at_second(4000);
        assert_eq!(story.turn(), Locked, "{ahead} min ahead: nobody gets in");
        story.hear();
        assert_eq!(story.turn(), Gone, "{ahead} min ahead");
    }
}

#[test]
fn a_server_that_never_comes_back_keeps_nothing_for_ever() {
    let mut story = Story::new();
    story.reboot(60);
    assert_eq!(story.turn(), Locked);
    story.at_second(3600 + 25 * 3600);
    assert_eq!(story.turn(), Gone);
}
