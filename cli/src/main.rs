//! `berth`: reserve machines and look after them, from a shell.

mod access;
mod command;
mod credentials;
mod inventory;
mod labels;
mod lease;
mod login;
mod moment;
#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;
mod secret;
mod session;
mod table;

use anyhow::Context;
use clap::Parser;
use command::Command;
use session::Session;
use std::io::{ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Reserve machines, see who has which, and manage where they come from.
///
/// Exit codes: 0 done, 1 refused or failed, 2 called wrongly.
#[derive(Parser)]
#[command(name = "berth", version)]
struct Cli {
    /// Where the server listens.
    #[arg(
        long,
        env = "BERTH_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        global = true
    )]
    server: String,
    /// The CA of an `https` server, in PEM; without it the server is known by those that this computer trusts.
    #[arg(long, env = "BERTH_CA_FILE", value_name = "FILE", global = true)]
    ca_file: Option<PathBuf>,
    /// Show the token in the first line of this file; without it, that of `berth login`. `BERTH_TOKEN` may hold one as well.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Print the server's JSON as it came; lists are one document per page.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("berth: {}", table::clean(&format!("{error:#}")));
            if error.is::<command::Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let client = client(&cli.server, cli.ca_file.as_deref())?;
    let client = match credentials::token(cli.token_file.as_deref(), client.base_url())? {
        Some(token) => client.with_token(token)?,
        None => client,
    };
    let session = Session { client, json: cli.json, terminal: std::io::stdout().is_terminal() };
    cli.command.run(&session).await
}

fn client(server: &str, ca_file: Option<&Path>) -> anyhow::Result<cli::Client> {
    let Some(file) = ca_file else { return Ok(cli::Client::new(server)?) };
    let ca = std::fs::read(file).with_context(|| format!("cannot read the CA `{}`", file.display()))?;
    cli::Client::with_ca(server, &ca).with_context(|| format!("the CA `{}`", file.display()))
}

/// `berth events | head` ends well.
fn reader_left(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// One that takes the name of a flag of all commands takes its value, too.
    #[test]
    fn no_command_has_a_flag_that_all_have() {
        fn check(command: &clap::Command, of_all: &[&clap::Id]) {
            for argument in command.get_arguments() {
                assert!(!of_all.contains(&argument.get_id()), "{} {argument}", command.get_name());
            }
            command.get_subcommands().for_each(|command| check(command, of_all));
        }
        let cli = Cli::command();
        let of_all: Vec<_> = cli.get_arguments().map(clap::Arg::get_id).collect();
        assert!(of_all.len() >= 2);
        cli.get_subcommands().for_each(|command| check(command, &of_all));
    }

    #[test]
    fn what_is_called_wrongly() {
        for line in [
            "berth",
            "berth reserve Root",
            "berth reserve alice --count 0",
            "berth reserve alice --count 2 --machine m1",
            "berth reserve alice --for 2h --until 2030-01-01T00:00:00Z",
            "berth reserve alice --for soon",
            "berth reserve alice --password-stdin --password-file x",
            "berth reserve alice --password secret",
            "berth reserve alice --label nonsense",
            "berth release",
            "berth release --all 0198c0de-0000-7000-8000-000000000000",
            "berth extend 0198c0de-0000-7000-8000-000000000000",
            "berth machine get ../pools",
            "berth machine register m1 h --password secret",
            "berth machine register m1 h --password-file f --key-file k",
            "berth machine register m1 h --password-stdin --private-key-file k",
            "berth machine register m1 h --key-file k --host-key nonsense",
            "berth machine register m1 h --key-file k --host-key SHA256:short",
            "berth machine register m1 h --key-file k --jump Gate",
            "berth machine import",
            "berth machine import f --format toml",
            "berth machine import f --accept-new-host-keys --known-hosts k",
            "berth machine confirm m1 nonsense",
            "berth wait",
            "berth room",
            "berth room create lobby",
            "berth login",
            "berth account create Alice",
            "berth account create alice --password secret",
            "berth account create alice --password-stdin --no-password",
            "berth account set alice --enable --disable",
            "berth token create ci --level god",
            "berth audit",
            "berth events --follow --limit 7",
            "berth audit who-could-login m1 --at noon",
        ] {
            let refused = Cli::try_parse_from(line.split(' ')).err().unwrap_or_else(|| panic!("{line}"));
            assert_eq!(refused.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn what_an_agent_dials_is_not_what_this_program_dials() {
        let line = "berth --server http://a machine adopt m1 --dial https://b --dial-ca-file b.pem";
        let called = Cli::parse_from(line.split(' '));
        assert_eq!((called.server.as_str(), called.ca_file), ("http://a", None));
    }

    #[test]
    fn what_is_called_well() {
        for line in [
            "berth --json status",
            "berth reserve alice --count 2 --for 90m --label os=debian --label size=large --no-wait",
            "berth reserve alice --machine m1 --machine m2 --until 2030-01-01T00:00:00Z --sudo --group audio",
            "berth release 0198c0de-0000-7000-8000-000000000000 0198c0de-0000-7000-8000-000000000001",
            "berth release --all --server http://127.0.0.1:9",
            "berth machine label m1 rack=7 --remove size",
            "berth machine adopt m1 --dial unix:/srv/agent.sock --server http://127.0.0.1:9",
            "berth machine register m1 h",
            "berth --ca-file ca.pem machine adopt m1 --dial https://berth.example:8443 --dial-ca-file a.pem",
            "berth machine register m1 h --ssh-user u --private-key-file k --passphrase-file p --sudo-password-file s",
            "berth machine register m1 h --password-stdin --accept-new-host-key --jump gate",
            "berth machine import - --format ansible-ini --known-hosts k --label lab=1 --dry-run --json",
            "berth pool set debian --provider docker --image berth-debian --size 4",
            "berth room create",
            "berth room destroy-all",
            "berth room destroyAll",
            "berth wait --free 4 --timeout 9",
            "berth login alice --password-stdin",
            "berth account create alice --admin --email a@example.org --password-file p --ssh-key k --machines 4",
            "berth account set alice --role user --disable --longest-hours 8",
            "berth token create ci --level reserve --label lab=1 --machines 2 --longest 1h --for 30d",
            "berth --token-file t audit verify",
            "berth audit who-could-login m1 --at 2030-01-01T00:00:00Z",
            "berth events --machine m1 --kind machine",
            "berth events --follow --cursor 7",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }
}
