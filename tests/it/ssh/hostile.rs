//! Whoever is on the way, or is the machine, may stop, cut, lie or talk without end: a visit ends within its times, with
//! nothing lost and no secret told.

mod liar;

use super::between::{Between, Fault, Side, Then};
use super::{patient, ssh_with, ssh_within};
use futures_util::StreamExt;
use liar::Liar;
use server::reach::VisitError;
use server::reach::ssh::{Auth, Login, Target, Timeouts};
use std::time::Duration;
use tests::sshd::{PASSWORD, Sshd, key_pair, pinned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Long enough for what goes well, on a busy machine.
const SHORT: Duration = Duration::from_secs(4);
const AT_ONCE: usize = 8;
const GIGABYTE: u64 = 1 << 30;

fn short() -> Timeouts {
    Timeouts { connect: SHORT, handshake: SHORT, log_in: SHORT, upload: SHORT, visit: SHORT, ..patient() }
}

/// From the first byte of the greeting to the last one of the answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_visit_may_be_cut_or_frozen_at_any_byte() {
    let sshd = Sshd::debian("");
    let ssh = ssh_with(&[&sshd.container], "cat", short());
    let unhurried = ssh_with(&[&sshd.container], "cat", patient());
    let between = Between::passing(sshd.port).await;
    unhurried.visit(&through(&between, &sshd), "once", || b"whole".into()).await.unwrap();
    let (from_machine, from_us) = between.seen();
    let mut faults = Vec::new();
    for then in [Then::Silent, Then::Closed] {
        for (side, all) in [(Side::Machine, from_machine), (Side::Us, from_us)] {
            // The last one is the answer's, or the end of the input.
            faults.extend((0..24).map(|step| Fault { from: side, after: all * step / 24, then }));
        }
    }
    let visits = futures_util::stream::iter(faults).map(async |fault| {
        let between = Between::start(sshd.port, Some(fault)).await;
        (fault, ssh.visit(&through(&between, &sshd), "once", || b"whole".into()).await)
    });
    let visits: Vec<_> = visits.buffer_unordered(AT_ONCE).collect().await;
    for (fault, visit) in &visits {
        match visit {
            Ok(answer) => assert_eq!(answer, b"whole", "{fault:?}"),
            Err(VisitError::TimedOut { .. } | VisitError::Broken { .. }) => {}
            Err(error) => panic!("{fault:?}: {error}"),
        }
    }
    let phases: Vec<String> =
        visits.iter().filter_map(|(_, visit)| visit.as_ref().err()).map(phase).collect();
    for phase in ["Handshake", "LogIn", "Visit"] {
        assert!(phases.iter().any(|of| of == phase), "nothing failed in {phase}: {phases:?}");
    }
    assert!(phases.len() > visits.len() / 2, "most cuts are felt: {phases:?}");
    assert_eq!(unhurried.visit(&sshd.target(), "once", || b"whole".into()).await.unwrap(), b"whole");
}

fn phase(error: &VisitError) -> String {
    match error {
        VisitError::TimedOut { phase } | VisitError::Broken { phase, .. } => format!("{phase:?}"),
        other => panic!("{other}"),
    }
}

fn through(between: &Between, sshd: &Sshd) -> Target {
    Target { port: between.port, ..sshd.target() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_cut_or_frozen_leaves_nothing_to_run() {
    let sshd = Sshd::debian("");
    let size = std::fs::metadata(tests::real::agent_binary()).unwrap().len();
    for then in [Then::Closed, Then::Silent] {
        for part in [1, 5, 9] {
            let fault = Fault { from: Side::Us, after: size * part / 10, then };
            let between = Between::start(sshd.port, Some(fault)).await;
            let error = ssh_within(short())
                .visit(&through(&between, &sshd), "once", || b"".into())
                .await
                .unwrap_err();
            assert!(matches!(error, VisitError::TimedOut { .. } | VisitError::Broken { .. }), "{error}");
            let agents = sshd.agents();
            let whole = |line: &str| line.rsplit('-').next().is_some_and(|name| name.len() == 16);
            assert!(!agents.lines().any(whole), "{agents}");
        }
    }
    assert!(super::is_report(&super::ssh().visit(&sshd.target(), "once", || b"".into()).await.unwrap()));
    assert_eq!(sshd.agents().lines().count(), 1, "what was cut short is gone: {}", sshd.agents());
}

/// Talks for as long as anybody listens. Returns its port, and how much it could say.
async fn talker(begin: &'static [u8], again: Vec<u8>) -> (u16, tokio::task::JoinHandle<u64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let said = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(begin).await.unwrap();
        let mut said = 0;
        while said < GIGABYTE && stream.write_all(&again).await.is_ok() {
            said += again.len() as u64;
        }
        said
    });
    (port, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_before_the_log_in_is_not_listened_to() {
    let sshd = Sshd::debian("");
    let ssh = ssh_within(short());
    // Type 2 is to be ignored, whatever is in it.
    let mut packet = vec![0, 0, 0x7f, 0xfc, 4, 2];
    packet.resize(0x8000, 0);
    for (begin, again) in [
        (b"".as_slice(), b"welcome to this machine\r\n".repeat(1000)),
        (b"", vec![b'x'; 1 << 15]),
        (b"SSH-2.0-x\r\n", vec![b'x'; 1 << 15]),
        (b"SSH-2.0-x\r\n", packet),
    ] {
        let (port, said) = talker(begin, again).await;
        let error = ssh.visit(&Target { port, ..sshd.target() }, "once", || b"".into()).await.unwrap_err();
        assert!(
            matches!(
                error,
                VisitError::Broken { .. } | VisitError::NoHandshake { .. } | VisitError::TimedOut { .. }
            ),
            "{error}"
        );
        // What fits into the sockets on the way.
        let said = said.await.unwrap();
        assert!(said < 32 << 20, "it said {said} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_host_key_ends_it_before_anything_secret_is_sent() {
    let sshd = Sshd::debian("");
    let liar = Liar::start().await;
    let between = Between::passing(liar.port).await;
    for login in [sshd.by_password("root"), sshd.by_key("root")] {
        let target = Target { port: between.port, ..sshd.target_by(login) };
        let error = ssh_within(short()).visit(&target, "once", || b"the spec".into()).await.unwrap_err();
        assert!(error.is_host_key(), "{error}");
        let VisitError::HostKeyChanged { pinned, seen } = &error else { panic!("{error}") };
        assert_eq!((pinned, seen), (&sshd.host_key(), &liar.host_key));
        assert!(error.to_string().contains(&liar.host_key.fingerprint()), "{error}");
    }
    assert_eq!(liar.heard(), Vec::<String>::new());
    // Whoever confirms that key is asked in vain: the liar does listen.
    let target = Target { port: liar.port, ..pinned(sshd.target(), liar.host_key.clone()) };
    let target = Target { login: sshd.by_password("root"), ..target };
    let error = ssh_within(short()).visit(&target, "once", || b"the spec".into()).await.unwrap_err();
    assert!(matches!(error, VisitError::LogInRefused { .. }), "{error}");
    // It then offers to ask, but asks nothing.
    assert_eq!(liar.heard(), [format!("password {PASSWORD}"), "prompt".to_owned()]);
}

/// A scan asks for the key and goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_tells_nothing() {
    let liar = Liar::start().await;
    let seen = ssh_within(short()).scan("127.0.0.1", liar.port, None).await.unwrap();
    assert_eq!(seen, liar.host_key);
    assert_eq!(liar.heard(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_an_end() {
    let sshd = Sshd::debian("");
    let ssh = ssh_with(&[&sshd.container], "cat /dev/zero", patient());
    let error = ssh.visit(&sshd.target(), "once", || b"".into()).await.unwrap_err();
    assert!(matches!(error, VisitError::AnswerTooLong), "{error}");
    let much = "head -c 100000000 /dev/zero >&2; echo the end >&2; cat; exit 4";
    let ssh = ssh_with(&[&sshd.container], much, patient());
    let error = ssh.visit(&sshd.target(), "once", || b"".into()).await.unwrap_err();
    let VisitError::AgentFailed { code: Some(4), said } = &error else { panic!("{error}") };
    assert!(said.ends_with("the end") && said.len() <= 1024, "{said}");
}

/// One that is not SSH at all.
#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_is_named_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 64]).await;
        let _ = stream.write_all(&b"HTTP/1.1 400 Bad Request\r\n".repeat(40)).await;
        // Until we hang up.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let error = ssh_within(short()).scan("127.0.0.1", port, None).await.unwrap_err();
    assert!(matches!(error, VisitError::NoHandshake { .. }), "{error}");
}

/// Somebody who has the right address and the right key, but says yes to nobody, is no reason to try again.
#[tokio::test(flavor = "multi_thread")]
async fn each_proof_is_shown_once() {
    let liar = Liar::start().await;
    let (key, _) = key_pair("ed25519", "");
    let key = server::reach::ssh::read_key(&key, None).unwrap();
    let sshd = Login { user: "root".into(), auth: Auth::Key(key), sudo_password: None };
    let target = Target {
        machine: tests::sshd::machine(),
        host: "127.0.0.1".into(),
        port: liar.port,
        login: sshd,
        host_key: liar.host_key.clone(),
        jump: None,
    };
    let error = ssh_within(short()).visit(&target, "once", || b"".into()).await.unwrap_err();
    assert!(matches!(error, VisitError::LogInRefused { .. }), "{error}");
    assert_eq!(liar.heard(), ["key"]);
}
