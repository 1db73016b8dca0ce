//! Accounts: made, changed, ended; and logging in.

use super::machine::parse_cursor;
use super::passwords::SHORTEST;
use super::{App, Desk, Refusal, Shown};
use crate::secret;
use crate::store::{AccountChange, NewAccount, NewToken, Rows};
use jiff::SignedDuration;
use model::account::SshKey;
use model::auth::{Account, Email, Quota, Scope, Sha1Digest, TokenKind};
use model::ssh::Secret;
use model::wire::{AccountCreate, AccountPatch, AccountView, LoggedIn, Login, Me, Page};
use model::{AccountName, Invalid, Timestamp};

/// How long a log-in lasts.
const LOG_IN: SignedDuration = SignedDuration::from_hours(12);
const MOST_KEYS: usize = 100;

impl App {
    /// A token for whoever knows the password.
    pub async fn log_in(&self, shown: &Shown, body: Login, kind: TokenKind) -> Result<LoggedIn, Refusal> {
        let Login { account, password } = body;
        let network = shown.network.as_deref();
        let (account, right) = self.verified(&account, password, network, false).await?;
        let now = self.hub().clock.now();
        let (token, expires_at) = (secret::token(), now + LOG_IN);
        let new = NewToken {
            digest: secret::digest(&token),
            kind,
            name: "log-in".to_owned(),
            scope: Scope::default(),
            expires_at,
        };
        let actor = super::gate::actor_of(&account, shown.source.clone());
        self.hub().store.by(actor).by_right(right).token_create(account.id, new, now).await?;
        Ok(LoggedIn { token: token.into(), expires_at, account: self.account_view(account) })
    }

    pub fn now(&self) -> Timestamp {
        self.hub().clock.now()
    }

    pub(super) fn account_view(&self, account: Account) -> AccountView {
        let limits = self.gate().limits(&account);
        AccountView {
            id: account.id,
            name: account.name,
            email: account.email,
            number: account.number,
            full_name: account.full_name,
            role: account.role,
            disabled: account.disabled_at.is_some(),
            ssh_keys: account.ssh_keys.iter().map(|key| key.as_str().to_owned()).collect(),
            quota: account.quota,
            limits,
            created_at: account.created_at,
        }
    }
}

impl Desk {
    /// There is no account yet: whoever is on this computer may do everything.
    pub fn is_open(&self) -> bool {
        self.caller.account.is_none()
    }

    /// Sees and changes what belongs to others.
    pub fn looks_after_all(&self) -> bool {
        self.caller.looks_after_all()
    }

    pub fn me(&self) -> Me {
        let account = self.caller.account.clone().map(|account| self.app.account_view(account));
        Me { account, level: self.caller.level() }
    }

    /// While there is none, whoever is let in makes the first one.
    pub async fn account_create(&self, body: AccountCreate) -> Result<AccountView, Refusal> {
        let name = body.name.parse::<AccountName>().map_err(|why| Invalid::new("name", why))?;
        let email = body.email.as_deref().map(parse_email).transpose()?;
        let ssh_keys = parse_keys(&body.ssh_keys)?;
        let only_as_first = self.caller.account.is_none();
        let password_hash = match &body.password {
            Some(password) => Some(self.app.gate().passwords.hash(password, SHORTEST).await?),
            None if only_as_first => {
                return Err(Invalid::unfit("password", "give one: without, nobody could ever log in").into());
            }
            None => None,
        };
        let AccountCreate { role, quota, .. } = body;
        let (may_be_numbered, full_name) = (false, None);
        let new = NewAccount {
            name,
            may_be_numbered,
            full_name,
            email,
            role,
            password_hash,
            ssh_keys,
            quota,
            only_as_first,
        };
        let account = self.store.account_create(new, self.now()).await?;
        Ok(self.app.account_view(account))
    }

    /// For whoever tells no password, but its digest.
    pub async fn account_create_by_digest(
        &self,
        name: AccountName,
        digest: Sha1Digest,
    ) -> Result<AccountView, Refusal> {
        let new = NewAccount {
            name,
            may_be_numbered: false,
            full_name: None,
            email: None,
            role: None,
            password_hash: Some(self.app.gate().passwords.hash_digest(digest).await?),
            ssh_keys: vec![],
            quota: Quota::default(),
            only_as_first: self.caller.account.is_none(),
        };
        Ok(self.app.account_view(self.store.account_create(new, self.now()).await?))
    }

    /// Names of whoever is no admin, or was made by a digest, in the order they were made in.
    pub async fn account_users(&self) -> Result<Vec<AccountName>, Refusal> {
        Ok(self.store.account_users().await?)
    }

    pub async fn account_get(&self, name: &str) -> Result<AccountView, Refusal> {
        Ok(self.app.account_view(self.store.account_get(name).await?))
    }

    pub async fn account_list(
        &self,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<Page<AccountView>, Refusal> {
        let cursor = cursor.as_deref().map(parse_cursor::<AccountName>).transpose()?;
        let Rows { items, is_last } =
            self.store.account_list(cursor.map(|name| name.to_string()), limit).await?;
        let next = items.last().filter(|_| !is_last).map(|account| account.name.to_string());
        Ok(Page { items: items.into_iter().map(|account| self.app.account_view(account)).collect(), next })
    }

    pub async fn account_patch(&self, name: &str, body: AccountPatch) -> Result<AccountView, Refusal> {
        let email = match body.email.as_deref() {
            None => None,
            Some("") => Some(None),
            Some(email) => Some(Some(parse_email(email)?)),
        };
        let ssh_keys = body.ssh_keys.as_deref().map(parse_keys).transpose()?;
        let password_hash = match &body.password {
            Some(password) => Some(self.app.gate().passwords.hash(password, SHORTEST).await?),
            None => None,
        };
        let AccountPatch { role, disabled, quota, .. } = body;
        let change = AccountChange { full_name: None, email, role, password_hash, disabled, ssh_keys, quota };
        let account = self.store.account_change(name, change, self.now()).await?;
        Ok(self.app.account_view(account))
    }

    /// Of one's own account: password and keys. A stolen token is not to become a password.
    pub async fn own_account_patch(&self, body: AccountPatch) -> Result<AccountView, Refusal> {
        let Some(own) = &self.caller.account else {
            return Err(Refusal::Conflict("you have no account: there is none yet".to_owned()));
        };
        let AccountPatch { email: None, role: None, disabled: None, quota: None, .. } = &body else {
            return Err(Refusal::Forbidden(
                "of your own account you may change password and keys".to_owned(),
            ));
        };
        if body.password.is_some() {
            let current = body.current_password.clone().unwrap_or_else(|| Secret::from(String::new()));
            let wrong = |_| Invalid::unfit("current_password", "is another one");
            match self.app.verified(own.name.as_str(), current, None, false).await {
                Err(Refusal::Unauthorised(why)) => return Err(wrong(why).into()),
                verified => drop(verified?),
            }
        }
        self.account_patch(own.name.as_str(), body).await
    }

    pub async fn account_delete(&self, name: &str, end_reservations: bool) -> Result<(), Refusal> {
        let ended = self.store.account_delete(name, end_reservations, self.now()).await?;
        ended.iter().for_each(|reservation| self.wake(reservation));
        Ok(())
    }

    pub fn now(&self) -> Timestamp {
        self.app.now()
    }
}

pub(super) fn parse_email(text: &str) -> Result<Email, Invalid> {
    text.parse().map_err(|why: String| Invalid::new("email", why))
}

fn parse_keys(keys: &[String]) -> Result<Vec<SshKey>, Invalid> {
    if keys.len() > MOST_KEYS {
        return Err(Invalid::new("ssh_keys", format!("at most {MOST_KEYS} keys")));
    }
    let parse = |key: &String| key.parse().map_err(|why: String| Invalid::new("ssh_keys", why));
    keys.iter().map(parse).collect()
}
