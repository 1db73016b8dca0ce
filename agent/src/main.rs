//! `berth-agent`: what runs on every machine.

use agent::ledger::Ledger;
use agent::link::LinkError;
use agent::notice::{self, Lent};
use agent::once::{Heard, once};
use agent::resident::Place;
use agent::sync::{backoff, jittered};
use agent::turn::Turn;
use agent::{Clock, Identity, Launch, Link, Outcome, Trust, install, keeper, sync, turn, watch};
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use model::Timestamp;
use model::dial::Dials;
use model::report::EndsBy;
use playbooks::RealHost;
use std::future::Future;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::{env, sync::Arc, time::Duration};
use tracing_subscriber::filter::LevelFilter;

/// Makes the Unix accounts that a Berth server lends, and takes them away again in time, with or without the server.
///
/// It touches only accounts it made itself. Log lines go to standard error; BERTH_LOG sets how many: `error` to `trace`.
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
        /// `unix:/path/of/socket`, `https://HOST:PORT`, or `http://127.0.0.1:PORT` (plain HTTP is for loopback only); of
        /// several servers on one database all, with commas between: the next is dialled when one does not answer
        #[arg(long, env = "BERTH_SERVER", value_name = "ADDRESS")]
        server: Dials,
        /// The CA of an `https` server in PEM, kept from then on; without one the server is known by those that this machine
        /// trusts
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
        /// A file with the join token, shown once when the machine was registered. Or set BERTH_JOIN_TOKEN
        #[arg(long, value_name = "FILE")]
        join_token_file: Option<PathBuf>,
    },
    /// Make one visit: what is wanted and what time it is, as JSON, on standard input; the report on standard output
    Once,
    /// Have this program run as a service of this machine; reads the join token from standard input, and after it the CA of
    /// an `https` server in PEM, if it is to be known by that
    Install {
        /// As for `run`
        #[arg(long, value_name = "ADDRESS")]
        server: Dials,
    },
    /// End that service and take it away, with every account; makes a visit as `once` does, if it is given one
    Uninstall,
    /// Keep `run` running, where no service manager does; `install` starts this by itself
    Keep {
        /// As for `run`
        #[arg(long, value_name = "ADDRESS")]
        server: Dials,
    },
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
    let level = env::var("BERTH_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
    let Cli { places, command } = Cli::parse();
    match command {
        Command::Run { server, ca_file, join_token_file } => {
            let link = Link::trusting(&server, &trust(&places, &server, ca_file)?);
            runtime()?.block_on(run(&places, link, &server, join_token_file))
        }
        Command::Once => {
            let heard = hear()?;
            visit(places.absolute()?, heard)
        }
        Command::Install { server } => {
            let mut input = String::new();
            std::io::stdin().take(LONGEST_ORDER).read_to_string(&mut input)?;
            let order = install::Order::read(&server, &input)?;
            Ok(install::install(&places.on_this_machine()?.state, &order)?)
        }
        Command::Uninstall => uninstall(places.on_this_machine()?),
        Command::Keep { server } => {
            let places = places.on_this_machine()?;
            watch::detach()?;
            runtime()?.block_on(keep(&places, &server))
        }
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

    /// Services are of the whole machine.
    fn on_this_machine(self) -> anyhow::Result<Self> {
        let places = self.absolute()?;
        anyhow::ensure!(places.root == Path::new("/"), "`--root`: a service works on `/`; leave it out");
        Ok(places)
    }

    fn host(&self) -> RealHost {
        RealHost::new(&self.root, &self.state)
    }
}

/// What is given now is kept, in the place of what was given before.
fn trust(places: &Places, server: &Dials, ca_file: Option<PathBuf>) -> anyhow::Result<Trust> {
    let Some(ca_file) = ca_file else { return Ok(Trust::of(&places.state)?) };
    anyhow::ensure!(server.has_https(), "`--ca-file` is for `https` servers: `{server}` is none");
    Ok(Trust::pin(&places.state, &ca_file)?)
}

async fn run(
    places: &Places,
    mut link: Link,
    server: &Dials,
    token_file: Option<PathBuf>,
) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    tokio::pin!(stop);
    let is_service = token_file.as_ref().is_some_and(|file| *file == install::token_file(&places.state));
    let enrolled = tokio::select! {
        () = &mut stop => return Ok(()),
        enrolled = enrolled(places, &mut link, server, token_file) => enrolled?,
    };
    if let Some((identity, _turn)) = enrolled {
        // Without it the agent works as well, and only who asks is told less.
        let place = Place::take_over(&places.state, EndsBy::Agent);
        if let Err(error) = &place {
            tracing::warn!(%error, "visits will not know that this machine has an agent");
        }
        let outcome = sync::run(places.host(), link, identity, Arc::new(SystemClock), stop).await;
        if outcome == Outcome::Stopped {
            return Ok(());
        }
    }
    Identity::delete(&places.state)?;
    if is_service {
        install::leave(&places.state)?;
    }
    Ok(())
}

/// The identity on disk, or a new one that the server has accepted; waits for the server if need be, and lets others work
/// on the machine meanwhile. Absent: the server does not want this machine any more.
async fn enrolled(
    places: &Places,
    link: &mut Link,
    server: &Dials,
    token_file: Option<PathBuf>,
) -> anyhow::Result<Option<(Identity, Turn)>> {
    let turn = turn::take(&places.state)?;
    let mut identity = match Identity::load(&places.state)? {
        Some(identity) if identity.incarnation.is_some() => {
            if token_file.is_none() {
                forget_token(places);
            }
            return Ok(Some((identity, turn)));
        }
        Some(unfinished) => unfinished,
        None => Identity::new(&server.to_string())?,
    };
    let is_left = token_file.is_none();
    let token = join_token(token_file, &places.state)?;
    identity.server = server.to_string();
    identity.save(&places.state)?;
    drop(turn);
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
            Err(LinkError::Gone) => return Ok(None),
            Err(error) => {
                return Err(error).context("could not enrol: register the machine for a new join token");
            }
        }
    };
    let turn = turn::take(&places.state)?;
    // The ledger first: an identity that counts as enrolled must never go with the ledger of a former life.
    let mut host = places.host();
    let mut ledger = Ledger::load(&mut host)?;
    // One that goes on and obeys another database is fenced off later, with all that it has.
    if !answer.goes_on || ledger.epoch.is_none() {
        ledger.begin(answer.epoch);
        ledger.save(&mut host)?;
    }
    identity.save(&places.state)?;
    if is_left {
        forget_token(places);
    }
    tracing::info!(machine = %answer.machine, "enrolled");
    Ok(Some((identity, turn)))
}

/// It is of no use any longer, and nobody needs to find it. A service keeps its own, to know whether another comes.
fn forget_token(places: &Places) {
    let _ = std::fs::remove_file(install::token_file(&places.state));
}

/// Whoever made this machine may have left one.
fn join_token(file: Option<PathBuf>, state: &Path) -> anyhow::Result<String> {
    let left = || Some(install::token_file(state)).filter(|left| left.exists());
    let text = match file.or_else(left) {
        Some(path) => {
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?
        }
        None => std::env::var("BERTH_JOIN_TOKEN")
            .context("not enrolled yet: give --join-token-file or set BERTH_JOIN_TOKEN")?,
    };
    Ok(text.trim().to_owned())
}

fn hear() -> anyhow::Result<Option<Heard>> {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    Ok(Heard::read(&input, &SystemClock)?)
}

/// Whoever says nothing wants nobody there.
fn uninstall(places: Places) -> anyhow::Result<()> {
    let heard = hear()?;
    install::uninstall(&places.state)?;
    if heard.is_none() {
        let _turn = turn::take(&places.state)?;
        let mut host = places.host();
        let mut ledger = Ledger::load(&mut host)?;
        ledger.spec.iter_mut().for_each(|spec| spec.accounts.clear());
        ledger.save(&mut host)?;
    }
    visit(places, heard)
}

async fn keep(places: &Places, server: &Dials) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let program = std::env::current_exe()?;
    let run = || {
        let mut run = tokio::process::Command::new(&program);
        run.arg("--state").arg(&places.state).args(["run", "--server", &server.to_string()]);
        run.arg("--join-token-file").arg(install::token_file(&places.state)).spawn()
    };
    Ok(keeper::keep(&places.state, run, &SystemClock, stop).await?)
}

/// What the caller sends is read first and what is said is written last: a connection that hangs keeps nobody out.
fn visit(places: Places, heard: Option<Heard>) -> anyhow::Result<()> {
    let Places { state, root } = places;
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

/// No token is that long, nor one with a CA.
const LONGEST_ORDER: u64 = 512 * 1024;

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
