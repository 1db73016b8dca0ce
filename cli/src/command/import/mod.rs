//! `berth machine import`: all machines of a file, the new ones added and the others brought up to date.

mod account;
mod send;

use super::{Usage, counted};
use crate::access::AccessArgs;
use crate::inventory::{self, Completion, Format, KeyFiles, KnownHosts};
use crate::session::{Session, all_pages};
use account::Account;
use anyhow::{Context, Result, ensure};
use cli::{MachineFilter, Slice};
use model::Labels;
use send::Sender;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

const LARGEST: u64 = 16 * 1024 * 1024;
/// Machines asked for at a time.
const PAGE: u32 = 1000;

#[derive(clap::Args)]
pub(crate) struct Import {
    /// The file; `-` is standard input.
    file: PathBuf,
    /// How the file is written.
    #[arg(long, value_enum, default_value = "auto")]
    format: Format,
    /// Take whichever host key each machine shows first.
    #[arg(long, conflicts_with = "known_hosts")]
    accept_new_host_keys: bool,
    /// Take the host keys from a file such as ~/.ssh/known_hosts.
    #[arg(long, value_name = "FILE")]
    known_hosts: Option<PathBuf>,
    /// A label for all of them, `key=value`; may be repeated.
    #[arg(long = "label", value_name = "K=V")]
    labels: Vec<Labels>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten, next_help_heading = "For machines of which the file does not say it")]
    access: AccessArgs,
}

impl Import {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let shown = self.file.display().to_string();
        let text = self.text()?;
        let found = inventory::parse(&text, self.format, &shown)
            .map_err(|malformed| Usage(format!("{shown}, {malformed}; nothing was sent")))?;
        if found.is_empty() {
            eprintln!("{shown} lists no machine");
        }
        self.say_what_is_not_read();
        let mut completion = self.completion()?;
        let first = Slice { limit: Some(PAGE), ..Slice::default() };
        let fetch = async |slice| session.client.machine_list(&MachineFilter::default(), &slice).await;
        let pages = all_pages(first, fetch).await?;
        let registered: Vec<_> = pages.iter().flat_map(|page| &page.items).collect();
        let entries = completion.entries(found, &registered);
        let sender = Sender::new(&session.client, &registered, self.dry_run);
        let mut account = Account::new(session, &entries, self.dry_run);
        sender.send(&entries, |index, outcome| account.enter(index, outcome)).await?;
        account.close()?;
        let failed = counted(account.failed(), "machine");
        ensure!(account.failed() == 0, "{failed} of {shown} failed: put that right and import it again");
        Ok(())
    }

    fn text(&self) -> Result<String> {
        let shown = self.file.display();
        if self.file != Path::new("-") {
            return read(File::open(&self.file)).map_err(|why| Usage(format!("{shown}: {why}")).into());
        }
        if self.access.reads_stdin() {
            return Err(Usage("standard input is either the inventory or the password".to_owned()).into());
        }
        read(Ok(std::io::stdin().lock())).map_err(|why| Usage(format!("standard input: {why}")).into())
    }

    /// A frequent surprise: Ansible has more to say of a host than its inventory.
    fn say_what_is_not_read(&self) {
        let beside = |name: &str| self.file.with_file_name(name).is_dir();
        if self.file != Path::new("-") && (beside("group_vars") || beside("host_vars")) {
            eprintln!(
                "group_vars and host_vars are not read; to have them, too: ansible-inventory -i {} --list --yaml | \
                 berth machine import - --format ansible-yaml",
                self.file.display()
            );
        }
    }

    fn completion(&self) -> Result<Completion> {
        let known_hosts = |file: &PathBuf| -> Result<KnownHosts> {
            let text = std::fs::read(file).with_context(|| format!("`{}`", file.display()))?;
            Ok(KnownHosts::parse(&String::from_utf8_lossy(&text)))
        };
        let folder = self.file.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Completion {
            access: self.access.read()?,
            labels: self.labels.clone(),
            known_hosts: self.known_hosts.as_ref().map(known_hosts).transpose()?,
            accept_new: self.accept_new_host_keys,
            keys: KeyFiles::new(folder, std::env::home_dir()),
        })
    }
}

fn read(source: std::io::Result<impl Read>) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = source.and_then(|source| source.take(LARGEST + 1).read_to_end(&mut bytes));
    read.map_err(|why| why.to_string())?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("is larger than {} MiB: split it", LARGEST >> 20));
    }
    String::from_utf8(bytes).map_err(|_| "is no UTF-8 text: save it as that".to_owned())
}
