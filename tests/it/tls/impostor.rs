//! Somebody on the way, who speaks TLS with a certificate of his own choice and writes down what he hears.

use super::authority::Issued;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub(super) struct Impostor {
    pub(super) port: u16,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    connections: usize,
    /// As it came.
    raw: Vec<u8>,
    /// As it was meant.
    plain: Vec<u8>,
}

impl Impostor {
    pub(super) async fn start(issued: &Issued) -> Self {
        let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, heard) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Heard>>::default());
        tokio::spawn(listen(listener, Arc::new(config).into(), heard.clone()));
        Self { port, heard }
    }

    pub(super) fn connections(&self) -> usize {
        self.heard.lock().unwrap().connections
    }

    /// All that was said to him, if he had been trusted.
    pub(super) fn requests(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap().plain).into_owned()
    }

    pub(super) fn heard(&self, text: &str) -> bool {
        self.heard.lock().unwrap().raw.windows(text.len()).any(|part| part == text.as_bytes())
    }
}

async fn listen(listener: TcpListener, tls: TlsAcceptor, heard: Arc<Mutex<Heard>>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(tap(socket, ours, heard.clone()));
        let (tls, heard) = (tls.clone(), heard.clone());
        tokio::spawn(async move {
            heard.lock().unwrap().connections += 1;
            let Ok(mut stream) = tls.accept(theirs).await else { return };
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                heard.lock().unwrap().plain.extend_from_slice(&bytes[..length]);
            }
        });
    }
}

/// Passes on what goes either way, and keeps what goes in.
async fn tap(socket: TcpStream, inner: tokio::io::DuplexStream, heard: Arc<Mutex<Heard>>) {
    let (mut from, mut back) = socket.into_split();
    let (mut answers, mut to) = tokio::io::split(inner);
    let inward = async {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            heard.lock().unwrap().raw.extend_from_slice(&bytes[..length]);
            if to.write_all(&bytes[..length]).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    };
    let outward = async {
        let _ = tokio::io::copy(&mut answers, &mut back).await;
    };
    tokio::join!(inward, outward);
}
