//! `berth login` and `berth logout`.

use crate::credentials;
use crate::moment::with_distance;
use crate::secret::PasswordArgs;
use crate::session::Session;
use anyhow::Result;
use model::ssh::Secret;
use model::wire;

#[derive(clap::Args)]
pub(crate) struct Login {
    /// Your account's name, or its e-mail.
    account: String,
    #[command(flatten)]
    password: PasswordArgs,
}

impl Login {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let password = self.password.read(&format!("password of {}", self.account))?;
        log_in(session, self.account, password).await
    }
}

/// The token is kept, not shown.
pub(crate) async fn log_in(session: &Session, account: String, password: Secret) -> Result<()> {
    let answer = session.client.log_in(&wire::Login { account, password }).await?;
    credentials::keep(session.client.base_url(), Some(answer.token.clone()))?;
    let until = with_distance(answer.expires_at, answer.served_at);
    let account = &answer.account;
    Ok(session.print(&format!("logged in as {} ({}) until {until}", account.name, account.role))?)
}

pub(crate) async fn log_out(session: &Session) -> Result<()> {
    let ended = session.client.log_out().await;
    credentials::keep(session.client.base_url(), None)?;
    // What has ended already is no trouble.
    match ended {
        Err(error) if error.status() == Some(401) => {}
        ended => ended?,
    }
    Ok(session.print("logged out")?)
}
