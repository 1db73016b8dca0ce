//! Who is asking, and whether they may: the one place that decides.

use super::passwords::Passwords;
use super::{App, Desk, Refusal};
use crate::secret;
use crate::store::{Failure, Right};
use jiff::SignedDuration;
use model::Timestamp;
use model::audit::{Actor, Who};
use model::auth::{Account, Bucket, Deed, Failures, Level, Quota, Role, Scope, Token, TokenKind};
use model::reservation::{Owner, Reservation};
use model::ssh::Secret;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a server was told about letting people in.
#[derive(Debug, Clone)]
pub struct GateSettings {
    /// Of bcrypt; one more takes twice as long.
    pub bcrypt_cost: u32,
    /// What accounts may have that have no limits of their own.
    pub quotas: Quotas,
    /// Requests of one account or address; ten times as many at once.
    pub requests_per_second: u32,
    /// SHA-256 of the token that lets somebody make the first account from elsewhere.
    pub setup_token: Option<String>,
}

impl Default for GateSettings {
    fn default() -> Self {
        Self { bcrypt_cost: 12, quotas: Quotas::default(), requests_per_second: 100, setup_token: None }
    }
}

#[derive(Debug, Clone, Copy, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quotas {
    pub user: Quota,
    pub admin: Quota,
}

/// What a request shows of whoever sent it.
#[derive(Debug, Clone)]
pub struct Shown {
    pub credential: Option<Shows>,
    /// The address it came from, and what is counted as one customer; absent for this computer.
    pub source: Option<String>,
    pub network: Option<String>,
    /// Nothing speaks against its coming from a program of this computer, or what does.
    pub is_local: Result<(), &'static str>,
    /// It does not come from a page of somebody else's.
    pub is_same_site: bool,
}

#[derive(Debug, Clone)]
pub enum Shows {
    Bearer(Secret),
    Cookie(Secret),
    Basic { account: String, password: Secret },
}

/// What a deed takes, and what somebody has instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAllowed {
    pub takes: (Role, Level),
    pub has: (Role, Level),
    pub is_narrow: bool,
}

impl std::error::Error for NotAllowed {}

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((role, level), (own_role, own_level)) = (self.takes, self.has);
        let narrow = if self.is_narrow { ", for some machines only" } else { "" };
        write!(
            f,
            "this takes an account that is `{role}` and a token of level `{level}` for all machines; you are \
             `{own_role}` with one of level `{own_level}`{narrow}"
        )
    }
}

/// Somebody who was let in.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// Absent while the server is open.
    pub(super) account: Option<Account>,
    pub(super) scope: Scope,
    pub(super) token: Option<Token>,
    /// What they were let in by.
    pub(super) right: Right,
    source: Option<String>,
}

pub(super) struct Gate {
    settings: GateSettings,
    pub(super) passwords: Passwords,
    /// Once there is an account, there always was one.
    is_locked: AtomicBool,
    failures: Mutex<HashMap<String, Failures>>,
    buckets: Mutex<HashMap<String, Bucket>>,
}

/// Of addresses and accounts that are remembered.
const MOST_REMEMBERED: usize = 10_000;
/// `last_used_at` is not more precise.
const USED: SignedDuration = SignedDuration::from_mins(1);

impl Gate {
    pub(super) fn new(settings: GateSettings) -> Self {
        Self {
            passwords: Passwords::new(settings.bcrypt_cost),
            settings,
            is_locked: AtomicBool::new(false),
            failures: Mutex::default(),
            buckets: Mutex::default(),
        }
    }

    pub(super) fn limits(&self, account: &Account) -> Quota {
        let defaults = match account.role {
            Role::Admin => self.settings.quotas.admin,
            Role::User => self.settings.quotas.user,
        };
        account.quota.or(defaults)
    }

    fn is_setup_token(&self, token: &Secret) -> bool {
        self.settings.setup_token.as_ref().is_some_and(|digest| *digest == secret::digest(token.expose()))
    }

    /// Counts one request of somebody.
    fn count(&self, whose: String, now: Timestamp) -> Result<(), Refusal> {
        let rate = self.settings.requests_per_second;
        let size = rate.saturating_mul(10);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST_REMEMBERED {
            // Whoever is left out begins with a full one again.
            buckets.clear();
        }
        let bucket = buckets.entry(whose).or_insert_with(|| Bucket::full(size, now));
        bucket.take(rate, size, now).map_err(|wait| Refusal::TooMany {
            why: format!("more than {rate} requests a second: slow down"),
            wait,
        })
    }

    /// Refuses a log-in of somebody who has just failed too often.
    pub(super) fn may_try(&self, who: &[String], now: Timestamp) -> Result<(), Refusal> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = who.iter().filter_map(|key| failures.get(key)?.wait(now));
        match waits.max() {
            None => Ok(()),
            Some(wait) => Err(Refusal::TooMany {
                why: "too many log-ins failed: wait before the next one".to_owned(),
                wait,
            }),
        }
    }

    pub(super) fn tried(&self, who: &[String], succeeded: bool, now: Timestamp) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if !succeeded && failures.len() + who.len() > MOST_REMEMBERED {
            failures.retain(|_, failures| !failures.is_over(now));
            // Each has cost its bcrypt, so that nobody gets rid of a certain one by many others.
            let surplus = (failures.len() + who.len()).saturating_sub(MOST_REMEMBERED);
            let some: Vec<_> = failures.keys().take(surplus).cloned().collect();
            failures.retain(|key, _| !some.contains(key));
        }
        for key in who {
            match failures.entry(key.clone()) {
                Entry::Occupied(found) if succeeded => drop(found.remove()),
                Entry::Vacant(_) if succeeded => {}
                entry => entry.or_default().failed(now),
            }
        }
    }
}

impl Shown {
    /// Of a part of this program, which asks without a request.
    pub fn nothing() -> Self {
        Self { credential: None, source: None, network: None, is_local: Ok(()), is_same_site: true }
    }
}

impl App {
    /// Gets ready to let people in.
    pub async fn prepare(&self) {
        self.gate().passwords.prepare().await;
    }

    /// Lets somebody in to do something, or says why not.
    pub async fn admit(&self, shown: Shown, deed: Deed) -> Result<Desk, Refusal> {
        self.let_in(self.identify(shown, deed).await?, deed)
    }

    /// The same for whoever says to be the so many'th account: clients of older systems put that and its password into the
    /// body of each request.
    pub async fn admit_numbered(
        &self,
        shown: Shown,
        number: i64,
        password: Secret,
        deed: Deed,
    ) -> Result<Desk, Refusal> {
        let found = self.hub().store.account_numbered(number).await?;
        let called = found.as_ref().map_or_else(|| number.to_string(), |known| known.name().to_owned());
        let verified = self.verified_as(found, &called, password, shown.network.as_deref(), true).await?;
        self.let_in(Caller::by_password(verified, shown.source), deed)
    }

    /// Counts one request, whoever it is of.
    pub fn count_from(&self, shown: &Shown) -> Result<(), Refusal> {
        let now = self.hub().clock.now();
        shown.network.as_ref().map_or(Ok(()), |network| self.gate().count(network.clone(), now))
    }

    fn let_in(&self, caller: Caller, deed: Deed) -> Result<Desk, Refusal> {
        let now = self.hub().clock.now();
        if let Some(account) = &caller.account {
            self.gate().count(format!("account {}", account.id), now)?;
            if !deed.is_allowed(account.role, &caller.scope) {
                let has = (account.role, caller.scope.level);
                let is_narrow = caller.scope.is_narrow();
                return Err(Refusal::NotAllowed(NotAllowed { takes: deed.takes(), has, is_narrow }));
            }
        }
        Ok(Desk::new(self.clone(), caller))
    }

    /// Whether there has ever been an account.
    pub async fn is_locked(&self) -> Result<bool, Failure> {
        let known = &self.gate().is_locked;
        if !known.load(Ordering::Relaxed) && self.hub().store.is_locked().await? {
            known.store(true, Ordering::Relaxed);
        }
        Ok(known.load(Ordering::Relaxed))
    }

    async fn identify(&self, shown: Shown, deed: Deed) -> Result<Caller, Refusal> {
        let is_locked = self.is_locked().await?;
        let Shown { credential, source, network, is_local, is_same_site } = shown;
        match credential {
            None if is_locked => Err(Refusal::Anonymous(
                "log in first: `POST /v1/login`, then send the token as `Authorization: Bearer …`".to_owned(),
            )),
            Some(Shows::Bearer(token))
                if !is_locked && deed == Deed::Accounts && self.gate().is_setup_token(&token) =>
            {
                Ok(Caller::open(source))
            }
            Some(Shows::Bearer(token)) => self.by_token(token, source).await,
            Some(Shows::Cookie(token)) => {
                let caller = self.by_token(token, source).await?;
                let kind = caller.token.as_ref().map(|token| token.kind);
                let only_looks = matches!(deed, Deed::Look | Deed::Audit);
                if kind != Some(TokenKind::Session) || !(is_same_site || only_looks) {
                    return Err(Refusal::Forbidden(
                        "a page of another site has sent this request".to_owned(),
                    ));
                }
                Ok(caller)
            }
            Some(Shows::Basic { account, password }) if is_locked => {
                let verified = self.verified(&account, password, network.as_deref(), true).await?;
                Ok(Caller::by_password(verified, source))
            }
            // Programs of this computer may have credentials left from elsewhere.
            None | Some(Shows::Basic { .. }) => match is_local {
                Ok(()) => Ok(Caller::open(source)),
                Err(why) => Err(Refusal::Forbidden(format!(
                    "without accounts this server answers its own computer only, and the request is refused: {why}"
                ))),
            },
        }
    }

    async fn by_token(&self, token: Secret, source: Option<String>) -> Result<Caller, Refusal> {
        let now = self.hub().clock.now();
        let digest = secret::digest(token.expose());
        let found = self.hub().store.credential(digest.clone(), now).await?;
        let (account, token) = found.ok_or_else(|| {
            Refusal::Unauthorised(
                "this token is unknown, revoked or expired, or its account is disabled: log in again"
                    .to_owned(),
            )
        })?;
        if token.last_used_at.is_none_or(|last| now.duration_since(last) >= USED) {
            // Nobody waits for it.
            let (store, id) = (self.hub().store.clone(), token.id);
            tokio::spawn(async move { store.token_used(id, now).await });
        }
        let (scope, right) = (token.scope.clone(), Right::Token { digest, role: account.role });
        Ok(Caller { account: Some(account), scope, token: Some(token), right, source })
    }
}

impl Desk {
    /// Whether somebody who stays for long would be let in again.
    pub(super) async fn may_still(&self) -> Result<bool, Refusal> {
        let has_expired = self.caller.token.as_ref().is_some_and(|token| token.expires_at <= self.now());
        Ok(!has_expired && self.store.right_holds().await?)
    }
}

impl Caller {
    fn open(source: Option<String>) -> Self {
        Self { account: None, scope: Scope::default(), token: None, right: Right::Open, source }
    }

    fn by_password((account, right): (Account, Right), source: Option<String>) -> Self {
        Self { account: Some(account), scope: Scope::default(), token: None, right, source }
    }

    pub(super) fn actor(&self) -> Actor {
        match &self.account {
            None => Actor { who: Who::Open, source: self.source.clone() },
            Some(account) => actor_of(account, self.source.clone()),
        }
    }

    pub(super) fn owner(&self) -> Option<Owner> {
        self.account.as_ref().map(|account| Owner { id: account.id, name: account.name.clone() })
    }

    /// Sees and changes what belongs to others.
    pub(super) fn looks_after_all(&self) -> bool {
        self.account.as_ref().is_none_or(|account| account.role == Role::Admin)
    }

    pub(super) fn may_see(&self, reservation: &Reservation) -> bool {
        let owner = reservation.owner.as_ref().map(|owner| owner.id);
        self.looks_after_all() || self.account.as_ref().map(|account| account.id) == owner
    }

    pub(super) fn level(&self) -> Level {
        self.scope.level
    }
}

pub(super) fn actor_of(account: &Account, source: Option<String>) -> Actor {
    Actor { who: Who::Account(account.name.clone()), source }
}
