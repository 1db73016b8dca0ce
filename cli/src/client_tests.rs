//! The client against a listener that answers from a script.

use crate::{Client, Error, is_private_enough};
use model::wire::{MachineCreate, ReservationCreate, ReservationPatch};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

/// Answers one connection after another; an empty answer hangs up. Gives back what it was asked.
fn scripted(answers: Vec<String>) -> (Client, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let asked = std::thread::spawn(move || answers.iter().map(|answer| serve(&listener, answer)).collect());
    (client, asked)
}

fn serve(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let asked = read_request(&mut stream);
    stream.write_all(answer.as_bytes()).unwrap();
    asked
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut asked = String::new();
    let mut chunk = [0; 4096];
    loop {
        let (head, body) = asked.split_once("\r\n\r\n").unwrap_or((&asked, ""));
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        if asked.contains("\r\n\r\n") && body.len() >= length {
            return asked;
        }
        let read = stream.read(&mut chunk).unwrap();
        asked.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
}

fn answer(status: &str, body: &str) -> String {
    let head = format!("HTTP/1.1 {status}\r\ndate: Sat, 31 Jan 2026 12:00:00 GMT\r\nconnection: close");
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn key(asked: &str) -> &str {
    asked.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).unwrap()
}

const MACHINE: &str = r#"{
    "id": "0198c0de-0000-7000-8000-000000000000", "name": "m1", "host": "h", "port": 22, "labels": {},
    "state": "free", "cordoned": false, "created_at": "2026-01-31T12:00:00Z", "generation": 1,
    "seen_generation": 1, "facts": {}
}"#;

fn machine() -> MachineCreate {
    serde_json::from_str(r#"{"name": "m1", "host": "h"}"#).unwrap()
}

#[tokio::test]
async fn a_broken_connection_is_tried_anew_with_the_same_key() {
    let (client, asked) = scripted(vec![String::new(), answer("201 Created", MACHINE)]);
    let made = client.machine_create(&machine(), None).await.unwrap();
    assert_eq!(made.machine.name.as_str(), "m1");
    assert_eq!(made.text, MACHINE);
    assert_eq!(made.served_at, "2026-01-31T12:00:00Z".parse().ok());
    let asked = asked.join().unwrap();
    assert_eq!(key(&asked[0]).len(), 36);
    assert_eq!(key(&asked[0]), key(&asked[1]));
}

#[tokio::test]
async fn a_refusal_is_not_tried_anew_and_says_what_to_do() {
    let problem = r#"{"type": "about:blank", "title": "Conflict", "status": 409, "detail": "choose another name",
                      "field": "name"}"#;
    let (client, asked) = scripted(vec![answer("409 Conflict", problem)]);
    let refused = client.machine_create(&machine(), Some("mine")).await.unwrap_err();
    assert_eq!(refused.status(), Some(409));
    assert_eq!(refused.to_string(), "`name`: choose another name (409)");
    assert_eq!(key(&asked.join().unwrap()[0]), "mine");
}

#[tokio::test]
async fn what_a_proxy_says_is_odd() {
    let (client, _asked) =
        scripted(vec![answer("502 Bad Gateway", "<html>\u{1b}[2J"), answer("200 OK", "<html>")]);
    let odd = client.health().await.unwrap_err().to_string();
    assert_eq!(odd, "status 502: <html>\\u{1b}[2J");
    assert!(matches!(client.health().await.unwrap_err(), Error::Odd(_)));
}

#[tokio::test]
async fn nobody_there() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::new(&format!("http://{port}/")).unwrap();
    let said = client.health().await.unwrap_err().to_string();
    assert!(said.starts_with(&format!("no answer from http://{port}: Connection refused")), "{said}");
    assert!(said.ends_with("start it with `just run-detached`"), "{said}");
    assert!(matches!(Client::new("nonsense"), Err(Error::Odd(_))));
    assert!(matches!(Client::new("ftp://berth.example.org"), Err(Error::Odd(_))));
}

#[test]
fn a_ca_is_a_certificate_and_for_https() {
    let refused = |url: &str, ca: &str| Client::with_ca(url, ca.as_bytes()).unwrap_err().to_string();
    assert!(refused("https://berth.example.org", "nonsense").contains("no certificate in PEM"));
    assert!(refused("http://127.0.0.1:1", "").contains("only `https://` servers"));
}

#[tokio::test]
async fn what_is_secret_goes_where_nobody_reads_along() {
    let private = |url: &str| is_private_enough(&url.parse().unwrap());
    for good in ["https://berth.example.org", "http://127.0.0.9:80", "http://[::1]:80", "http://localhost"] {
        assert!(private(good), "{good}");
    }
    for bad in [
        "http://berth.example.org",
        "http://10.0.0.1:80",
        "http://localhost.example.org",
        "http://[2001:db8::1]",
    ] {
        assert!(!private(bad), "{bad}");
    }
    // A documentation address: nobody is there, and nobody is asked.
    let client = Client::new("http://192.0.2.1:80").unwrap();
    let ask = ReservationCreate { password: Some("secret".to_owned()), ..ReservationCreate::default() };
    let refused = client.reservation_create(&ask, None).await.unwrap_err();
    assert!(refused.to_string().contains("use `https://`"), "{refused}");
    let with_login = r#"{"name": "m1", "host": "h", "ssh": {"password": "secret"}}"#;
    let refused = client.machine_create(&serde_json::from_str(with_login).unwrap(), None).await.unwrap_err();
    assert!(refused.to_string().contains("use `https://`"), "{refused}");
}

#[tokio::test]
async fn an_extension_waits_for_the_machines() {
    let (client, asked) = scripted(vec![answer("404 Not Found", "{}")]);
    let id = "0198c0de-0000-7000-8000-000000000000";
    let patch = ReservationPatch { until: Some("2026-02-01T00:00:00Z".to_owned()), ..Default::default() };
    assert!(client.reservation_extend(id.parse().unwrap(), &patch, 60).await.is_err());
    let asked = asked.join().unwrap().remove(0);
    assert!(asked.starts_with(&format!("PATCH /v1/reservations/{id}?wait=60 HTTP/1.1")), "{asked}");
    assert!(asked.ends_with(r#"{"until":"2026-02-01T00:00:00Z"}"#), "{asked}");
}
