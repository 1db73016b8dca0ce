//! Enrolling, and what each answer means to the agent, over a socket with canned answers.

use super::given::id;
use agent::link::LinkError;
use agent::{Identity, Link};
use model::wire::{EnrolAnswer, EnrolRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

/// Gives one answer per connection, then closes it; returns what it was sent.
fn serve(listener: UnixListener, answers: Vec<String>) -> JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let mut heard = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 64 * 1024];
            let length = stream.read(&mut request).await.unwrap();
            heard.push(String::from_utf8_lossy(&request[..length]).into_owned());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        heard
    })
}

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} .\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn enrolling_sends_the_digest_only_and_may_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let enrolled = EnrolAnswer {
        goes_on: false,
        machine: "m1".parse().unwrap(),
        incarnation: id(2).parse().unwrap(),
        epoch: id(1).parse().unwrap(),
    };
    let good = answer(201, &serde_json::to_string(&enrolled).unwrap());
    let serving = serve(UnixListener::bind(&socket).unwrap(), vec![good.clone(), good]);
    let server = format!("unix:{}", socket.display());
    let (mut link, mut identity) = (Link::new(&server).unwrap(), Identity::new(&server).unwrap());
    // The server closes after each answer, as one that restarts does.
    for _ in 0..2 {
        assert_eq!(identity.enrol(&mut link, "token").await.unwrap().machine, enrolled.machine);
    }
    assert_eq!(identity.incarnation, Some(enrolled.incarnation));
    let heard = serving.await.unwrap();
    assert!(
        heard.iter().all(|request| request.contains(&identity.digest()) && !request.contains("berth_agent_"))
    );
    assert!(matches!(identity.enrol(&mut link, "token").await, Err(error) if error.is_passing()));
}

#[tokio::test]
async fn answers_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let request = EnrolRequest { join_token: "x".into(), credential_sha256: "y".into() };
    let detail = r#"{"type":"about:blank","title":"Busy","status":503,"detail":"come again"}"#;
    let answers = [(401, ""), (403, ""), (410, ""), (503, detail), (200, "{}")];
    let canned = answers.map(|(status, body)| answer(status, body)).to_vec();
    let _serving = serve(UnixListener::bind(&socket).unwrap(), canned);
    let mut told = Vec::new();
    for _ in 0..answers.len() {
        let mut link = Link::new(&format!("unix:{}", socket.display())).unwrap();
        told.push(match link.enrol(&request).await.unwrap_err() {
            LinkError::Unreachable(why) if why.contains("missing field") => "unreadable".to_owned(),
            other => other.to_string(),
        });
    }
    let refused = "the server does not accept this agent's credential";
    let rest = ["the server has removed this machine", "the server answered 503: come again", "unreadable"];
    assert_eq!(told, [&[refused, refused], &rest[..]].concat());
}

#[tokio::test]
async fn when_a_server_does_not_answer_the_next_is_dialled() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    let mut link = Link::new(&format!("unix:{},unix:{}", first.display(), second.display())).unwrap();
    let request = EnrolRequest { join_token: "x".into(), credential_sha256: "y".into() };
    // The second has two answers, the last of which is that it cannot now.
    let served = serve(UnixListener::bind(&second).unwrap(), vec![answer(401, ""), answer(503, "")]);
    assert!(matches!(link.enrol(&request).await, Err(LinkError::Unreachable(_))), "nobody is at the first");
    assert!(matches!(link.enrol(&request).await, Err(LinkError::Unauthorised)), "the second says no");
    assert!(
        matches!(link.enrol(&request).await, Err(LinkError::Answered { status: 503, .. })),
        "it is kept to"
    );
    assert_eq!(served.await.unwrap().len(), 2);
    let served = serve(UnixListener::bind(&first).unwrap(), vec![answer(410, "")]);
    assert!(matches!(link.enrol(&request).await, Err(LinkError::Gone)), "and back to the first");
    assert_eq!(served.await.unwrap().len(), 1);
}
