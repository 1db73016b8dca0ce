//! Accounts of those who ask for machines.

use super::event::{About, record};
use super::reservation::end;
use super::row::{Rows, json, micros, readable, text, time, time_option, to_json};
use super::schema::{account, reservation};
use super::token::revoke;
use super::{Conn, Failure, Store};
use diesel::dsl::max;
use diesel::prelude::*;
use model::account::SshKey;
use model::auth::{Account, Email, Quota, Role, TokenKind};
use model::reservation::{EndedBy, Reservation};
use model::{AccountId, AccountName, Timestamp};

/// Before the bcrypt hash of a SHA-1 digest, for accounts of whose password nothing else was told.
pub const OF_DIGEST: &str = "sha1:";

pub struct NewAccount {
    pub name: AccountName,
    /// If somebody has that name, it gets a number behind it.
    pub may_be_numbered: bool,
    pub full_name: Option<String>,
    pub email: Option<Email>,
    /// Left out: `admin` for the very first, `user` for others.
    pub role: Option<Role>,
    pub password_hash: Option<String>,
    pub ssh_keys: Vec<SshKey>,
    pub quota: Quota,
    /// Refused if there is an account already: whoever asks has shown no credential of one.
    pub only_as_first: bool,
}

/// What is absent stays as it is.
#[derive(Default)]
pub struct AccountChange {
    pub full_name: Option<String>,
    pub email: Option<Option<Email>>,
    pub role: Option<Role>,
    pub password_hash: Option<String>,
    pub disabled: Option<bool>,
    pub ssh_keys: Option<Vec<SshKey>>,
    pub quota: Option<Quota>,
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = account)]
pub(super) struct AccountRow {
    id: String,
    name: String,
    email: Option<String>,
    role: String,
    password_hash: Option<String>,
    ssh_keys: String,
    quota: String,
    created_at: i64,
    disabled_at: Option<i64>,
    deleted_at: Option<i64>,
    number: i64,
    full_name: Option<String>,
}

impl Store {
    /// Whether there has ever been an account: from then on nobody gets in without a credential.
    pub async fn is_locked(&self) -> Result<bool, Failure> {
        self.read(has_accounts).await
    }

    pub async fn account_create(&self, new: NewAccount, now: Timestamp) -> Result<Account, Failure> {
        self.write(move |conn| {
            let is_first = !has_accounts(conn)?;
            if new.only_as_first && !is_first {
                return Err(Failure::Unauthorised("there are accounts now: log in first".to_owned()));
            }
            let role = new.role.unwrap_or(if is_first { Role::Admin } else { Role::User });
            if is_first && role != Role::Admin {
                return Err(Failure::Conflict(
                    "the first account must be an `admin`: nobody could make another one".to_owned(),
                ));
            }
            let name = if new.may_be_numbered { free_name(conn, &new.name)? } else { new.name };
            refuse_taken(conn, Some(&name), new.email.as_ref(), None)?;
            let last: Option<i64> = account::table.select(max(account::number)).first(conn)?;
            let row = AccountRow {
                id: AccountId::new(now).to_string(),
                number: last.unwrap_or_default() + 1,
                name: name.to_string(),
                full_name: new.full_name,
                email: new.email.map(|email| email.to_string()),
                role: role.name().to_owned(),
                password_hash: new.password_hash,
                ssh_keys: to_json(&new.ssh_keys)?,
                quota: to_json(&new.quota)?,
                created_at: micros(now),
                disabled_at: None,
                deleted_at: None,
            };
            diesel::insert_into(account::table).values(&row).execute(conn)?;
            note(now, "account.created", &format!("{} ({role})", row.name));
            row.into_account()
        })
        .await
    }

    pub async fn account_get(&self, name: &str) -> Result<Account, Failure> {
        let name = name.to_owned();
        self.read(move |conn| by_name(conn, &name)?.into_account()).await
    }

    /// By name, from after `cursor` on.
    pub async fn account_list(&self, cursor: Option<String>, limit: u32) -> Result<Rows<Account>, Failure> {
        self.read(move |conn| {
            let rows: Vec<AccountRow> = account::table
                .filter(account::deleted_at.is_null().and(account::name.gt(cursor.unwrap_or_default())))
                .order(account::name)
                .limit(i64::from(limit))
                .select(AccountRow::as_select())
                .load(conn)?;
            Rows::of(rows, limit, |rows| Ok(readable(rows.into_iter().map(AccountRow::into_account))))
        })
        .await
    }

    /// Names of whoever is no admin, or was made by the digest of a password, in the order they were made in.
    pub async fn account_users(&self) -> Result<Vec<AccountName>, Failure> {
        self.read(|conn| {
            let by_digest = account::password_hash.like(format!("{OF_DIGEST}%"));
            let names: Vec<String> = account::table
                .filter(account::deleted_at.is_null())
                .filter(account::role.ne(Role::Admin.name()).or(by_digest))
                .order(account::id)
                .select(account::name)
                .load(conn)?;
            Ok(readable(names.iter().map(|name| text("account.name", name))))
        })
        .await
    }

    /// The account of a name or e-mail. It is not read further than a password needs it: that would take time, which tells
    /// whether there is such an account.
    pub async fn account_known_as(&self, called: &str) -> Result<Option<Known>, Failure> {
        let called = called.to_lowercase();
        self.read(move |conn| {
            let is_it = account::name.eq(&called).or(account::email.eq(&called));
            let row = account::table
                .filter(account::deleted_at.is_null().and(is_it))
                .select(AccountRow::as_select())
                .first(conn)
                .optional()?;
            Ok(row.map(Known))
        })
        .await
    }

    /// The account that is so many'th, counted from the first one ever made.
    pub async fn account_numbered(&self, number: i64) -> Result<Option<Known>, Failure> {
        self.read(move |conn| {
            let row = account::table
                .filter(account::deleted_at.is_null().and(account::number.eq(number)))
                .select(AccountRow::as_select())
                .first(conn)
                .optional()?;
            Ok(row.map(Known))
        })
        .await
    }

    /// A new password ends whatever had been logged in to by the old one.
    pub async fn account_change(
        &self,
        name: &str,
        change: AccountChange,
        now: Timestamp,
    ) -> Result<Account, Failure> {
        let name = name.to_owned();
        self.write(move |conn| {
            let mut row = by_name(conn, &name)?;
            let before = row.clone();
            if let Some(email) = change.email {
                refuse_taken(conn, None, email.as_ref(), Some(&row.id))?;
                row.email = email.map(|email| email.to_string());
            }
            if let Some(full_name) = change.full_name {
                row.full_name = Some(full_name);
            }
            if let Some(role) = change.role {
                row.role = role.name().to_owned();
            }
            if let Some(disabled) = change.disabled {
                row.disabled_at = disabled.then(|| row.disabled_at.unwrap_or(micros(now)));
            }
            if let Some(keys) = change.ssh_keys {
                row.ssh_keys = to_json(&keys)?;
            }
            if let Some(quota) = change.quota {
                row.quota = to_json(&quota)?;
            }
            if let Some(hash) = change.password_hash {
                row.password_hash = Some(hash);
                revoke(conn, &row.id, &[TokenKind::Login, TokenKind::Session], now)?;
            }
            if is_admin(&before) && !is_admin(&row) {
                refuse_last_admin(conn, &row)?;
            }
            put(conn, &row)?;
            note(now, "account.changed", &format!("{name}: {}", differences(&before, &row).join(", ")));
            row.into_account()
        })
        .await
    }

    /// Its reservations end with it, or keep it from being deleted. Returns those that ended.
    pub async fn account_delete(
        &self,
        name: &str,
        end_reservations: bool,
        now: Timestamp,
    ) -> Result<Vec<Reservation>, Failure> {
        let name = name.to_owned();
        self.write(move |conn| {
            let mut row = by_name(conn, &name)?;
            if is_admin(&row) {
                refuse_last_admin(conn, &row)?;
            }
            let live: Vec<String> = reservation::table
                .filter(reservation::account_id.eq(&row.id).and(reservation::ended_at.is_null()))
                .select(reservation::id)
                .load(conn)?;
            if !live.is_empty() && !end_reservations {
                return Err(Failure::Conflict(format!(
                    "account `{name}` has {} live reservations: release them first, or end them with \
                     `?end_reservations=true`",
                    live.len()
                )));
            }
            let mut ended = Vec::new();
            for id in live {
                let mut found = super::reservation::load(conn, &id)?;
                end(conn, &mut found, EndedBy::Released, now)?;
                ended.push(found);
            }
            revoke(conn, &row.id, &[TokenKind::Login, TokenKind::Session, TokenKind::Api], now)?;
            (row.deleted_at, row.password_hash) = (Some(micros(now)), None);
            put(conn, &row)?;
            note(now, "account.deleted", &name);
            Ok(ended)
        })
        .await
    }
}

pub(super) fn has_accounts(conn: &mut Conn) -> Result<bool, Failure> {
    let any: Option<String> = account::table.select(account::id).first(conn).optional()?;
    Ok(any.is_some())
}

fn by_name(conn: &mut Conn, name: &str) -> Result<AccountRow, Failure> {
    account::table
        .filter(account::name.eq(name).and(account::deleted_at.is_null()))
        .select(AccountRow::as_select())
        .first(conn)
        .optional()?
        .ok_or_else(|| {
            Failure::NotFound(format!("there is no account `{name}`; GET /v1/accounts lists them"))
        })
}

/// The name itself, or with the lowest number behind it that makes it nobody's.
fn free_name(conn: &mut Conn, like: &AccountName) -> Result<AccountName, Failure> {
    let taken: Vec<String> = account::table
        .filter(account::deleted_at.is_null().and(account::name.like(format!("{like}%"))))
        .select(account::name)
        .load(conn)?;
    let free = (1u32..)
        .map(|number| like.numbered(number))
        .find(|name| !taken.iter().any(|taken| taken == name.as_str()));
    free.ok_or_else(|| Failure::Conflict(format!("every name like `{like}` is taken")))
}

fn refuse_taken(
    conn: &mut Conn,
    name: Option<&AccountName>,
    email: Option<&Email>,
    but: Option<&str>,
) -> Result<(), Failure> {
    let others =
        || account::table.filter(account::deleted_at.is_null().and(account::id.ne(but.unwrap_or_default())));
    if let Some(name) = name
        && others().filter(account::name.eq(name.as_str())).count().get_result::<i64>(conn)? > 0
    {
        return Err(Failure::Conflict(format!("there is an account `{name}` already")));
    }
    if let Some(email) = email
        && others().filter(account::email.eq(email.as_str())).count().get_result::<i64>(conn)? > 0
    {
        return Err(Failure::Conflict(format!("`email`: {email} belongs to another account")));
    }
    Ok(())
}

fn is_admin(row: &AccountRow) -> bool {
    row.role == Role::Admin.name() && row.disabled_at.is_none()
}

fn refuse_last_admin(conn: &mut Conn, row: &AccountRow) -> Result<(), Failure> {
    let others: i64 = account::table
        .filter(account::role.eq(Role::Admin.name()).and(account::id.ne(&row.id)))
        .filter(account::deleted_at.is_null().and(account::disabled_at.is_null()))
        .count()
        .get_result(conn)?;
    if others > 0 {
        return Ok(());
    }
    Err(Failure::Conflict(format!("`{}` is the last admin: make another one first", row.name)))
}

fn put(conn: &mut Conn, row: &AccountRow) -> QueryResult<()> {
    diesel::update(account::table.find(&row.id))
        .set((
            account::email.eq(&row.email),
            account::full_name.eq(&row.full_name),
            account::role.eq(&row.role),
            account::password_hash.eq(&row.password_hash),
            account::ssh_keys.eq(&row.ssh_keys),
            account::quota.eq(&row.quota),
            account::disabled_at.eq(row.disabled_at),
            account::deleted_at.eq(row.deleted_at),
        ))
        .execute(conn)
        .map(|_| ())
}

/// What was changed, without what it was changed to where that is secret or long.
fn differences(before: &AccountRow, after: &AccountRow) -> Vec<String> {
    let role = (before.role != after.role).then(|| format!("role {}", after.role));
    let enabled = if after.disabled_at.is_some() { "disabled" } else { "enabled" };
    let enabled = (before.disabled_at != after.disabled_at).then(|| enabled.to_owned());
    let others = [
        (before.email != after.email, "email"),
        (before.full_name != after.full_name, "full name"),
        (before.password_hash != after.password_hash, "password"),
        (before.ssh_keys != after.ssh_keys, "keys"),
        (before.quota != after.quota, "quota"),
    ];
    let others = others.into_iter().filter(|(differs, _)| *differs).map(|(_, name)| name.to_owned());
    role.into_iter().chain(enabled).chain(others).collect()
}

pub(super) fn note(now: Timestamp, kind: &str, detail: &str) {
    record(now, kind, About { detail, ..About::default() });
}

/// Somebody who says to be this account.
pub struct Known(AccountRow);

impl Known {
    /// What a password is compared to.
    pub fn password_hash(&self) -> Option<&str> {
        self.0.password_hash.as_deref()
    }

    pub fn is_enabled(&self) -> bool {
        self.0.disabled_at.is_none()
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn into_account(self) -> Result<Account, Failure> {
        self.0.into_account()
    }
}

impl AccountRow {
    pub(super) fn into_account(self) -> Result<Account, Failure> {
        Ok(Account {
            id: text("account.id", &self.id)?,
            name: text("account.name", &self.name)?,
            email: self.email.map(|email| text("account.email", &email)).transpose()?,
            number: self.number,
            full_name: self.full_name,
            role: text("account.role", &self.role)?,
            ssh_keys: json("account.ssh_keys", &self.ssh_keys)?,
            quota: json("account.quota", &self.quota)?,
            created_at: time(self.created_at)?,
            disabled_at: time_option(self.disabled_at)?,
        })
    }
}
