//! The agent as a service of the machine: put there for good, and taken away again.

use crate::identity::Identity;
use crate::resident::Resident;
use crate::service::{Manager, Service, remove_if_there, shell_word};
use crate::trust::{self, Trust};
use model::dial::Dials;
use model::report::EndsBy;
use playbooks::real::{private_folder, write_atomically};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::{env, io};

const PROGRAM: &str = "/usr/local/sbin/berth-agent";

/// As it should lie there.
struct Wanted {
    path: PathBuf,
    mode: u32,
    bytes: Vec<u8>,
}

/// The token with which the service enrols. It stays there: whoever installs again with the same one changes nothing.
pub fn token_file(state: &Path) -> PathBuf {
    state.join("join-token")
}

/// What the service is told.
pub struct Order<'a> {
    pub server: &'a Dials,
    pub join_token: &'a str,
    /// By which the server is known, in PEM; empty: by those that the machine trusts.
    pub ca: &'a str,
}

impl<'a> Order<'a> {
    /// As it comes on standard input: the token in a line, then the CA.
    pub fn read(server: &'a Dials, input: &'a str) -> io::Result<Self> {
        let (join_token, ca) = input.split_once('\n').unwrap_or((input, ""));
        let (join_token, ca) = (join_token.trim(), ca.trim());
        let wrong = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        if join_token.is_empty() {
            return wrong("give the join token on standard input");
        }
        if !ca.is_empty() {
            Trust::pinned(ca.as_bytes())?;
        }
        Ok(Self { server, join_token, ca })
    }
}

/// Has this program run as a service that obeys these servers. What is right already stays as it is; another token is
/// another enrolment.
pub fn install(state: &Path, order: &Order<'_>) -> io::Result<()> {
    let Order { server, join_token, ca } = *order;
    let service = Service { program: PROGRAM.into(), state: shell_word(state)?, server: server.to_string() };
    let manager = Manager::of_this_machine();
    let token = Wanted { path: token_file(state), mode: 0o600, bytes: join_token.into() };
    let pinned = Wanted { path: trust::file(state), mode: 0o600, bytes: ca.into() };
    let is_unpinned = ca.is_empty() && pinned.path.exists();
    let pinned = (!ca.is_empty()).then_some(pinned);
    let is_known = token.is_there();
    let program = Wanted { path: PROGRAM.into(), mode: 0o755, bytes: fs::read(env::current_exe()?)? };
    let files = manager.files(&service).into_iter();
    let files = files.map(|(path, mode, text)| Wanted { path, mode, bytes: text.into_bytes() });
    let missing: Vec<Wanted> =
        [program, token].into_iter().chain(pinned).chain(files).filter(|file| !file.is_there()).collect();
    if is_unpinned || !missing.is_empty() {
        manager.stop(state)?;
        end_agent(state)?;
        private_folder(state)?;
        if !is_known {
            remove_if_there(&Identity::file(state))?;
        }
        if is_unpinned {
            remove_if_there(&trust::file(state))?;
        }
        missing.iter().try_for_each(Wanted::put)?;
        manager.reload()?;
    }
    manager.start(&service)
}

/// Ends the service, whoever runs it, and leaves nothing of it but the ledger, for whoever looks after the machine then.
pub fn uninstall(state: &Path) -> io::Result<()> {
    for manager in Manager::ALL {
        manager.stop(state)?;
        manager.remove()?;
    }
    end_agent(state)?;
    forget(state)
}

/// The same from within: the service ends by itself when its program does.
pub fn leave(state: &Path) -> io::Result<()> {
    Manager::ALL.into_iter().try_for_each(Manager::remove)?;
    forget(state)
}

fn forget(state: &Path) -> io::Result<()> {
    [Identity::file(state), token_file(state), trust::file(state), PROGRAM.into()]
        .iter()
        .try_for_each(|file| remove_if_there(file))
}

/// One that nobody keeps any longer. Another one, started by somebody in another way, is left to him.
fn end_agent(state: &Path) -> io::Result<()> {
    match Resident::of(state)? {
        Some(agent) if agent.ends_by == EndsBy::Agent && agent.runs(Path::new(PROGRAM)) => agent.end(state),
        Some(agent) if agent.ends_by == EndsBy::Agent => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!(
                "another berth-agent works with {}, which is no service of ours: stop that one first",
                state.display()
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

impl Wanted {
    fn is_there(&self) -> bool {
        let is_right =
            |meta: fs::Metadata| meta.is_file() && meta.mode() & 0o7777 == self.mode && meta.uid() == 0;
        self.path.symlink_metadata().is_ok_and(is_right)
            && fs::read(&self.path).is_ok_and(|bytes| bytes == self.bytes)
    }

    fn put(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        let meta = fs::metadata(folder)?;
        if meta.uid() != 0 || meta.mode() & 0o002 != 0 {
            let why =
                format!("others may write to {}: run `chown root` and `chmod o-w` on it", folder.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot write {}: {error}", self.path.display()))
        };
        write_atomically(&self.path, self.mode, &self.bytes).map_err(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_may_be_followed_by_a_ca() {
        let server = "https://berth.example.org".parse().unwrap();
        let read = |input| Order::read(&server, input).map(|order| (order.join_token, order.ca));
        assert_eq!(read("berth_join_1").unwrap(), ("berth_join_1", ""));
        assert_eq!(read("berth_join_1\n\n").unwrap(), ("berth_join_1", ""));
        assert!(read("").unwrap_err().to_string().contains("join token"));
        assert!(read("berth_join_1\nnonsense").unwrap_err().to_string().contains("no certificate in PEM"));
    }
}
