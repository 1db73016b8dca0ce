//! What lets somebody in has to hold when they write, too: a request's body may come long after its head, and a password be
//! looked at while it is changed.

use super::account::has_accounts;
use super::schema::{account, token};
use super::{Conn, Failure};
use diesel::prelude::*;
use model::AccountId;
use model::auth::Role;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Right {
    /// There is no account yet.
    Open,
    /// SHA-256 of a token, and the role of its account.
    Token { digest: String, role: Role },
    /// An account, the hash of the password that was shown, and its role.
    Password { account: AccountId, hash: String, role: Role },
}

/// Nothing is written for somebody who would no longer be let in as who they were.
pub(crate) fn check(conn: &mut Conn, right: &Right) -> Result<(), Failure> {
    if holds(conn, right)? {
        return Ok(());
    }
    Err(Failure::Unauthorised("what let you in has ended, or your role has changed: log in again".to_owned()))
}

pub(crate) fn holds(conn: &mut Conn, right: &Right) -> Result<bool, Failure> {
    let is_live = account::deleted_at.is_null().and(account::disabled_at.is_null());
    Ok(match right {
        Right::Open => !has_accounts(conn)?,
        Right::Token { digest, role } => {
            let of_token = token::table
                .inner_join(account::table)
                .filter(token::digest.eq(digest).and(token::revoked_at.is_null()))
                .filter(is_live.and(account::role.eq(role.name())))
                .select(account::id);
            of_token.first::<String>(conn).optional()?.is_some()
        }
        Right::Password { account, hash, role } => {
            let of_account = account::table
                .find(account.to_string())
                .filter(account::password_hash.eq(hash))
                .filter(is_live.and(account::role.eq(role.name())))
                .select(account::id);
            of_account.first::<String>(conn).optional()?.is_some()
        }
    })
}
