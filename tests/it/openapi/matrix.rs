//! Every operation of the document for everybody who may come: what is expected is what the document says.

use crate::accounts::send;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;
use tests::farm::by;
use tests::{Database, Farm, ask};

const PASSWORD: &str = "a horse, a battery";
const HELD: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Nobody,
    Expired,
    Revoked,
    User,
    OtherUser,
    /// A token of the user for one machine at a time.
    Narrow,
    Agent,
    OtherAgent,
    Admin,
}

use Caller::*;

const CALLERS: [Caller; 9] = [Nobody, Expired, Revoked, OtherUser, Narrow, Agent, OtherAgent, User, Admin];

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Whatever comes of it.
    LetIn,
    Unknown,
    Forbidden,
    /// It is somebody else's, and so not there.
    NotThere,
    /// Older clients that say in the body who they are cannot tell the two apart.
    Refused,
}

/// One operation, as the document has it.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    says: &'a Value,
}

impl Operation<'_> {
    fn is_of_agents(&self) -> bool {
        self.path.starts_with("/v1/agent/")
    }

    /// An operation of which the document does not say who may has no place here.
    fn expected(&self, caller: Caller) -> Outcome {
        let access = &self.says["x-berth-access"];
        match access["who"].as_str() {
            Some("anybody" | "whoever knows a password" | "whoever has a join token") => Outcome::LetIn,
            Some("agent") if matches!(caller, Agent | OtherAgent) => Outcome::LetIn,
            Some("agent") => Outcome::Unknown,
            Some("account") => match self.expected_of_account(caller, access) {
                Outcome::Unknown | Outcome::Forbidden if access["by_body"] == true => Outcome::Refused,
                expected => expected,
            },
            _ => panic!("{} {} does not say who may", self.method, self.path),
        }
    }

    fn expected_of_account(&self, caller: Caller, access: &Value) -> Outcome {
        let is_for_admins = match access["role"].as_str() {
            Some("admin") => true,
            Some("user") => false,
            other => panic!("{} {}: no role {other:?}", self.method, self.path),
        };
        match caller {
            Nobody | Expired | Revoked | Agent | OtherAgent => Outcome::Unknown,
            User | OtherUser | Narrow if is_for_admins => Outcome::Forbidden,
            Narrow if access["wide"] == true => Outcome::Forbidden,
            OtherUser if self.says["x-berth-owned"] == true => Outcome::NotThere,
            User | OtherUser | Narrow | Admin => Outcome::LetIn,
        }
    }
}

/// A farm with somebody of each kind.
struct Scene {
    farm: Farm,
    tokens: Vec<(Caller, Option<String>)>,
    reservation: String,
    token: String,
    incarnations: [Value; 2],
}

impl Scene {
    async fn set(mut farm: Farm) -> Self {
        farm.add_machines(2).await;
        // Agents that only this test speaks for.
        farm.enrol("m3").await;
        farm.enrol("m4").await;
        farm.lock().await;
        for name in ["user", "other"] {
            let body = json!({"name": name, "password": PASSWORD});
            assert_eq!(send(&farm, &farm.http, Method::POST, "/v1/accounts", body).await.0, 201);
        }
        let user = farm.log_in("user", PASSWORD).await.unwrap();
        let as_user = by(&user);
        let make = async |body: Value| {
            let (status, made) = send(&farm, &as_user, Method::POST, "/v1/tokens", body).await;
            assert_eq!(status, 201, "{made}");
            let text = |field: &str| made[field].as_str().unwrap().to_owned();
            (text("token"), text("id"))
        };
        let expired = make(json!({"name": "expired", "duration": "1m"})).await;
        farm.clock.advance(Duration::from_secs(61));
        let (revoked, token) = (make(json!({"name": "r"})).await, make(json!({"name": "t"})).await);
        let gone = format!("/v1/tokens/{}", revoked.1);
        assert_eq!(send(&farm, &as_user, Method::DELETE, &gone, Value::Null).await.0, 204);
        let narrow = make(json!({"name": "narrow", "machines": 1})).await;
        let asked = serde_json::to_value(ask("al", 1, 60)).unwrap();
        let reservation = send(&farm, &as_user, Method::POST, "/v1/reservations", asked).await.1;
        let other = farm.log_in("other", PASSWORD).await.unwrap();
        // Of its own, since one of them is logged out.
        let admin = farm.log_in("root", tests::farm::ADMIN).await.unwrap();
        let agents = [2, 3].map(|machine| farm.machines[machine].credential());
        let [agent, other_agent] = agents.map(|(credential, _)| credential.to_owned());
        let incarnations = [2, 3].map(|machine| json!(farm.machines[machine].credential().1));
        let tokens = vec![
            (Nobody, None),
            (Expired, Some(expired.0)),
            (Revoked, Some(revoked.0)),
            (User, Some(user)),
            (OtherUser, Some(other)),
            (Narrow, Some(narrow.0)),
            (Agent, Some(agent)),
            (OtherAgent, Some(other_agent)),
            (Admin, Some(admin)),
        ];
        let reservation = reservation["id"].as_str().unwrap().to_owned();
        Self { farm, tokens, reservation, token: token.1, incarnations }
    }

    fn token(&self, caller: Caller) -> Option<&str> {
        self.tokens.iter().find(|(of, _)| *of == caller).and_then(|(_, token)| token.as_deref())
    }

    async fn seen(&self, operation: &Operation<'_>, caller: Caller) -> (Outcome, u16) {
        let thing = if operation.path.starts_with("/v1/tokens") { &self.token } else { &self.reservation };
        let path = operation.path.replace("{id}", thing).replace("{name}", "nobody");
        let path = path.replace("{number}", "99").replace("{word}", "nothing");
        let (status, answer) = if operation.is_of_agents() {
            let report = self.report(caller);
            let answer = self.farm.at_agents_door(&path, self.token(caller), &report);
            // Who is kept waiting for news was let in.
            (tokio::time::timeout(HELD, answer).await.unwrap_or(200), Value::Null)
        } else {
            // What deletes all others comes last of all, when everybody has logged out.
            let anew = match (caller, operation.path) {
                (Admin, "/truncate_tables") => self.farm.log_in("root", tests::farm::ADMIN).await.ok(),
                _ => None,
            };
            let http = anew.as_deref().or(self.token(caller)).map_or_else(Client::new, by);
            let method = operation.method.to_uppercase().parse().unwrap();
            // It changes a reservation; to everything else it is a wrong body, read after who may was decided.
            send(&self.farm, &http, method, &path, json!({"duration": "2h"})).await
        };
        let is_routed =
            status != 405 && !answer["detail"].as_str().unwrap_or_default().contains("nothing at this path");
        assert!(is_routed, "{} {} is not served", operation.method, operation.path);
        let is_owned = operation.says["x-berth-owned"] == true;
        let is_by_body = operation.says["x-berth-access"]["by_body"] == true;
        let says = answer["Message"].as_str().or(answer["message"].as_str()).unwrap_or_default();
        let is_refused =
            ["Authentication or Authorization failed", "auth parameters missing"].contains(&says);
        let outcome = match status {
            400 | 401 if is_by_body && is_refused => Outcome::Refused,
            401 => Outcome::Unknown,
            403 => Outcome::Forbidden,
            404 if is_owned && caller != Admin => Outcome::NotThere,
            _ => Outcome::LetIn,
        };
        (outcome, status)
    }

    /// Of a process of its own, which the server answers at once.
    fn report(&self, caller: Caller) -> Value {
        let incarnation = &self.incarnations[usize::from(caller == OtherAgent)];
        json!({"incarnation": incarnation, "session": "matrix", "report": {"generation": 0}})
    }
}

/// Those that take something away from the callers come last.
fn order(operation: &Operation<'_>) -> u8 {
    match (operation.method, operation.path) {
        (_, "/truncate_tables") => 3,
        ("delete", "/v1/session") => 2,
        ("delete", _) | (_, "/release_all") => 1,
        _ => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_lets_in_whom_the_document_says_and_nobody_else() {
    let document: Value =
        serde_json::from_str(include_str!("../../../openapi.json")).expect("`just openapi` writes it");
    let scene = Scene::set(Farm::new(Database::Sqlite).await).await;
    let paths = document["paths"].as_object().unwrap();
    let mut operations: Vec<_> = paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(move |(method, says)| Operation { method, path, says })
        })
        .collect();
    operations.sort_by_key(order);
    let (mut cells, mut wrong) = (0, String::new());
    for operation in &operations {
        for caller in CALLERS {
            let (expected, (seen, status)) =
                (operation.expected(caller), scene.seen(operation, caller).await);
            cells += 1;
            if seen != expected {
                let Operation { method, path, .. } = operation;
                writeln!(
                    wrong,
                    "{method} {path} for {caller:?}: {expected:?} expected, {seen:?} ({status}) seen"
                )
                .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(operations.len() > 45 && cells == operations.len() * CALLERS.len(), "the document was read");
}
