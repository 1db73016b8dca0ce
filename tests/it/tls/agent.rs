//! Machines' side: agents that dial the server over TLS.

use super::authority::Authority;
use super::impostor::Impostor;
use super::process::Process;
use agent::link::LinkError;
use agent::{Identity, Link, Trust};
use cli::Client;
use model::phase::Phase;
use model::wire::MachineCreate;
use playbooks::FakeHost;
use std::fs;
use std::sync::Arc;
use tests::real::{agent_binary, until};
use tests::{FakeClock, ask, has_account};
use tokio::process::Command;

fn pinned(authority: &Authority) -> Trust {
    Trust::pinned(authority.pem().as_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_lent_over_tls() {
    let authority = Authority::new();
    let server = Process::start(&authority.issue("localhost")).await;
    let client = Client::with_ca(&server.url(), authority.pem().as_bytes()).unwrap();
    let machine: MachineCreate = serde_json::from_str(r#"{"name": "m1", "host": "127.0.0.1"}"#).unwrap();
    let token = client.machine_create(&machine, None).await.unwrap().body.join_token.unwrap();
    let dials = format!("https://localhost:{}", server.agents_port);
    let mut link = Link::trusting(&dials.parse().unwrap(), &pinned(&authority));
    let mut identity = Identity::new(&dials).unwrap();
    identity.enrol(&mut link, &token).await.unwrap();
    let (host, clock) = (FakeHost::new(), Arc::new(FakeClock::default()));
    let agent = agent::sync::run(host.clone(), link, identity, clock, std::future::pending());
    let agent = tokio::spawn(agent);
    until("it is free", async || {
        client.machine_get(&"m1".parse().unwrap()).await.unwrap().body.state == "free"
    })
    .await;
    let lent = client.reservation_create(&ask("alice", 1, 60), None).await.unwrap().body;
    assert_eq!(lent.phase, Phase::Ready, "{}", server.log());
    assert!(has_account(&host, "alice"));
    assert_eq!(client.reservation_release(lent.id, 30).await.unwrap().body.phase, Phase::Ended);
    assert!(!has_account(&host, "alice"));
    agent.abort();
}

#[tokio::test]
async fn somebody_on_the_way_hears_no_credential() {
    const TOKEN: &str = "berth_join_secret";
    let (authority, other) = (Authority::new(), Authority::new());
    for (issued, says) in [
        (other.issue("localhost"), "--ca-file"),
        (authority.issue("berth.example.org"), "a name that its certificate has"),
        (authority.issue_until("localhost", 2020), "clock"),
        (authority.itself(), "CA:FALSE"),
    ] {
        let impostor = Impostor::start(&issued).await;
        let dials = format!("https://localhost:{}", impostor.port);
        let mut link = Link::trusting(&dials.parse().unwrap(), &pinned(&authority));
        let mut identity = Identity::new(&dials).unwrap();
        let refused = identity.enrol(&mut link, TOKEN).await.unwrap_err();
        assert!(matches!(&refused, LinkError::Untrusted(why) if why.contains(says)), "{refused}");
        assert!(refused.is_passing(), "it tries again: somebody may put it right");
        assert_eq!(impostor.connections(), 1);
        assert_eq!(impostor.requests(), "");
        for secret in [TOKEN, identity.credential(), &identity.digest()] {
            assert!(!impostor.heard(secret));
        }
        assert!(impostor.heard("http/1.1"), "what he hears is seen: it is in every first letter");
    }
}

/// The program itself, on a machine that trusts nobody, and then this CA.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_goes_by_what_its_machine_trusts() {
    let authority = Authority::new();
    let server = Process::start(&authority.issue("localhost")).await;
    let client = Client::with_ca(&server.url(), authority.pem().as_bytes()).unwrap();
    let machine: MachineCreate = serde_json::from_str(r#"{"name": "m1", "host": "127.0.0.1"}"#).unwrap();
    let token = client.machine_create(&machine, None).await.unwrap().body.join_token.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (root, log) = (folder.path().join("root"), folder.path().join("log"));
    fs::create_dir_all(root.join("etc")).unwrap();
    for file in ["passwd", "shadow", "group", "gshadow"] {
        fs::write(root.join("etc").join(file), "").unwrap();
    }
    let trusts = folder.path().join("ca.pem");
    fs::write(&trusts, "").unwrap();
    let mut agent = Command::new(agent_binary());
    agent.arg("--root").arg(&root).arg("--state").arg(folder.path().join("state"));
    agent.args(["run", "--server", &format!("https://localhost:{}", server.agents_port)]);
    agent.env("SSL_CERT_FILE", &trusts).env("SSL_CERT_DIR", folder.path()).env("BERTH_JOIN_TOKEN", token);
    let _agent = agent.stderr(fs::File::create(&log).unwrap()).kill_on_drop(true).spawn().unwrap();
    let said = |words: &str| fs::read_to_string(&log).unwrap().contains(words);
    until("it says what is missing", async || said("install its package `ca-certificates`")).await;
    assert!(!server.log().contains("enrolled"));
    authority.file(folder.path());
    until("it enrols, without a restart", async || server.log().contains("enrolled")).await;
}

#[tokio::test]
async fn nothing_is_said_in_clear_to_one_who_speaks_no_tls() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dials = format!("https://{}", listener.local_addr().unwrap());
    let answers = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; 4096];
        let length = socket.read(&mut heard).await.unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        // A handshake, of TLS.
        assert_eq!(heard[..2], [22, 3]);
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
        (length, rest)
    });
    let mut link = Link::trusting(&dials.parse().unwrap(), &pinned(&Authority::new()));
    let refused = Identity::new(&dials).unwrap().enrol(&mut link, "token").await.unwrap_err();
    assert!(refused.to_string().contains("does the server speak TLS there?"), "{refused}");
    drop(link);
    let (_, rest) = answers.await.unwrap();
    assert!(rest.len() <= 7, "no more than an alert: {rest:?}");
}

#[test]
fn a_ca_is_kept_until_another_is_given() {
    let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kept = || fs::read_to_string(agent::trust::file(state.path())).ok();
    assert!(matches!(Trust::of(state.path()).unwrap(), Trust::Machine));
    let (first, second) = (Authority::new(), Authority::new());
    for authority in [&first, &second] {
        Trust::pin(state.path(), &authority.file(folder.path())).unwrap();
        assert_eq!(kept(), Some(authority.pem()));
        assert!(matches!(Trust::of(state.path()).unwrap(), Trust::Pinned(_)));
    }
    let wrong = folder.path().join("wrong.pem");
    fs::write(&wrong, "nonsense").unwrap();
    let refused = Trust::pin(state.path(), &wrong).unwrap_err().to_string();
    assert!(refused.contains("wrong.pem: no certificate in PEM"), "{refused}");
    assert_eq!(kept(), Some(second.pem()), "what was right stays");
    Identity::new("https://localhost:1").unwrap().save(state.path()).unwrap();
    Identity::delete(state.path()).unwrap();
    assert_eq!(kept(), None, "another server may come, with another CA");
}
