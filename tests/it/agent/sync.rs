//! The loop against a server of a few lines behind a Unix socket. The machine's wall clock is a year behind what the
//! server says, which must not matter once the server has told the time.

use super::given::{account, at, id, spec};
use agent::{Identity, Link, Outcome, sync};
use model::report::{AccountState, Report};
use model::spec::Spec;
use model::wire::{SyncAnswer, SyncRequest};
use playbooks::fake::World;
use playbooks::{Db, FakeHost};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests::FakeClock;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

#[derive(Clone)]
enum Answer {
    Spec(Spec),
    Status(u16),
}

/// Gives prepared answers one after the other and then holds; keeps what it was told.
#[derive(Clone, Default)]
struct Server {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    reports: Arc<Mutex<Vec<Report>>>,
}

impl Server {
    async fn serve(self, listener: UnixListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(self.clone().converse(stream));
        }
    }

    async fn converse(self, stream: UnixStream) {
        let mut stream = BufReader::new(stream);
        while let Some(request) = read_request(&mut stream).await {
            self.reports.lock().unwrap().push(request.report);
            let answer = loop {
                let next = self.answers.lock().unwrap().pop_front();
                match next {
                    Some(answer) => break answer,
                    None => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            };
            let (status, body) = match answer {
                Answer::Spec(spec) => {
                    let (challenge, kept) = (None, vec![]);
                    let answer = SyncAnswer { now: at(0), spec: Some(spec), hold: 60, challenge, kept };
                    (200, serde_json::to_string(&answer))
                }
                Answer::Status(status) => (status, Ok(String::new())),
            };
            let body = body.unwrap();
            let text = format!("HTTP/1.1 {status} .\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            if stream.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

async fn read_request(stream: &mut BufReader<UnixStream>) -> Option<SyncRequest> {
    let (mut length, mut head) = (0, String::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    assert!(head.starts_with("POST /v1/agent/sync ") && head.contains("Bearer berth_agent_"), "{head}");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    serde_json::from_slice(&body).ok()
}

struct Story {
    host: FakeHost,
    clock: FakeClock,
    server: Server,
    serving: JoinHandle<()>,
    agent: JoinHandle<Outcome>,
    folder: tempfile::TempDir,
}

impl Story {
    fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (host, clock, server) = (FakeHost::new(), FakeClock::default(), Server::default());
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let serving = tokio::spawn(server.clone().serve(listener));
        let agent = start(&host, &clock, folder.path());
        Self { host, clock, server, serving, agent, folder }
    }

    fn answer(&self, answer: Answer) {
        self.server.answers.lock().unwrap().push_back(answer);
    }

    fn last_report(&self) -> Option<Report> {
        self.server.reports.lock().unwrap().last().cloned()
    }

    /// Real time passes only for the agent to get its turn; fake time by `step` each time it did not get there.
    async fn until(&self, step: Duration, what: &str, seen: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            if seen(self) {
                return;
            }
            self.clock.advance(step);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("never: {what}; last report {:?}", self.last_report());
    }

    fn has_alice(&self) -> bool {
        self.host.text(Db::Passwd).contains("alice")
    }

    async fn make_alice(&self) {
        self.answer(Answer::Spec(spec(1, vec![account(66_000)])));
        self.until(Duration::ZERO, "alice is reported ready", |story| {
            let report = story.last_report().unwrap_or_default();
            report.generation == 1
                && report.accounts.iter().all(|account| account.state == AccountState::Ready)
        })
        .await;
        assert!(self.has_alice());
    }
}

fn start(host: &FakeHost, clock: &FakeClock, folder: &std::path::Path) -> JoinHandle<Outcome> {
    let server = format!("unix:{}/socket", folder.display());
    let mut identity = Identity::new(&server).unwrap();
    identity.incarnation = Some(id(2).parse().unwrap());
    let link = Link::new(&server).unwrap();
    tokio::spawn(sync::run(host.clone(), link, identity, Arc::new(clock.clone()), std::future::pending()))
}

fn body(host: &FakeHost) -> World {
    World { ledger: None, ..host.world() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_is_obeyed_and_reported_at_once() {
    let story = Story::begin();
    story.make_alice().await;
    story.answer(Answer::Spec(spec(2, vec![])));
    story.until(Duration::ZERO, "alice is gone", |story| story.last_report().unwrap().generation == 2).await;
    assert_eq!(body(&story.host), body(&FakeHost::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_ends_while_the_server_is_dead_and_after_a_restart() {
    let mut story = Story::begin();
    story.make_alice().await;
    story.serving.abort();
    std::fs::remove_file(story.folder.path().join("socket")).unwrap();
    story.agent.abort();
    let _ = (&mut story.agent).await;
    story.agent = start(&story.host, &story.clock, story.folder.path());
    story.clock.advance(Duration::from_secs(59 * 60));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(story.has_alice(), "not before its time");
    story.until(Duration::from_secs(1), "alice is gone", |story| !story.has_alice()).await;
    story.until(Duration::ZERO, "all of it", |story| body(&story.host) == body(&FakeHost::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_ends_while_the_server_holds_its_answer() {
    let story = Story::begin();
    story.make_alice().await;
    story.clock.advance(Duration::from_secs(3601));
    story
        .until(Duration::ZERO, "the end is reported", |story| {
            story.last_report().unwrap().accounts.is_empty()
        })
        .await;
    assert!(!story.has_alice());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_tried_again_without_being_told() {
    let story = Story::begin();
    story.make_alice().await;
    story.host.spawn(66_000);
    story.host.set_immortal(true);
    story.answer(Answer::Spec(spec(2, vec![])));
    story
        .until(Duration::from_millis(100), "tried thrice", |story| {
            let report = story.last_report().unwrap();
            matches!(
                report.accounts.first().map(|account| &account.state),
                Some(AccountState::Leaving { attempts: 3.., .. })
            )
        })
        .await;
    story.host.set_immortal(false);
    story
        .until(Duration::from_millis(100), "gone", |story| story.last_report().unwrap().accounts.is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_no_longer_wanted_is_cleared() {
    let mut story = Story::begin();
    story.make_alice().await;
    story.answer(Answer::Status(410));
    assert_eq!((&mut story.agent).await.unwrap(), Outcome::Gone);
    assert_eq!(body(&story.host), body(&FakeHost::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_and_a_sick_server_change_nothing() {
    let story = Story::begin();
    story.make_alice().await;
    let before = story.server.reports.lock().unwrap().len();
    for status in [401, 403, 500, 503, 200] {
        story.answer(Answer::Status(status));
    }
    let heard = |story: &Story| story.server.reports.lock().unwrap().len() >= before + 5;
    story.until(Duration::from_millis(100), "it goes on asking", heard).await;
    assert!(story.has_alice() && !story.agent.is_finished());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_is_refused_again_and_again_does_not_make_it_spin() {
    let story = Story::begin();
    story.make_alice().await;
    let before = story.server.reports.lock().unwrap().len();
    for _ in 0..50 {
        story.answer(Answer::Spec(Spec { epoch: id(9).parse().unwrap(), ..spec(7, vec![]) }));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let reports = story.server.reports.lock().unwrap()[before..].to_vec();
    assert!((1..=2).contains(&reports.len()), "{reports:?}");
    assert!(reports[0].problems[0].contains("speaks for database") && story.has_alice());
}
