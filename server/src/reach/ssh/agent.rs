//! The agent on the other machine: found by what it is, put there if it is not, asked once.

use super::connection::{Connection, within};
use super::exec::{self, Output, said};
use super::{Input, Login, Phase, Timeouts, VisitError};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where it may lie, best first.
pub(super) const FOLDERS: [&str; 3] = ["/var/lib/berth/bin", "/usr/local/lib/berth", "/opt/berth"];

/// Exit codes of our scripts that no agent has.
const NOT_THERE: u32 = 97;
const NO_FOLDER: u32 = 98;

/// In `sh`: whether a folder is root's and nobody else may write to it. A link is none.
const FIT: &str =
    "fit() { set -- $(ls -ldn $1 2>/dev/null); case $1/$3 in d????-??-*/0) ;; *) false;; esac; };";

/// What the agent is run for, and as whom.
pub(super) struct Asked<'a> {
    pub(super) login: &'a Login,
    pub(super) arguments: &'a str,
    pub(super) input: &'a Input<'a>,
}

/// Agents for all architectures that we have one for.
pub(super) struct AgentFiles(Vec<AgentFile>);

struct AgentFile {
    /// As `uname -m` says it.
    machine: &'static str,
    /// Of the file there. Names another build differently, so that none is ever written over while it runs.
    name: String,
    bytes: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum AgentFileError {
    #[error("cannot read the agent {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{} is no program for 64-bit Linux on x86 or ARM: build the agent with `just agent`", path.display())]
    NoProgram { path: PathBuf },
}

impl AgentFiles {
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, AgentFileError> {
        paths.iter().map(|path| AgentFile::read(path)).collect::<Result<_, _>>().map(Self)
    }

    /// One visit: most often one round trip to a machine that has the agent.
    pub(super) async fn visit(
        &self,
        connection: &Connection,
        asked: &Asked<'_>,
        timeouts: &Timeouts,
        answer: &mut Output,
    ) -> Result<(), VisitError> {
        let Asked { login, arguments, input } = asked;
        let script = self.script(arguments);
        let visit = exec::run(connection, login, &script, input().into(), answer);
        within(Phase::Visit, timeouts.visit, visit).await?;
        if answer.code == Some(NOT_THERE) {
            let machine = String::from_utf8_lossy(&std::mem::take(answer).stdout).trim().to_owned();
            let agent = self.0.iter().find(|agent| agent.machine == machine);
            let agent = agent.ok_or(VisitError::Architecture { machine: fit_for_a_message(&machine) })?;
            within(Phase::Upload, timeouts.upload, agent.install(connection, login)).await?;
            let visit = exec::run(connection, login, &script, input().into(), answer);
            within(Phase::Visit, timeouts.visit, visit).await?;
        }
        match answer.code {
            Some(0) => Ok(()),
            code => Err(VisitError::AgentFailed { code, said: said(login, answer) }),
        }
    }

    /// Runs whichever of our agents is there.
    fn script(&self, arguments: &str) -> String {
        let names = self.0.iter().map(|agent| agent.name.as_str()).collect::<Vec<_>>().join(" ");
        let folders = FOLDERS.join(" ");
        format!(
            "{FIT} for d in {folders}; do if fit ${{d%/*}} && fit $d; then for a in {names}; do \
             [ -x $d/$a ] && exec $d/$a {arguments}; done; fi; done; uname -m; exit {NOT_THERE}"
        )
    }
}

impl AgentFile {
    fn read(path: &Path) -> Result<Self, AgentFileError> {
        let bytes =
            fs::read(path).map_err(|error| AgentFileError::Unreadable { path: path.to_owned(), error })?;
        let machine =
            architecture(&bytes).ok_or_else(|| AgentFileError::NoProgram { path: path.to_owned() })?;
        let digest = HEXLOWER.encode(&Sha256::digest(&bytes));
        Ok(Self { machine, name: format!("berth-agent-{}", &digest[..16]), bytes: bytes.into() })
    }

    async fn install(&self, connection: &Connection, login: &Login) -> Result<(), VisitError> {
        let mut output = Output::default();
        exec::run(connection, login, &self.install_script(), self.bytes.clone(), &mut output).await?;
        match output.code {
            Some(0) => Ok(()),
            Some(NO_FOLDER) => Err(VisitError::NoFolder { said: said(login, &output) }),
            _ => Err(VisitError::Upload { said: said(login, &output) }),
        }
    }

    /// An empty program shows whether a folder allows any. The name that is looked for appears when all of it is there
    /// and has run; then older ones go.
    fn install_script(&self) -> String {
        let (name, size, folders) = (&self.name, self.bytes.len(), FOLDERS.join(" "));
        format!(
            "{FIT} umask 022; t=; for d in {folders}; do mkdir -p $d; fit ${{d%/*}} && fit $d || continue; \
             t=$d/{name}.$$; true >$t && chmod 700 $t && $t && break; rm -f $t; t=; done; \
             [ -n \"$t\" ] || exit {NO_FOLDER}; \
             bad() {{ rm -f $t; echo $1 >&2; exit 1; }}; \
             cat >$t || bad \"cannot write $t\"; [ $(wc -c <$t) -eq {size} ] || bad \"$t was cut short\"; \
             chmod 755 $t; $t --version >/dev/null || bad \"$t does not run\"; \
             mv -f $t $d/{name} || bad \"cannot rename $t\"; \
             for o in $d/berth-agent-*; do [ $o = $d/{name} ] || rm -f $o; done"
        )
    }
}

/// What `uname -m` says where this program runs; from its ELF header.
fn architecture(program: &[u8]) -> Option<&'static str> {
    const ELF_64_BIT_LITTLE_ENDIAN: &[u8] = b"\x7fELF\x02\x01";
    let machine = program.get(18..20).filter(|_| program.starts_with(ELF_64_BIT_LITTLE_ENDIAN))?;
    match machine {
        [62, 0] => Some("x86_64"),
        [183, 0] => Some("aarch64"),
        _ => None,
    }
}

/// Somebody else's words.
fn fit_for_a_message(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_in_shells_hand_the_scripts_on() {
        let file = AgentFile { machine: "x86_64", name: "berth-agent-1".into(), bytes: Bytes::new() };
        let install = file.install_script();
        for script in [install, AgentFiles(vec![file]).script("once")] {
            assert!(!script.contains(['\'', '\\', '!', '\n']), "{script}");
        }
    }

    #[test]
    fn a_program_says_what_it_runs_on() {
        let program = |machine: [u8; 2]| [b"\x7fELF\x02\x01".as_slice(), &[0; 12], &machine].concat();
        assert_eq!(architecture(&program([62, 0])), Some("x86_64"));
        assert_eq!(architecture(&program([183, 0])), Some("aarch64"));
        assert_eq!(architecture(&program([40, 0])), None);
        assert_eq!(architecture(b"#!/bin/sh\n"), None);
        assert_eq!(architecture(b""), None);
    }
}
