//! People's side: curl, the typed client and the command line against a real server.

use super::authority::Authority;
use super::impostor::Impostor;
use super::process::Process;
use cli::Client;
use std::process::Command;
use tests::ask;
use tests::real::binary;

#[tokio::test(flavor = "multi_thread")]
async fn people_and_their_programs_come_over_tls() {
    let authority = Authority::new();
    let mut server = Process::start(&authority.issue("localhost")).await;
    let ca = authority.file(server.folder.path());
    for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1"), ("--tlsv1.3", "2")] {
        let output = server.curl(&ca, &["--fail", "--output", "/dev/null", "-w", "%{http_version}", flag]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), version, "{output:?} {}", server.log());
    }
    assert!(server.curl(&ca, &["--tls-max", "1.2", "--fail"]).status.success());
    assert!(!server.curl(&ca, &["--tls-max", "1.1", "--fail"]).status.success());
    let plain =
        Command::new("curl").args(["-s", &format!("http://localhost:{}/", server.port)]).output().unwrap();
    assert!(!plain.status.success() && !String::from_utf8_lossy(&plain.stdout).contains("HTTP"), "{plain:?}");
    let berth = |arguments: &[&str], ca_of_environment: &str| {
        let mut berth = Command::new(binary("debug", "berth"));
        berth.env("BERTH_CA_FILE", ca_of_environment).env("BERTH_SERVER", server.url());
        berth.args(arguments).output().unwrap()
    };
    let ca = ca.to_str().unwrap();
    assert!(berth(&["status"], ca).status.success());
    assert!(berth(&["status", "--ca-file", ca], "/nowhere").status.success());
    let missing = String::from_utf8(berth(&["status"], "/nowhere").stderr).unwrap();
    assert!(missing.contains("cannot read the CA `/nowhere`"), "{missing}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_the_server_is_asked_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (issued, says) in [
        (other.issue("localhost"), "--ca-file"),
        (authority.issue("berth.example.org"), "a name of the server that its certificate has"),
        (authority.issue_until("localhost", 2020), "clock"),
        (authority.itself(), "CA:FALSE"),
    ] {
        let impostor = Impostor::start(&issued).await;
        let client =
            Client::with_ca(&format!("https://localhost:{}", impostor.port), authority.pem().as_bytes());
        let refused = client.unwrap().reservation_create(&ask("alice", 1, 60), None).await.unwrap_err();
        assert!(refused.to_string().contains(says), "{refused}");
        assert!(impostor.connections() > 0);
        assert_eq!(impostor.requests(), "");
    }
    let trusted = Impostor::start(&authority.issue("localhost")).await;
    let client = Client::with_ca(&format!("https://localhost:{}", trusted.port), authority.pem().as_bytes());
    let asking = tokio::spawn(async move { client.unwrap().health().await });
    tests::real::until("he hears those who trust him", async || trusted.requests().contains("/healthz"))
        .await;
    asking.abort();
    let client = Client::new(&format!("https://localhost:{}", trusted.port)).unwrap();
    let refused = client.version().await.unwrap_err().to_string();
    assert!(refused.contains("--ca-file"), "this computer trusts others: {refused}");
    assert!(!trusted.requests().contains("/v1/version"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_without_a_restart() {
    let (first, second) = (Authority::new(), Authority::new());
    let server = Process::start(&first.issue("localhost")).await;
    let folder = tempfile::tempdir().unwrap();
    let trusting =
        |authority: &Authority| Client::with_ca(&server.url(), authority.pem().as_bytes()).unwrap();
    // Kept open over the change.
    let old = trusting(&first);
    old.version().await.unwrap();
    server.renew(&second.issue("localhost"), "new connections get the certificate").await;
    trusting(&second).version().await.unwrap();
    assert!(trusting(&first).version().await.is_err());
    old.version().await.unwrap();
    let shown = server.shown();
    let mut wrong = second.issue("localhost");
    wrong.key = first.issue("localhost").key;
    server.renew(&wrong, "the certificate stays the one it was").await;
    assert!(server.log().contains("is not that of the certificate"), "{}", server.log());
    trusting(&second).version().await.unwrap();
    assert_eq!(certificate(&server.shown()), certificate(&shown));
    server.renew(&second.issue_until("localhost", 2020), "has expired").await;
    let ca = second.file(folder.path());
    assert!(!server.curl(&ca, &["--fail"]).status.success());
}

fn certificate(shown: &str) -> &str {
    let (_, rest) = shown.split_once("-----BEGIN CERTIFICATE-----").unwrap();
    rest.split_once("-----END").unwrap().0
}

#[test]
fn a_server_that_nobody_could_trust_does_not_start() {
    let authority = Authority::new();
    let issued = authority.issue("localhost");
    let other = authority.issue("localhost").key;
    for (certificate, key, says) in [
        ("", issued.key.as_str(), "`certificate.pem` holds no certificate"),
        (issued.certificate.as_str(), "", "`key.pem` holds no private key"),
        (
            &issued.certificate,
            &other,
            "the key in `key.pem` is not that of the certificate in `certificate.pem`",
        ),
    ] {
        let said = Process::refused(certificate, key);
        assert!(said.contains(says), "{said}");
        assert!(issued.key.lines().all(|line| line.contains("KEY") || !said.contains(line)), "{said}");
    }
}
