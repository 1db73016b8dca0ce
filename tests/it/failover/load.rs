//! People who reserve, extend and release, at one server or the other, whatever happens to these.

use super::journal::{Answer, Journal, Pen, What};
use super::pair::Pair;
use jiff::SignedDuration;
use model::phase::Phase;
use model::wire::ReservationView;
use model::{ReservationId, Timestamp};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tests::real::until;
use tokio::task::JoinSet;

pub(super) const PASSWORD: &str = "a canary in the mine, 4711";
/// Who gets no answer for so long asks the other one.
const PATIENCE: Duration = Duration::from_secs(8);

pub(super) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

struct Shared {
    pen: Pen,
    urls: [String; 2],
    is_over: AtomicBool,
    /// In the order in which it was answered.
    heard: Mutex<Vec<Heard>>,
}

/// What the story waits for.
struct Heard {
    what: What,
    asked_at: Timestamp,
    at: Timestamp,
    verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Unknown,
    Refused,
    Done,
    Ready,
}

impl From<&Answer> for Verdict {
    fn from(answer: &Answer) -> Self {
        match answer {
            Answer::Unknown(_) | Answer::Odd(_) => Self::Unknown,
            Answer::Refused(_) => Self::Refused,
            Answer::Done(view) if view.phase == Phase::Ready => Self::Ready,
            Answer::Done(_) => Self::Done,
        }
    }
}

impl Load {
    pub(super) fn start(pair: &Pair, clients: usize) -> Self {
        let urls = [pair.url(0), pair.url(1)];
        let shared = Arc::new(Shared {
            pen: Pen::new(pair.folder.path()),
            urls,
            is_over: AtomicBool::new(false),
            heard: Mutex::default(),
        });
        let all = (0..clients).map(|number| {
            let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
            Client { shared: shared.clone(), http, number, server: number % 2 }.run()
        });
        let clients = all.collect();
        Self { shared, clients }
    }

    /// So many reservations more than now.
    pub(super) async fn until_acknowledged(&self, more: usize) {
        let count = || {
            let heard = self.shared.heard();
            heard.iter().filter(|heard| heard.what == What::Create && heard.verdict >= Verdict::Done).count()
        };
        let wanted = count() + more;
        // In steps: a long form takes longer than anything else that is waited for.
        for wanted in (count()..=wanted).step_by(25).chain([wanted]) {
            until(&format!("the load reaches {wanted} reservations"), async || count() >= wanted).await;
        }
    }

    /// Until an account that was asked for since is ready.
    pub(super) async fn until_ready_after(&self, since: Timestamp) {
        until("an account is ready", async || {
            self.next(since, |verdict| verdict == Verdict::Ready).is_some()
        })
        .await;
    }

    pub(super) async fn until_unknown_after(&self, since: Timestamp) {
        until("somebody notices", async || self.next(since, |verdict| verdict == Verdict::Unknown).is_some())
            .await;
    }

    /// How long after that the next was served, and the next account was ready.
    pub(super) fn gaps_after(&self, since: Timestamp) -> (SignedDuration, SignedDuration) {
        let gap = |met| self.next(since, met).unwrap().duration_since(since);
        (gap(|verdict| verdict >= Verdict::Done), gap(|verdict| verdict == Verdict::Ready))
    }

    /// When something was answered that was asked since.
    fn next(&self, since: Timestamp, met: fn(Verdict) -> bool) -> Option<Timestamp> {
        let heard = self.shared.heard();
        heard.iter().find(|heard| heard.asked_at >= since && met(heard.verdict)).map(|heard| heard.at)
    }

    pub(super) async fn stop(mut self) -> Journal {
        self.shared.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        self.shared.pen.read()
    }
}

impl Shared {
    fn heard(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.heard.lock().unwrap()
    }
}

struct Client {
    shared: Arc<Shared>,
    http: reqwest::Client,
    number: usize,
    /// Which one is asked next.
    server: usize,
}

impl Client {
    async fn run(mut self) {
        for round in 0.. {
            if self.shared.is_over.load(Ordering::Relaxed) {
                return;
            }
            let username = format!("u{}-{round}", self.number);
            // Some end by themselves, some are released, some are given more time before.
            let (lasts, kind) = [("4s", 0), ("10m", 1), ("20s", 2), ("10m", 1)][round % 4];
            let body = json!({
                "username": username, "password": PASSWORD, "count": 1 + round % 2, "duration": lasts, "wait": 5,
            });
            let Some(made) = self.ask(&username, What::Create, "POST", "/v1/reservations", &body).await
            else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            if kind == 2 {
                self.about(&username, What::Extend, made.id, json!({"duration": "15m"})).await;
            }
            if kind > 0 {
                self.about(&username, What::Release, made.id, Value::Null).await;
            }
        }
    }

    async fn about(&mut self, username: &str, what: What, id: ReservationId, body: Value) {
        let method = if what == What::Extend { "PATCH" } else { "DELETE" };
        let path = format!("/v1/reservations/{id}?wait=1");
        self.ask(username, what, method, &path, &body).await;
    }

    /// Again and again, until somebody says yes or no. What was done, if it was.
    async fn ask(
        &mut self,
        username: &str,
        what: What,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Option<ReservationView> {
        loop {
            let asked_at = self.shared.pen.write(username, what, None);
            let answer = self.ask_once(username, what, method, path, body).await;
            let at = self.shared.pen.write(username, what, Some(answer.clone()));
            self.shared.heard().push(Heard { what, asked_at, at, verdict: Verdict::from(&answer) });
            match answer {
                Answer::Done(view) => return Some(*view),
                Answer::Refused(_) => return None,
                Answer::Unknown(_) | Answer::Odd(_) if self.shared.is_over.load(Ordering::Relaxed) => {
                    return None;
                }
                Answer::Unknown(_) | Answer::Odd(_) => {
                    self.server = 1 - self.server;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn ask_once(&self, username: &str, what: What, method: &str, path: &str, body: &Value) -> Answer {
        let url = format!("{}{path}", self.shared.urls[self.server]);
        let mut request = self.http.request(method.parse().unwrap(), url).body(body.to_string());
        if what == What::Create {
            request = request.header("Idempotency-Key", username);
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Answer::Unknown(error.to_string()),
        };
        let status = answer.status().as_u16();
        let retry_after = answer.headers().contains_key("retry-after");
        let text = match answer.text().await {
            Ok(text) => text,
            Err(error) => return Answer::Unknown(error.to_string()),
        };
        match serde_json::from_str(&text) {
            Ok(view) if status < 300 => Answer::Done(Box::new(view)),
            Err(error) if status < 300 => Answer::Odd(format!("{error}: {text}")),
            // The machines could not do it, and nothing is held.
            Ok(_) | Err(_) if status < 500 || text.contains("urn:berth:failed") => Answer::Refused(status),
            Ok(_) | Err(_) if status == 503 && retry_after => Answer::Unknown(text),
            Ok(_) | Err(_) => Answer::Odd(format!("{status}: {text}")),
        }
    }
}
