//! Accounts as older clients know them: numbered, called as people are, and with passwords of any length.

use super::account::parse_email;
use super::{Desk, Refusal};
use crate::store::{AccountChange, NewAccount};
use model::auth::{Quota, Role};
use model::ssh::Secret;
use model::wire::AccountView;
use model::{AccountName, Invalid};

const LONGEST_NAME: usize = 100;
/// What they have is not ours to refuse.
const SHORTEST: usize = 1;

/// Somebody new.
pub struct Person {
    pub full_name: String,
    pub email: String,
    pub password: Secret,
    pub role: Role,
}

/// What is absent stays as it is.
#[derive(Default)]
pub struct PersonChange {
    pub full_name: Option<String>,
    pub email: Option<String>,
    pub password: Option<Secret>,
}

impl Desk {
    /// The very first one becomes an admin.
    pub async fn person_create(&self, person: Person) -> Result<AccountView, Refusal> {
        let full_name = checked_name(person.full_name)?;
        let email = parse_email(&person.email)?;
        let password_hash = self.app.gate().passwords.hash(&person.password, SHORTEST).await?;
        let only_as_first = self.caller.account.is_none();
        let new = NewAccount {
            name: AccountName::like(&full_name),
            may_be_numbered: true,
            full_name: Some(full_name),
            email: Some(email),
            role: (!only_as_first).then_some(person.role),
            password_hash: Some(password_hash),
            ssh_keys: Vec::new(),
            quota: Quota::default(),
            only_as_first,
        };
        let account = self.store.account_create(new, self.now()).await?;
        Ok(self.app.account_view(account))
    }

    /// A stolen token is not to become a password, nor the name that one logs in by.
    pub async fn person_change(&self, name: &str, change: PersonChange) -> Result<AccountView, Refusal> {
        let PersonChange { full_name, email, password } = change;
        let lets_in = email.is_some() || password.is_some();
        if lets_in && self.caller.token.is_some() && !self.looks_after_all() {
            return Err(Refusal::Forbidden("a token does not do for this: show the password".to_owned()));
        }
        let password_hash = match password {
            Some(password) => Some(self.app.gate().passwords.hash(&password, SHORTEST).await?),
            None => None,
        };
        let change = AccountChange {
            full_name: full_name.map(checked_name).transpose()?,
            email: email.map(|email| parse_email(&email).map(Some)).transpose()?,
            password_hash,
            ..AccountChange::default()
        };
        let account = self.store.account_change(name, change, self.now()).await?;
        Ok(self.app.account_view(account))
    }
}

fn checked_name(name: String) -> Result<String, Invalid> {
    let length = name.chars().count();
    if name.trim().is_empty() || length > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(Invalid::new(
            "name",
            format!("use 1 to {LONGEST_NAME} characters, and no control characters"),
        ));
    }
    Ok(name)
}
