//! `berth-agent`: what runs on every machine.

use agent::ledger::Ledger;
use agent::notice::{self, Lent};
use agent::once::{Heard, once};
use agent::resident::Place;
use agent::sync::{backoff, jittered};
use agent::{Clock, Identity, Launch, Link, Outcome, sync, turn, watch};
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use model::Timestamp;
use model::report::EndsBy;
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
    /// Make one visit: what is wanted and what time it is, as JSON, on standard input; the report on standard output
    Once,
    /// Stay until every account has ended; visits start this by themselves
    Watch {
        /// It is a unit of systemd, which starts it again if it dies
        #[arg(long)]
        systemd: bool,
    },
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
            runtime()?.block_on(run(&places, &server, join_token_file))
        }
        Command::Once => visit(places),
        Command::Watch { systemd } => {
            let ends_by = if systemd { EndsBy::Systemd } else { EndsBy::Watcher };
            let places = places.absolute()?;
            watch::detach()?;
            runtime()?.block_on(stay(&places, ends_by))
        }
        Command::Status { json } => status(&places, json),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

impl Places {
    fn absolute(self) -> std::io::Result<Self> {
        Ok(Self { state: std::path::absolute(self.state)?, root: std::path::absolute(self.root)? })
    }

    fn host(&self) -> RealHost {
        RealHost::new(&self.root, &self.state)
    }
}

async fn run(places: &Places, server: &str, token_file: Option<PathBuf>) -> anyhow::Result<()> {
    let _turn = turn::take(&places.state)?;
    // Without it the agent works as well, and only who asks is told less.
    let place = Place::take_over(&places.state, EndsBy::Agent);
    if let Err(error) = &place {
        tracing::warn!(%error, "visits will not know that this machine has an agent");
    }
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

/// What the caller sends is read first and what is said is written last: a connection that hangs keeps nobody out.
fn visit(places: Places) -> anyhow::Result<()> {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    let heard = Heard::read(&input, &SystemClock)?;
    let Places { state, root } = places.absolute()?;
    let launch = Launch { program: std::env::current_exe()?, state, root };
    let turn = turn::take(&launch.state)?;
    let host = RealHost::new(&launch.root, &launch.state);
    let report = once(host, heard, Arc::new(SystemClock), &launch)?;
    drop(turn);
    let mut report = serde_json::to_vec(&report)?;
    report.push(b'\n');
    Ok(std::io::stdout().write_all(&report)?)
}

async fn stay(places: &Places, ends_by: EndsBy) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    // Before anybody can know of us: visits poke whoever is there.
    let mut poke = signal(SignalKind::hangup())?;
    let Some(place) = Place::claim(&places.state, ends_by)? else { return Ok(()) };
    let poked = async || {
        poke.recv().await;
    };
    watch::watch(places.host(), Arc::new(SystemClock), place, &places.state, poked).await;
    Ok(())
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
