use super::*;
use model::spec::AccountSpec;
use model::{AssignmentId, Epoch, Incarnation};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

fn start() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

type Answer = Result<SyncAnswer, DoorError>;

/// Answers from a script, then holds for ever; tells what it was asked.
struct Script {
    epoch: Epoch,
    refusals: AtomicUsize,
    answers: Mutex<Vec<Answer>>,
    asked: UnboundedSender<(String, SyncRequest)>,
    enrolled: UnboundedSender<EnrolRequest>,
}

impl Door for Script {
    fn enrol(&self, request: EnrolRequest) -> BoxFuture<'_, Result<EnrolAnswer, String>> {
        let refuse =
            self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        self.enrolled.send(request).unwrap();
        let incarnation = Incarnation::new(start());
        let answer =
            EnrolAnswer { machine: "m1".parse().unwrap(), incarnation, epoch: self.epoch, goes_on: false };
        Box::pin(async move { if refuse { Err("not yet".to_owned()) } else { Ok(answer) } })
    }

    fn sync(&self, credential: String, request: SyncRequest) -> BoxFuture<'_, Answer> {
        self.asked.send((credential, request)).unwrap();
        let next = self.answers.lock().unwrap().pop();
        Box::pin(async move {
            match next {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }
}

struct Told {
    enrolled: UnboundedReceiver<EnrolRequest>,
    asked: UnboundedReceiver<(String, SyncRequest)>,
}

fn scripted(epoch: Epoch, refusals: usize, mut answers: Vec<Answer>) -> (Simulated, Told) {
    answers.reverse();
    let ((asked, hears_asked), (enrolled, hears_enrolled)) = (unbounded_channel(), unbounded_channel());
    let answers = Mutex::new(answers);
    let door = Script { epoch, refusals: AtomicUsize::new(refusals), answers, asked, enrolled };
    (Simulated::new(Arc::new(door)), Told { enrolled: hears_enrolled, asked: hears_asked })
}

fn order() -> Order {
    Order {
        id: MachineId::new("2026-01-02T03:04:05Z".parse().unwrap()),
        name: "m1".parse().unwrap(),
        pool: "pretend".parse().unwrap(),
        image: String::new(),
        purpose: Purpose::Lent { size: None, join_token: "join".to_owned() },
    }
}

fn says(epoch: Epoch, generation: u64, names: &[&str]) -> Answer {
    let account = |name: &&str| AccountSpec {
        assignment: AssignmentId::new(start()),
        reservation: None,
        name: name.parse().unwrap(),
        uid: 66_000,
        password_hash: None,
        ssh_keys: Vec::new(),
        shell: None,
        groups: Vec::new(),
        sudo: false,
        not_after: start(),
    };
    let spec = Spec {
        epoch,
        generation,
        uids: model::UidRange::default(),
        accounts: names.iter().map(account).collect(),
        follows: Vec::new(),
    };
    Ok(SyncAnswer { now: start(), spec: Some(spec), hold: 25, challenge: None, kept: Vec::new() })
}

/// What one report says, as text.
async fn next(told: &mut Told) -> String {
    let (_, request) = told.asked.recv().await.unwrap();
    let accounts = request.report.accounts;
    assert!(accounts.iter().all(|account| account.state == AccountState::Ready));
    let names: Vec<_> = accounts.iter().map(|account| account.name.as_str()).collect();
    format!("{} {}", request.report.generation, names.join(","))
}

#[tokio::test(start_paused = true)]
async fn reports_what_the_newest_spec_lists() {
    let epoch = Epoch::new(start());
    let foreign = Epoch::new(start());
    let answers = vec![
        says(epoch, 2, &["alice"]),
        says(epoch, 1, &["old"]),
        says(foreign, 9, &["foreign"]),
        Err(DoorError::Other("down".to_owned())),
        says(epoch, 3, &[]),
    ];
    let (simulated, mut told) = scripted(epoch, 0, answers);
    simulated.create(&order()).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(next(&mut told).await);
    }
    assert_eq!(seen, ["0 ", "2 alice", "2 alice", "2 alice", "2 alice", "3 "]);
}

#[tokio::test(start_paused = true)]
async fn enrols_until_it_may_and_shows_only_the_digest_of_its_credential() {
    let (simulated, mut told) = scripted(Epoch::new(start()), 2, Vec::new());
    simulated.create(&order()).await.unwrap();
    let (credential, _) = told.asked.recv().await.unwrap();
    let mut last = None;
    while let Ok(request) = told.enrolled.try_recv() {
        assert_eq!(request.join_token, "join");
        last = Some(request.credential_sha256);
    }
    assert_eq!(credential.strip_prefix("berth_agent_").unwrap().len(), 64);
    assert_eq!(last.unwrap(), HEXLOWER.encode(&Sha256::digest(&credential)));
}

#[tokio::test(start_paused = true)]
async fn stops_when_it_is_gone() {
    let (simulated, mut told) = scripted(Epoch::new(start()), 0, vec![Err(DoorError::Gone)]);
    simulated.create(&order()).await.unwrap();
    next(&mut told).await;
    drop(simulated);
    assert!(told.asked.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn everything_may_be_done_twice() {
    let (simulated, mut told) = scripted(Epoch::new(start()), 0, Vec::new());
    let order = order();
    let (first, second) = (simulated.create(&order).await, simulated.create(&order).await);
    assert_eq!(first, second);
    let created_at = "2026-01-02T03:04:05Z".parse().unwrap();
    let listed = simulated.list_owned(&order.pool).await.unwrap();
    assert_eq!(listed, [Listed { id: order.id, created_at, running: true }]);
    assert!(simulated.list_owned(&"other".parse().unwrap()).await.unwrap().is_empty());
    next(&mut told).await;
    simulated.destroy(order.id).await.unwrap();
    simulated.destroy(order.id).await.unwrap();
    assert!(simulated.list_owned(&order.pool).await.unwrap().is_empty());
    drop(simulated);
    assert!(told.asked.recv().await.is_none(), "one agent, and it has ended");
}
