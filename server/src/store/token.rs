//! Tokens of accounts: log-ins, sessions, and those for programs.

use super::account::{AccountRow, note};
use super::row::{json, micros, readable, text, time, time_option, to_json};
use super::schema::{account, token};
use super::{Conn, Failure, Store};
use diesel::prelude::*;
use model::auth::{Account, Scope, Token, TokenKind};
use model::{AccountId, Timestamp, TokenId};

pub struct NewToken {
    pub digest: String,
    pub kind: TokenKind,
    pub name: String,
    pub scope: Scope,
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = token)]
struct TokenRow {
    id: String,
    account_id: String,
    digest: String,
    kind: String,
    name: String,
    scope: String,
    created_at: i64,
    expires_at: i64,
    last_used_at: Option<i64>,
    revoked_at: Option<i64>,
}

impl Store {
    pub async fn token_create(&self, of: AccountId, new: NewToken, now: Timestamp) -> Result<Token, Failure> {
        self.write(move |conn| {
            let row = TokenRow {
                id: TokenId::new(now).to_string(),
                account_id: of.to_string(),
                digest: new.digest,
                kind: new.kind.name().to_owned(),
                name: new.name,
                scope: to_json(&new.scope)?,
                created_at: micros(now),
                expires_at: micros(new.expires_at),
                last_used_at: None,
                revoked_at: None,
            };
            let name: String = account::table
                .find(&row.account_id)
                .filter(account::deleted_at.is_null())
                .select(account::name)
                .first(conn)
                .optional()?
                .ok_or_else(|| Failure::NotFound("this account was deleted".to_owned()))?;
            diesel::insert_into(token::table).values(&row).execute(conn)?;
            let (kind, detail) = match new.kind {
                TokenKind::Api => ("token.created", format!("{name}: {}", row.name)),
                TokenKind::Login | TokenKind::Session => ("account.logged_in", name),
            };
            note(now, kind, &detail);
            row.into_token()
        })
        .await
    }

    /// Those that are good for something, the newest first.
    pub async fn token_list(&self, of: AccountId, now: Timestamp) -> Result<Vec<Token>, Failure> {
        self.read(move |conn| {
            let rows: Vec<TokenRow> = token::table
                .filter(token::account_id.eq(of.to_string()).and(token::revoked_at.is_null()))
                .filter(token::expires_at.gt(micros(now)))
                .order(token::id.desc())
                .select(TokenRow::as_select())
                .load(conn)?;
            Ok(readable(rows.into_iter().map(TokenRow::into_token)))
        })
        .await
    }

    /// Ends one; of this account only, if one is named. A second time changes nothing.
    pub async fn token_revoke(
        &self,
        id: TokenId,
        of: Option<AccountId>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        self.write(move |conn| {
            let row: Option<TokenRow> =
                token::table.find(id.to_string()).select(TokenRow::as_select()).first(conn).optional()?;
            let row = row.filter(|row| of.is_none_or(|of| row.account_id == of.to_string()));
            let missing =
                || Failure::NotFound("there is no such token; GET /v1/tokens lists yours".to_owned());
            let row = row.ok_or_else(missing)?;
            if row.revoked_at.is_none() {
                diesel::update(token::table.find(&row.id))
                    .set(token::revoked_at.eq(micros(now)))
                    .execute(conn)?;
                note(now, "token.revoked", &row.name);
            }
            Ok(())
        })
        .await
    }

    /// Whose credential this is, if it is any good now.
    pub async fn credential(
        &self,
        digest: String,
        now: Timestamp,
    ) -> Result<Option<(Account, Token)>, Failure> {
        self.read(move |conn| {
            let found: Option<(TokenRow, AccountRow)> = token::table
                .inner_join(account::table)
                .filter(token::digest.eq(digest).and(token::revoked_at.is_null()))
                .filter(token::expires_at.gt(micros(now)))
                .filter(account::deleted_at.is_null().and(account::disabled_at.is_null()))
                .select((TokenRow::as_select(), AccountRow::as_select()))
                .first(conn)
                .optional()?;
            found.map(|(token, account)| Ok((account.into_account()?, token.into_token()?))).transpose()
        })
        .await
    }

    pub async fn token_used(&self, id: TokenId, now: Timestamp) -> Result<(), Failure> {
        self.write(move |conn| {
            diesel::update(token::table.find(id.to_string()))
                .set(token::last_used_at.eq(micros(now)))
                .execute(conn)?;
            Ok(())
        })
        .await
    }
}

pub(super) fn revoke(conn: &mut Conn, of: &str, kinds: &[TokenKind], now: Timestamp) -> QueryResult<()> {
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    diesel::update(
        token::table
            .filter(token::account_id.eq(of).and(token::revoked_at.is_null()).and(token::kind.eq_any(kinds))),
    )
    .set(token::revoked_at.eq(micros(now)))
    .execute(conn)
    .map(|_| ())
}

impl TokenRow {
    fn into_token(self) -> Result<Token, Failure> {
        Ok(Token {
            id: text("token.id", &self.id)?,
            name: self.name,
            kind: text("token.kind", &self.kind)?,
            scope: json("token.scope", &self.scope)?,
            created_at: time(self.created_at)?,
            expires_at: time(self.expires_at)?,
            last_used_at: time_option(self.last_used_at)?,
        })
    }
}
