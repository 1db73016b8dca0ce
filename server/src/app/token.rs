//! Tokens: made for programs, listed, revoked.

use super::{Desk, Refusal};
use crate::secret;
use crate::store::NewToken;
use jiff::SignedDuration;
use model::auth::{Level, Scope, Token, TokenKind};
use model::wire::{DurationText, Page, TokenCreate, TokenCreated, TokenView};
use model::{AccountId, Invalid, TokenId};

const LASTS: SignedDuration = SignedDuration::from_hours(90 * 24);
const LONGEST_NAME: usize = 100;

impl Desk {
    pub async fn token_create(&self, body: TokenCreate) -> Result<TokenCreated, Refusal> {
        let name = body.name.trim();
        if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
            return Err(Invalid::new(
                "name",
                format!("say in 1 to {LONGEST_NAME} characters what it is for"),
            )
            .into());
        }
        if body.machines == Some(0) {
            return Err(Invalid::new("machines", "must be 1 or more").into());
        }
        let lasts = body.duration.as_ref().map(|text| parse_duration("duration", text)).transpose()?;
        let longest = body.longest.as_ref().map(|text| parse_duration("longest", text)).transpose()?;
        let of = self.of(body.account.as_deref()).await?;
        let now = self.now();
        let token = secret::token();
        let new = NewToken {
            digest: secret::digest(&token),
            kind: TokenKind::Api,
            name: name.to_owned(),
            scope: Scope { level: body.level, labels: body.labels, machines: body.machines, longest },
            expires_at: now + lasts.unwrap_or(LASTS),
        };
        let made = self.store.token_create(of, new, now).await?;
        Ok(TokenCreated { token: token.into(), view: view(made) })
    }

    pub async fn token_list(&self, account: Option<&str>) -> Result<Page<TokenView>, Refusal> {
        let tokens = self.store.token_list(self.of(account).await?, self.now()).await?;
        Ok(Page { items: tokens.into_iter().map(view).collect(), next: None })
    }

    /// Admins end anybody's.
    pub async fn token_revoke(&self, id: &str) -> Result<(), Refusal> {
        let missing = |_| Refusal::NotFound("there is no such token; GET /v1/tokens lists yours".to_owned());
        let id: TokenId = id.parse().map_err(missing)?;
        let own = self.caller.account.as_ref().filter(|_| !self.caller.looks_after_all());
        Ok(self.store.token_revoke(id, own.map(|account| account.id), self.now()).await?)
    }

    /// Ends the credential that this was asked with, if it is one that ends.
    pub async fn log_out(&self) -> Result<(), Refusal> {
        match &self.caller.token {
            Some(token) => Ok(self.store.token_revoke(token.id, None, self.now()).await?),
            None => Ok(()),
        }
    }

    /// Whose tokens are meant: one's own, or those of an account that is named.
    async fn of(&self, account: Option<&str>) -> Result<AccountId, Refusal> {
        match (account, &self.caller.account) {
            (None, Some(own)) => Ok(own.id),
            (None, None) => {
                Err(Refusal::Conflict("tokens are of accounts, and there is none yet".to_owned()))
            }
            (Some(name), own) => {
                let is_own = own.as_ref().is_some_and(|own| own.name.as_str() == name);
                let may = self.caller.looks_after_all() && self.caller.level() == Level::Admin;
                if !may && !is_own {
                    return Err(Refusal::Forbidden("only admins look after the tokens of others".to_owned()));
                }
                Ok(self.store.account_get(name).await?.id)
            }
        }
    }
}

fn parse_duration(field: &'static str, text: &DurationText) -> Result<SignedDuration, Invalid> {
    let lasts = text.parse().map_err(|why| Invalid::new(field, why))?;
    SignedDuration::try_from(lasts).map_err(|_| Invalid::new(field, "is too long"))
}

fn view(token: Token) -> TokenView {
    TokenView {
        id: token.id,
        name: token.name,
        kind: token.kind,
        level: token.scope.level,
        labels: token.scope.labels,
        machines: token.scope.machines,
        longest: token.scope.longest.map(|longest| longest.to_string()),
        created_at: token.created_at,
        expires_at: token.expires_at,
        last_used_at: token.last_used_at,
    }
}
