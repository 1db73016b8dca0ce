//! An SSH server with a key of its own that lets nobody in and remembers what it was told.

use russh::keys::{Algorithm, PrivateKey, key::safe_rng};
use russh::server::{self, Auth, Config, Handler, VerifiedPublicKey};
use server_reach::HostKey;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

/// The crate, whose name russh has for a module.
use ::server::reach::ssh as server_reach;

pub(super) struct Liar {
    pub(super) port: u16,
    pub(super) host_key: HostKey,
    heard: Heard,
}

type Heard = Arc<Mutex<Vec<String>>>;

impl Liar {
    pub(super) async fn start() -> Self {
        let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
        let host_key = HostKey::from(key.public_key().clone());
        let no_pause = Duration::ZERO;
        let config = Config { keys: vec![key], auth_rejection_time: no_pause, ..Config::default() };
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Heard::default();
        let ears = heard.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let session = server::run_stream(config.clone(), stream, Ear(ears.clone()));
                tokio::spawn(async move {
                    if let Ok(session) = session.await {
                        let _ = session.await;
                    }
                });
            }
        });
        Self { port, host_key, heard }
    }

    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

struct Ear(Heard);

impl Ear {
    fn note(&self, what: String) -> Result<Auth, russh::Error> {
        self.0.lock().unwrap().push(what);
        Ok(Auth::reject())
    }
}

impl Handler for Ear {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, russh::Error> {
        self.note("none".to_owned())
    }

    async fn auth_password(&mut self, _: &str, password: &str) -> Result<Auth, russh::Error> {
        self.note(format!("password {password}"))
    }

    async fn auth_publickey(&mut self, _: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        self.note("key".to_owned())
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        _: Option<server::Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        self.note("prompt".to_owned())
    }
}
