//! `berth-agent`: what runs on every machine.

use agent::identity::exclusive;
use agent::ledger::Ledger;
use agent::notice::{self, Lent};
use agent::sync::{backoff, jittered};
use agent::{Clock, Identity, Link, Outcome, once, sync};
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use model::Timestamp;
use playbooks::RealHost;
use std::future::Future;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::{sync::Arc, time::Duration};

/// Makes the Unix accounts that a Berth server lends, and takes them away again in time, with or without the server.
///
/// It touches only accounts it made itself. Log lines go to standard error; RUST_LOG sets how many.
#[derive(Parser)]
#[command(name = "berth-agent", version)]
struct Cli {
    #[command(flatten)]
    places: Places,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Places {
    /// Where the agent keeps its identity and its ledger of accounts
    #[arg(long, global = true, default_value = "/var/lib/berth", value_name = "FOLDER")]
    state: PathBuf,
    /// The root of the file system to work on
    #[arg(long, global = true, default_value = "/", value_name = "FOLDER")]
    root: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Stay and obey a server; enrols with the join token the first time
    Run {
        /// `unix:/path/of/socket`, or `http://127.0.0.1:PORT` (plain HTTP is for loopback only)
        #[arg(long, env = "BERTH_SERVER", value_name = "ADDRESS")]
        server: String,
        /// A file with the join token, shown once when the machine was registered. Or set BERTH_JOIN_TOKEN
        #[arg(long, value_name = "FILE")]
        join_token_file: Option<PathBuf>,
    },
    /// Make one visit: a spec as JSON on standard input, the report on standard output
    Once,
    /// Show until when this machine is whose; for everybody on it
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let Cli { places, command } = Cli::parse();
    match command {
        Command::Run { server, join_token_file } => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(run(&places, &server, join_token_file))
        }
        Command::Once => visit(&places),
        Command::Status { json } => status(&places, json),
    }
}

impl Places {
    fn host(&self) -> RealHost {
        RealHost::new(&self.root, &self.state)
    }
}

async fn run(places: &Places, server: &str, token_file: Option<PathBuf>) -> anyhow::Result<()> {
    let _lock = exclusive(&places.state)?;
    let mut link = Link::new(server)?;
    let stop = stop_signal()?;
    tokio::pin!(stop);
    let identity = tokio::select! {
        () = &mut stop => return Ok(()),
        identity = enrolled(places, &mut link, server, token_file) => identity?,
    };
    let outcome = sync::run(places.host(), link, identity, Arc::new(SystemClock), stop).await;
    if outcome == Outcome::Gone {
        Identity::delete(&places.state)?;
    }
    Ok(())
}

/// The identity on disk, or a new one that the server has accepted; waits for the server if need be.
async fn enrolled(
    places: &Places,
    link: &mut Link,
    server: &str,
    token_file: Option<PathBuf>,
) -> anyhow::Result<Identity> {
    let mut identity = match Identity::load(&places.state)? {
        Some(identity) if identity.incarnation.is_some() => return Ok(identity),
        Some(unfinished) => unfinished,
        None => Identity::new(server)?,
    };
    let token = join_token(token_file)?;
    identity.server = server.to_owned();
    identity.save(&places.state)?;
    let mut failures = 0;
    let answer = loop {
        match identity.enrol(link, &token).await {
            Ok(answer) => break answer,
            Err(error) if error.is_passing() => {
                failures += 1;
                tracing::warn!(%error, failures, "not enrolled yet");
                let pause = jittered(backoff(failures, Duration::from_secs(15)));
                SystemClock.sleep_until(SystemClock.boottime() + pause).await;
            }
            Err(error) => {
                return Err(error).context("could not enrol: register the machine for a new join token");
            }
        }
    };
    // The ledger first: an identity that counts as enrolled must never go with the ledger of a former life.
    let mut host = places.host();
    let mut ledger = Ledger::load(&mut host)?;
    ledger.begin(answer.epoch);
    ledger.save(&mut host)?;
    identity.save(&places.state)?;
    tracing::info!(machine = %answer.machine, "enrolled");
    Ok(identity)
}

fn join_token(file: Option<PathBuf>) -> anyhow::Result<String> {
    let text = match file {
        Some(path) => {
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?
        }
        None => std::env::var("BERTH_JOIN_TOKEN")
            .context("not enrolled yet: give --join-token-file or set BERTH_JOIN_TOKEN")?,
    };
    Ok(text.trim().to_owned())
}

fn visit(places: &Places) -> anyhow::Result<()> {
    let _lock = exclusive(&places.state)?;
    let mut spec = Vec::new();
    std::io::stdin().read_to_end(&mut spec)?;
    let report = once::once(&mut places.host(), &spec, &SystemClock)?;
    let mut out = std::io::stdout();
    out.write_all(&report)?;
    Ok(out.write_all(b"\n")?)
}

/// Root also hears of accounts that are leaving.
fn status(places: &Places, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    let status = places.host().notice()?;
    let status: notice::Status =
        if status.is_empty() { notice::Status::default() } else { serde_json::from_slice(&status)? };
    if json {
        serde_json::to_writer_pretty(&out, &status)?;
        return Ok(writeln!(out)?);
    }
    if status.accounts.is_empty() {
        writeln!(out, "this machine is lent to nobody")?;
    }
    for lent in &status.accounts {
        writeln!(out, "{}", notice::words(lent, SystemClock.wall()))?;
    }
    if nix::unistd::geteuid().is_root() {
        leaving(places, &status.accounts, &mut out)?;
    }
    Ok(())
}

fn leaving(places: &Places, staying: &[Lent], out: &mut impl Write) -> anyhow::Result<()> {
    let ledger = Ledger::load(&mut places.host())?;
    for managed in
        ledger.accounts.iter().filter(|managed| staying.iter().all(|lent| lent.uid != managed.who.uid))
    {
        let attempts = ledger.cleanings.attempts(&managed.who);
        writeln!(out, "{} (uid {}): leaving, {attempts} attempts", managed.who.name, managed.who.uid)?;
    }
    Ok(())
}

fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

struct SystemClock;

/// Timers stand still while a machine is suspended; time since boot does not.
const LONGEST_TIMER: Duration = Duration::from_secs(5);

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the agent's one clock")]
    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn boottime(&self) -> Duration {
        let read = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
        read.map(Duration::from).unwrap_or_default()
    }

    fn sleep_until(&self, end: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            while let Some(left) = end.checked_sub(SystemClock.boottime()).filter(|left| !left.is_zero()) {
                tokio::time::sleep(left.min(LONGEST_TIMER)).await;
            }
        })
    }
}
