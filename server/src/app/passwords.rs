//! Passwords of accounts: bcrypt, a few at a time, never on the threads that serve requests.

use super::{App, Refusal};
use crate::store::{Known, OF_DIGEST, Right};
use jiff::SignedDuration;
use model::auth::{Account, Sha1Digest};
use model::ssh::Secret;
use model::{Invalid, Timestamp};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::Semaphore;

/// bcrypt reads no further: of its 72 bytes the last is the end.
const LONGEST: usize = 71;
pub(super) const SHORTEST: usize = 10;
/// So many log-ins wait for a free core; others are told to come again.
const MOST_WAITING: usize = 64;
/// What was right a moment ago needs no hashing: clients that know no tokens send the password each time.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(1);
const MOST_REMEMBERED: usize = 10_000;

pub(super) struct Passwords {
    cost: u32,
    cores: Arc<Semaphore>,
    waiting: Semaphore,
    /// For those that do not exist: they take as long to refuse.
    of_nobody: Arc<OnceLock<String>>,
    /// Until when what was verified holds, by a digest of password and hash under a key of this process.
    verified: Mutex<HashMap<[u8; 32], Timestamp>>,
    key: [u8; 32],
}

impl Passwords {
    pub(super) fn new(cost: u32) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2).max(1);
        Self {
            cost,
            cores: Arc::new(Semaphore::new(cores)),
            waiting: Semaphore::new(MOST_WAITING),
            of_nobody: Arc::default(),
            verified: Mutex::default(),
            key: crate::secret::random(),
        }
    }

    /// So that the first log-in of nobody takes no longer than the next.
    pub(super) async fn prepare(&self) {
        let _ = self.is_right(Secret::from(String::new()), None).await;
    }

    /// What is stored of a new password of at least so many bytes.
    pub(super) async fn hash(&self, password: &Secret, shortest: usize) -> Result<String, Refusal> {
        let text = password.expose();
        if text.len() < shortest {
            return Err(Invalid::new("password", format!("must be at least {shortest} bytes")).into());
        }
        if text.len() > LONGEST || text.contains(char::is_control) {
            let why = format!(
                "must be at most {LONGEST} bytes, which is all that bcrypt reads, and no control characters"
            );
            return Err(Invalid::new("password", why).into());
        }
        let (password, cost) = (password.clone(), self.cost);
        self.work(move || bcrypt::non_truncating_hash(password.expose(), cost)).await
    }

    /// What is stored of a new password of which nothing but this is told.
    pub(super) async fn hash_digest(&self, digest: Sha1Digest) -> Result<String, Refusal> {
        let cost = self.cost;
        let hash = self.work(move || bcrypt::non_truncating_hash(digest.expose(), cost)).await?;
        Ok(format!("{OF_DIGEST}{hash}"))
    }

    /// Whether this is the password of that hash; without one it takes as long to say no.
    async fn is_right(&self, password: Secret, hash: Option<String>) -> Result<bool, Refusal> {
        let (of_nobody, cost) = (self.of_nobody.clone(), self.cost);
        self.work(move || {
            let known = hash.is_some();
            let hash = match hash {
                Some(hash) => hash,
                None => match of_nobody.get() {
                    Some(hash) => hash.clone(),
                    None => of_nobody.get_or_init(|| bcrypt::hash("", cost).unwrap_or_default()).clone(),
                },
            };
            let digest;
            let (hash, shown) = match hash.strip_prefix(OF_DIGEST) {
                Some(hash) => {
                    digest = sha1(&password);
                    (hash, digest.expose())
                }
                None => (hash.as_str(), password.expose()),
            };
            // What is too long for bcrypt is nobody's password, and takes as long to refuse.
            let fits = shown.len() <= LONGEST;
            let is_it = bcrypt::non_truncating_verify(if fits { shown } else { "" }, hash);
            Ok(is_it.unwrap_or(false) && known && fits)
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> bcrypt::BcryptResult<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let busy = || Refusal::TooMany {
            why: "too many people are logging in at this moment".to_owned(),
            wait: SignedDuration::from_secs(1),
        };
        let _place = self.waiting.try_acquire().map_err(|_| busy())?;
        let core = self.cores.clone().acquire_owned().await.map_err(|_| busy())?;
        let done = tokio::task::spawn_blocking(move || {
            // Held until the work is done, though nobody waits for it any longer.
            let _core = core;
            work()
        });
        let failed = |why: String| Refusal::Internal(format!("bcrypt: {why}"));
        done.await.map_err(|why| failed(why.to_string()))?.map_err(|why| failed(why.to_string()))
    }

    fn remembers(&self, password: &Secret, hash: &str, now: Timestamp) -> bool {
        let digest = self.digest(password, hash);
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.get(&digest).is_some_and(|until| now < *until)
    }

    fn remember(&self, password: &Secret, hash: &str, now: Timestamp) {
        let digest = self.digest(password, hash);
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= MOST_REMEMBERED {
            verified.retain(|_, until| now < *until);
        }
        verified.insert(digest, now + REMEMBERED);
    }

    fn digest(&self, password: &Secret, hash: &str) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.key);
        digest.update(hash);
        digest.update(password.expose());
        digest.finalize().into()
    }
}

impl App {
    /// The account of this name or e-mail, if that is its password. Says nothing of which was wrong.
    pub(super) async fn verified(
        &self,
        called: &str,
        password: Secret,
        network: Option<&str>,
        may_remember: bool,
    ) -> Result<(Account, Right), Refusal> {
        // Nobody is called so, and PostgreSQL takes no text with it.
        let can_be = !called.contains('\0');
        let found = if can_be { self.hub().store.account_known_as(called).await? } else { None };
        self.verified_as(found, called, password, network, may_remember).await
    }

    /// The same of an account that was found some other way; `called` is what they say to be.
    pub(super) async fn verified_as(
        &self,
        found: Option<Known>,
        called: &str,
        password: Secret,
        network: Option<&str>,
        may_remember: bool,
    ) -> Result<(Account, Right), Refusal> {
        let (gate, now) = (self.gate(), self.hub().clock.now());
        let hash = found.as_ref().and_then(|known| known.password_hash().map(str::to_owned));
        let is_enabled = found.as_ref().is_some_and(Known::is_enabled);
        let known =
            hash.as_ref().filter(|hash| may_remember && gate.passwords.remembers(&password, hash, now));
        if known.is_none() {
            // An address may try for many names, a name be tried from many addresses.
            let of_name = format!("name {}", called.to_lowercase().chars().take(64).collect::<String>());
            let who: Vec<String> =
                network.map(|network| format!("from {network}")).into_iter().chain([of_name]).collect();
            gate.may_try(&who, now)?;
            let is_right = gate.passwords.is_right(password.clone(), hash.clone()).await? && is_enabled;
            gate.tried(&who, is_right, self.hub().clock.now());
            if !is_right {
                self.hub().metrics.log_ins_failed.inc();
                return Err(wrong());
            }
            if let Some(hash) = hash.as_ref().filter(|_| may_remember) {
                gate.passwords.remember(&password, hash, now);
            }
        }
        let (found, hash) = found.filter(|_| is_enabled).zip(hash).ok_or_else(wrong)?;
        let account = found.into_account()?;
        let right = Right::Password { account: account.id, hash, role: account.role };
        Ok((account, right))
    }
}

fn sha1(password: &Secret) -> Sha1Digest {
    <[u8; 20]>::from(<Sha1 as sha1::Digest>::digest(password.expose())).into()
}

fn wrong() -> Refusal {
    Refusal::Unauthorised(
        "there is no such account, or its password is another one, or it is disabled".to_owned(),
    )
}
