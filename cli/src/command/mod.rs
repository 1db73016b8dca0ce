//! What can be asked for; one file per command.

mod account;
mod audit;
mod cleaning;
mod confirm;
mod events;
mod extend;
mod import;
mod login;
mod machine;
mod pool;
mod register;
mod release;
mod reservation;
mod reserve;
mod room;
mod status;
mod token;
mod wait;

use crate::session::Session;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Get machines, with an account on each of them.
    Reserve(reserve::Reserve),
    /// Give machines back: the accounts go, with everything they left.
    Release(release::Release),
    /// Set another end, counted from now.
    Extend(extend::Extend),
    /// Look at reservations.
    #[command(subcommand)]
    Reservation(reservation::Command),
    /// Register, look at and look after machines.
    #[command(subcommand)]
    Machine(machine::Command),
    /// Say how many machines there should be, and of which kind.
    #[command(subcommand)]
    Pool(pool::Command),
    /// Run room servers, as the environment describes them.
    #[command(subcommand)]
    Room(room::Command),
    /// Show every machine and how many are free.
    Status(status::Status),
    /// Show what has happened.
    Events(events::Events),
    /// Log in: later commands show who is asking.
    Login(login::Login),
    /// End what `login` began.
    Logout,
    /// Make and look after the accounts of those who ask for machines.
    #[command(subcommand)]
    Account(account::Command),
    /// Make and end tokens for programs.
    #[command(subcommand)]
    Token(token::Command),
    /// Check the record of what happened, and look things up in it.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Wait until machines are free, or until a pool has all of its machines, or none.
    Wait(wait::Wait),
}

/// Something only the caller can put right; exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

impl Command {
    pub(crate) async fn run(self, session: &Session) -> anyhow::Result<()> {
        match self {
            Self::Reserve(command) => command.run(session).await,
            Self::Release(command) => command.run(session).await,
            Self::Extend(command) => command.run(session).await,
            Self::Reservation(command) => command.run(session).await,
            Self::Machine(command) => command.run(session).await,
            Self::Pool(command) => command.run(session).await,
            Self::Room(command) => command.run(session).await,
            Self::Status(command) => command.run(session).await,
            Self::Events(command) => command.run(session).await,
            Self::Login(command) => command.run(session).await,
            Self::Logout => login::log_out(session).await,
            Self::Account(command) => command.run(session).await,
            Self::Token(command) => command.run(session).await,
            Self::Audit(command) => command.run(session).await,
            Self::Wait(command) => command.run(session).await,
        }
    }
}

/// Seconds a call waits for the machines: all that the server grants, or none.
pub(crate) fn patience(no_wait: bool) -> u32 {
    if no_wait { 0 } else { 60 }
}

/// `2 machines`
pub(crate) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
