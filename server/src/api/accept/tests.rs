//! Clients of every kind, over real sockets.

use super::*;
use crate::api::peer::peer;
use crate::tls::{Files, Tls};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use warp::{Filter, Reply};

const LIMITS: Limits = Limits { connections: 8, ..Limits::API };
/// More bytes than one piece of an answer.
const LARGE: usize = 100_000;
/// As long as a test may wait for what never comes.
const SHORT: Duration = Duration::from_millis(300);

struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    /// Hears of every handler that begins; closed when no handler is left that could tell.
    began: mpsc::Receiver<mpsc::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Server {
    /// Says at `/peer` who asks. Its other handlers answer when the sender that each hands out is dropped.
    async fn start(door: impl FnOnce(TcpListener) -> Listener, limits: Limits, drain: Duration) -> Self {
        let (tell, began) = mpsc::channel(8);
        let silent = warp::any()
            .and_then(move || {
                let tell = tell.clone();
                async move {
                    let (alive, mut asked) = mpsc::channel(1);
                    tell.send(alive).await.unwrap();
                    // Closed for the test as soon as this future is dropped.
                    while asked.recv().await.is_some() {}
                    Err::<warp::reply::Response, _>(warp::reject())
                }
            })
            .map(Reply::into_response);
        let says = warp::path("peer").and(peer()).map(|peer: Peer| peer.to_string().into_response());
        let host = warp::path("host").and(warp::header("host")).map(|host: String| host.into_response());
        let large = warp::path("large").map(|| "x".repeat(LARGE).into_response());
        let routes = says.or(host).unify().or(large).unify().or(silent).unify().boxed();
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = ([127, 0, 0, 1], listener.local_addr().unwrap().port()).into();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve(door(listener), routes, limits, stopped, drain));
        Self { address, stop, began, serving }
    }

    async fn silent(limits: Limits) -> Self {
        Self::start(Listener::Tcp, limits, Duration::ZERO).await
    }

    async fn ask(&self) -> TcpStream {
        self.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await
    }

    async fn send(&self, text: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(text.as_bytes()).await.unwrap();
        socket
    }
}

/// Over TLS, and a client that trusts it and speaks this protocol.
async fn with_tls(limits: Limits, protocol: &[u8]) -> (Server, Client) {
    with_tls_and_drain(limits, protocol, Duration::ZERO).await
}

async fn with_tls_and_drain(limits: Limits, protocol: &[u8], drain: Duration) -> (Server, Client) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = Files { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let tls = Arc::new(Tls::load(files).unwrap());
    let server = Server::start(|listener| Listener::Tls(listener, tls), limits, drain).await;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let client = Client { address: server.address, connector: Arc::new(config).into() };
    (server, client)
}

struct Client {
    address: SocketAddr,
    connector: TlsConnector,
}

impl Client {
    async fn connect(&self) -> TlsStream<TcpStream> {
        let socket = TcpStream::connect(self.address).await.unwrap();
        self.connector.connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap()
    }

    /// And a future that ends with the connection.
    async fn http2(&self) -> (http2::SendRequest<Empty<&'static [u8]>>, JoinHandle<()>) {
        let socket = TokioIo::new(self.connect().await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), socket).await.unwrap();
        (sender, tokio::spawn(async move { drop(connection.await) }))
    }
}

fn get(path: &str) -> Request<Empty<&'static [u8]>> {
    Request::get(format!("https://localhost{path}")).body(Empty::new()).unwrap()
}

/// All that is heard before the server closes the connection, in whatever way.
async fn rest(mut socket: impl AsyncReadExt + Unpin) -> Vec<u8> {
    let mut heard = Vec::new();
    let _ = socket.read_to_end(&mut heard).await;
    heard
}

#[tokio::test]
async fn who_hangs_up_takes_the_handler_along() {
    let mut server = Server::silent(LIMITS).await;
    let client = server.ask().await;
    let handler = server.began.recv().await.unwrap();
    drop(client);
    handler.closed().await;
}

#[tokio::test]
async fn nothing_outlives_the_drain_time() {
    let mut server = Server::silent(LIMITS).await;
    let mut client = server.ask().await;
    let handler = server.began.recv().await.unwrap();
    server.stop.send(true).unwrap();
    server.serving.await.unwrap();
    assert!(handler.is_closed());
    assert_eq!(client.read(&mut [0; 16]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn beyond_the_limit_one_waits_for_a_seat() {
    let mut server = Server::silent(Limits { connections: 1, ..LIMITS }).await;
    let first = server.ask().await;
    let handler = server.began.recv().await.unwrap();
    let _second = server.ask().await;
    drop(first);
    handler.closed().await;
    assert!(server.began.recv().await.is_some());
}

#[tokio::test]
async fn one_client_has_so_many_connections_and_this_computer_has_no_limit() {
    let mut server = Server::silent(Limits { per_client: 1, ..LIMITS }).await;
    let (_first, _second) = (server.ask().await, server.ask().await);
    let (first, _) = (server.began.recv().await.unwrap(), server.began.recv().await.unwrap());
    server.address.set_ip(own_address());
    let client = server.ask().await;
    let handler = server.began.recv().await.unwrap();
    assert!(rest(server.ask().await).await.is_empty(), "its second connection is closed at once");
    assert!(!first.is_closed() && !handler.is_closed());
    drop(client);
    handler.closed().await;
    loop {
        // The first one is not forgotten before its connection has ended.
        let _again = server.ask().await;
        if tokio::time::timeout(SHORT, server.began.recv()).await.is_ok() {
            break;
        }
    }
}

/// One of this computer's that is not loopback; nothing is sent to find out.
fn own_address() -> IpAddr {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("this computer has a network");
    socket.local_addr().unwrap().ip()
}

#[tokio::test]
async fn who_is_slow_with_his_headers_is_cut() {
    let mut server = Server::silent(Limits { headers: SHORT, ..LIMITS }).await;
    for begun in ["", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: 1\r\n"] {
        let client = server.send(begun).await;
        assert!(rest(client).await.is_empty(), "{begun:?}");
    }
    let patient = server.ask().await;
    let handler = server.began.recv().await.unwrap();
    assert!(tokio::time::timeout(SHORT * 2, handler.closed()).await.is_err(), "who has asked may wait");
    drop(patient);
}

#[tokio::test]
async fn headers_have_a_size_and_a_number() {
    let server = Server::silent(LIMITS).await;
    let many: String = (0..101).map(|number| format!("x-{number}: 1\r\n")).collect();
    for headers in [format!("x-long: {}\r\n", "x".repeat(40_000)), many] {
        let client = server.send(&format!("GET / HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")).await;
        let heard = rest(client).await;
        assert!(heard.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&heard));
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_come_about_is_cut_and_keeps_nobody_waiting() {
    let (_server, client) = with_tls(LIMITS, b"http/1.1").await;
    let _silent = TcpStream::connect(client.address).await.unwrap();
    let mut confused = TcpStream::connect(client.address).await.unwrap();
    confused.write_all(b"GET /peer HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(client.connect().await)).await.unwrap();
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(get("/peer")).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_11));
    let heard = rest(confused).await;
    assert!(heard.len() <= 7 && !heard.contains(&b'H'), "no more than an alert of TLS: {heard:?}");
    driver.abort();
    let (server, _) = with_tls(Limits { headers: SHORT, ..LIMITS }, b"http/1.1").await;
    assert!(rest(server.send("").await).await.is_empty());
}

#[tokio::test]
async fn a_handshake_takes_a_seat() {
    let (mut server, client) = with_tls(Limits { connections: 1, ..LIMITS }, b"h2").await;
    let silent = TcpStream::connect(client.address).await.unwrap();
    let mut second = std::pin::pin!(client.http2());
    assert!(tokio::time::timeout(SHORT, &mut second).await.is_err());
    drop(silent);
    let (mut sender, _) = second.await;
    let asked = tokio::spawn(async move { sender.send_request(get("/")).await });
    assert!(server.began.recv().await.is_some());
    asked.abort();
}

#[tokio::test]
async fn http2_hears_who_asks_and_takes_the_handler_along() {
    let (mut server, client) = with_tls(LIMITS, b"h2").await;
    let (mut sender, _driver) = client.http2().await;
    let answer = sender.send_request(get("/peer")).await.unwrap();
    assert_eq!(answer.version(), Version::HTTP_2);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "127.0.0.1");
    let asked = tokio::spawn(sender.send_request(get("/")));
    let handler = server.began.recv().await.unwrap();
    asked.abort();
    handler.closed().await;
}

#[tokio::test]
async fn nothing_of_http2_outlives_the_drain_time() {
    let (mut server, client) = with_tls(LIMITS, b"h2").await;
    let (mut sender, driver) = client.http2().await;
    let asked = tokio::spawn(sender.send_request(get("/")));
    let handler = server.began.recv().await.unwrap();
    server.stop.send(true).unwrap();
    server.serving.await.unwrap();
    assert!(handler.is_closed());
    assert!(asked.await.unwrap().is_err());
    driver.await.unwrap();
}

#[tokio::test]
async fn what_is_at_work_is_answered_within_the_drain_time() {
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let (mut server, client) = with_tls_and_drain(LIMITS, protocol, Duration::from_secs(60)).await;
        let socket = TokioIo::new(client.connect().await);
        let answer = if protocol == b"h2" {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), socket).await.unwrap();
            tokio::spawn(connection);
            tokio::spawn(sender.send_request(get("/")))
        } else {
            let (mut sender, connection) = http1::handshake(socket).await.unwrap();
            tokio::spawn(connection);
            tokio::spawn(sender.send_request(get("/")))
        };
        let handler = server.began.recv().await.unwrap();
        server.stop.send(true).unwrap();
        drop(handler);
        assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::NOT_FOUND);
        server.serving.await.unwrap();
    }
}

#[tokio::test]
async fn an_idle_connection_of_http2_is_closed_but_not_one_at_work() {
    let (mut server, client) = with_tls(Limits { idle: SHORT, ..LIMITS }, b"h2").await;
    let (mut sender, driver) = client.http2().await;
    let asked = tokio::spawn(sender.send_request(get("/")));
    let handler = server.began.recv().await.unwrap();
    assert!(tokio::time::timeout(SHORT * 2, handler.closed()).await.is_err());
    asked.abort();
    driver.await.unwrap();
}

#[tokio::test]
async fn who_speaks_http2_and_then_nothing_is_cut() {
    let (_server, client) = with_tls(Limits { idle: SHORT, ..LIMITS }, b"h2").await;
    rest(client.connect().await).await;
}

#[tokio::test]
async fn an_answer_of_http2_that_nobody_takes_is_given_up() {
    for (window, path, taken) in
        [(0, "/peer", None), (1_000, "/large", None), (1_000_000, "/large", Some(LARGE))]
    {
        let (_server, client) = with_tls(Limits { stall: SHORT, ..LIMITS }, b"h2").await;
        let socket = TokioIo::new(client.connect().await);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) =
            builder.initial_stream_window_size(window).handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let mut answer = sender.send_request(get(path)).await.unwrap().into_body();
        if window == 1_000 {
            // Whoever reads makes room for more.
            tokio::time::sleep(SHORT * 3).await;
        }
        let mut length = Some(0);
        while let (Some(so_far), Some(frame)) = (length, answer.frame().await) {
            length = frame.ok().map(|frame| so_far + frame.data_ref().map_or(0, |data| data.len()));
        }
        assert_eq!(length, taken, "{path} with {window}");
    }
}

/// What keeps pages of elsewhere out compares names of hosts.
#[tokio::test]
async fn http2_says_for_which_host_it_asks() {
    let (_server, client) = with_tls(LIMITS, b"h2").await;
    let (mut sender, _driver) = client.http2().await;
    let answer = sender.send_request(get("/host")).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "localhost");
}

#[tokio::test]
async fn a_proxy_says_for_whom_it_asks_and_nobody_else_may() {
    let ask = "GET /peer HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-forwarded-for: 10.0.0.1, 192.0.2.1\r\n\r\n";
    for (door, asks) in
        [(Listener::Proxied as fn(TcpListener) -> Listener, "192.0.2.1"), (Listener::Tcp, "127.0.0.1")]
    {
        let server = Server::start(door, LIMITS, Duration::ZERO).await;
        let heard = rest(server.send(ask).await).await;
        assert!(heard.ends_with(format!("\r\n\r\n{asks}").as_bytes()), "{}", String::from_utf8_lossy(&heard));
    }
}
