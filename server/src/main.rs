//! `berth-server`: flags, log, clock and signals around [`server::serve`].

use clap::Parser;
use futures_util::future::BoxFuture;
use model::Timestamp;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use server::clock::Clock;
use server::config::{Command, Flags};
use server::store;
use server::tls::Tls;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    if let Some(command) = flags.command.clone() {
        return without_serving(command, &flags.database()?);
    }
    let config = flags.into_config()?;
    let filter = EnvFilter::try_from_env("BERTH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    tracing::info!(
        listen = %config.listen,
        agent_listen = ?config.agent_listen,
        "starting"
    );
    allow_many_connections();
    let tls = config.tls.clone().map(Tls::load).transpose()?.map(Arc::new);
    if let Some(tls) = &tls {
        warn_of(tls);
        tokio::spawn(reload_when_told(tls.clone(), signal(SignalKind::hangup())?));
    }
    let (settings, doors) = config.open(tls).await?;
    server::serve::serve(settings, doors, Arc::new(SystemClock), told_to_stop()).await?;
    tracing::info!("stopped");
    Ok(())
}

#[allow(clippy::print_stdout, reason = "it is for people on a terminal")]
fn without_serving(command: Command, database: &str) -> anyhow::Result<()> {
    match command {
        Command::Backup { file } => {
            let copied = store::backup(database, &file)?;
            println!("`{}`: {} bytes{}", file.display(), copied.bytes, as_of(copied.last_event));
            println!(
                "The key that log-ins of machines are sealed with is not in it: keep a copy of `--secrets-key` elsewhere."
            );
        }
        Command::Restore { file, despite_broken_record } => {
            let restored =
                store::restore(database, file.as_deref(), despite_broken_record, SystemClock.now())?;
            println!("restored: {} machines{}", restored.machines, as_of(restored.last_event));
            if let Some(kept) = restored.kept {
                println!("What was there before is `{}`.", kept.display());
            }
            println!(
                "Whatever was done since is forgotten: released reservations, revoked tokens and disabled accounts are as they \
                 were. Machines that were told more than the backup knows stay in maintenance until nobody is on them; \
                 `berth status` shows which. Log-ins of machines open with the `--secrets-key` of that time only."
            );
        }
    }
    Ok(())
}

fn as_of(last_event: Option<(i64, Timestamp)>) -> String {
    last_event.map_or_else(String::new, |(number, at)| format!(", as of event {number} at {at:.0}"))
}

/// Each takes a file descriptor, of which shells and service managers commonly allow 1,024 at first.
fn allow_many_connections() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the number of open files stays limited: raise it with `ulimit -n`");
    }
}

/// Whoever renews the certificate sends SIGHUP.
async fn reload_when_told(tls: Arc<Tls>, mut told: Signal) {
    while told.recv().await.is_some() {
        match tls.reload() {
            Ok(()) => tracing::info!("new connections get the certificate as it is in its file now"),
            Err(error) => tracing::error!(%error, "the certificate stays the one it was"),
        }
        warn_of(&tls);
    }
}

fn warn_of(tls: &Tls) {
    if let Some(why) = tls.complaint(SystemClock.now()) {
        tracing::warn!("{why}");
    }
}

async fn told_to_stop() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// The wall clock, read here and nowhere else; to the microsecond, as the database keeps it, so that what is answered first
/// is what is answered ever after.
struct SystemClock;

/// Sleeps are cut so that a wall clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                let left = at.duration_since(SystemClock.now());
                if left <= jiff::SignedDuration::ZERO {
                    return;
                }
                tokio::time::sleep(left.unsigned_abs().min(LONGEST_SLEEP)).await;
            }
        })
    }
}
