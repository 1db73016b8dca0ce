//! What a visit leaves behind: the watcher, over pretend machines here, and on real ones in `real`.

mod real;
mod systemd;

use super::given::{account, at, spec};
use agent::once::{Heard, once};
use agent::resident::Place;
use agent::{Launch, turn, watch};
use model::Timestamp;
use model::report::{EndsBy, Report};
use model::spec::AccountSpec;
use model::wire::Visit;
use playbooks::fake::World;
use playbooks::{Db, FakeHost};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tests::FakeClock;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// A machine that is visited; its wall clock is a year behind what the server says.
struct Story {
    host: FakeHost,
    clock: FakeClock,
    folder: tempfile::TempDir,
}

impl Story {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { host: FakeHost::new(), clock: FakeClock::default(), folder }
    }

    /// The server says that its clock stands at `now`.
    fn visit(&self, now: Timestamp, generation: u64, accounts: Vec<AccountSpec>) -> Report {
        let visit = Visit { now, spec: spec(generation, accounts), kept: vec![] };
        let heard = Heard::read(&serde_json::to_vec(&visit).unwrap(), &self.clock).unwrap();
        let state = self.folder.path().to_owned();
        let launch = Launch { program: "/nowhere/berth-agent".into(), state, root: "/nowhere".into() };
        let _turn = turn::take(self.folder.path()).unwrap();
        once(self.host.clone(), heard, Arc::new(self.clock.clone()), &launch).unwrap()
    }

    /// Pokes go by the channel.
    fn watch(&self) -> (JoinHandle<()>, UnboundedSender<()>) {
        let (poke, mut pokes) = unbounded_channel();
        let (host, clock, state) = (self.host.clone(), self.clock.clone(), self.folder.path().to_owned());
        let place = Place::claim(&state, EndsBy::Watcher).unwrap().expect("nobody is there");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let watching = std::thread::spawn(move || {
            let poked = async || {
                if pokes.recv().await.is_none() {
                    std::future::pending::<()>().await;
                }
            };
            runtime.block_on(watch::watch(host, Arc::new(clock), place, &state, poked));
        });
        (watching, poke)
    }

    fn has_alice(&self) -> bool {
        self.host.text(Db::Passwd).contains("alice")
    }

    /// Real time passes only for the watcher to get its turn.
    async fn until(&self, step: Duration, what: &str, seen: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            if seen(self) {
                return;
            }
            self.clock.advance(step);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("never: {what}");
    }

    fn body(&self) -> World {
        World { ledger: None, ..self.host.world() }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread")]
async fn an_account_ends_though_nobody_comes_any_more() {
    let story = Story::new();
    story.visit(at(0), 1, vec![account(66_000)]);
    let (watching, _poke) = story.watch();
    story.clock.advance(Duration::from_secs(3599));
    story.until(Duration::ZERO, "she is warned", |story| !story.host.told().is_empty()).await;
    assert!(story.has_alice() && !watching.is_finished());
    story.until(SOON, "the watcher goes", |_| watching.is_finished()).await;
    assert_eq!(story.body(), FakeHost::new().world());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_warned_twice_however_often_somebody_visits() {
    let story = Story::new();
    story.visit(at(0), 1, vec![account(66_000)]);
    let (watching, poke) = story.watch();
    for minute in 1..=60 {
        story.clock.advance(MINUTE);
        story.visit(at(minute), 1, vec![account(66_000)]);
        let _ = poke.send(());
        let told = usize::from(minute >= 50) + usize::from(minute >= 55);
        let seen = |story: &Story| story.host.told().len() == told;
        story.until(Duration::ZERO, "as many warnings as are due", seen).await;
    }
    story.until(Duration::ZERO, "the watcher goes", |_| watching.is_finished()).await;
    assert_eq!(story.host.told().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_end_counts_earlier_or_later() {
    for (extended, is_told) in [(true, true), (true, false), (false, true), (false, false)] {
        let story = Story::new();
        story.visit(at(0), 1, vec![account(66_000)]);
        let (watching, poke) = story.watch();
        let end: i64 = if extended { 120 } else { 30 };
        story.visit(at(0), 2, vec![AccountSpec { not_after: at(end), ..account(66_000) }]);
        if is_told {
            let _ = poke.send(());
        }
        let begin = tests::clock::start();
        let passed = |story: &Story| story.clock.now().duration_since(begin).as_secs();
        // Lost pokes are made up for within a minute.
        let is_before = |story: &Story| passed(story) < end * 60 - 90;
        story.until(Duration::from_secs(20), "until shortly before", |story| !is_before(story)).await;
        assert!(story.has_alice() && !watching.is_finished(), "{extended} {is_told}");
        story.until(Duration::from_secs(1), "she is gone", |story| !story.has_alice()).await;
        assert!(extended || passed(&story) < 3600, "the end it had before");
        story.until(SOON, "the watcher goes", |_| watching.is_finished()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_goes_when_the_last_account_is_released_and_not_before() {
    let story = Story::new();
    let bob = AccountSpec { name: "bob2".parse().unwrap(), ..account(66_001) };
    story.visit(at(0), 1, vec![account(66_000), bob.clone()]);
    let (watching, poke) = story.watch();
    story.visit(at(1), 2, vec![bob]);
    // It may have seen it already.
    let _ = poke.send(());
    assert!(!story.has_alice());
    assert!(!watching.is_finished(), "there is somebody left");
    story.visit(at(2), 3, vec![]);
    let _ = poke.send(());
    story.until(Duration::ZERO, "the watcher goes", |_| watching.is_finished()).await;
    assert_eq!(story.body(), FakeHost::new().world());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_removed_is_tried_until_it_can() {
    let story = Story::new();
    story.visit(at(0), 1, vec![account(66_000)]);
    let (watching, _poke) = story.watch();
    story.host.spawn(66_000);
    story.host.set_immortal(true);
    story.clock.advance(Duration::from_secs(3600));
    let attempts = |story: &Story| {
        let ledger = story.host.world().ledger.unwrap_or_default();
        let ledger: serde_json::Value = serde_json::from_slice(&ledger).unwrap();
        ledger["cleanings"][0]["attempts"].as_u64().unwrap_or(0)
    };
    story.until(SOON, "tried thrice", |story| attempts(story) >= 3).await;
    assert!(!watching.is_finished());
    story.host.set_immortal(false);
    story.until(SOON, "the watcher goes", |_| watching.is_finished()).await;
    assert_eq!(story.body(), FakeHost::new().world());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_cannot_be_read_is_waited_for() {
    let story = Story::new();
    story.visit(at(0), 1, vec![account(66_000)]);
    let ledger = story.host.with(|world| world.ledger.replace(b"{".to_vec()));
    let (watching, _poke) = story.watch();
    story.until(SOON, "a while passes", |story| story.clock.now() > tests::clock::start() + MINUTE).await;
    assert!(!watching.is_finished() && story.has_alice());
    story.host.with(|world| world.ledger = ledger);
    story.clock.advance(Duration::from_secs(3600));
    story.until(SOON, "the watcher goes", |_| watching.is_finished()).await;
    assert!(!story.has_alice());
}
