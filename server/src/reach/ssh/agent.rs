//! The agent on the other machine: found by what it is, put there if it is not, asked once.

use super::connection::{Connection, within};
use super::exec::{self, Output, VISIT, said};
use super::{Input, Login, Phase, Timeouts, VisitError};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where it may lie, best first.
pub(super) const FOLDERS: [&str; 3] = ["/var/lib/berth/bin", "/usr/local/lib/berth", "/opt/berth"];

/// Exit codes of our script that no agent has.
const NOT_THERE: u32 = 97;
const NO_FOLDER: u32 = 98;

/// What the agent is run for, and as whom.
pub(super) struct Asked<'a> {
    pub(super) login: &'a Login,
    pub(super) arguments: &'a str,
    pub(super) input: &'a Input<'a>,
}

/// Whether the agent is believed to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belief {
    /// It gets its input with the command, which saves the way there and back.
    There,
    /// The script says what it needs.
    Unknown,
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
        belief: Belief,
        timeouts: &Timeouts,
        answer: &mut Output,
    ) -> Result<(), VisitError> {
        let mut failed = self.run(connection, asked, belief, timeouts, answer).await?;
        if failed == Some(Phase::Visit) && belief == Belief::There && answer.code == Some(NOT_THERE) {
            *answer = Output::default();
            failed = self.run(connection, asked, Belief::Unknown, timeouts, answer).await?;
        }
        let said = || said(asked.login, answer);
        match (failed, answer.code) {
            (None, _) => Ok(()),
            (Some(_), Some(NO_FOLDER)) => Err(VisitError::NoFolder { said: said() }),
            (Some(Phase::Upload), _) => Err(VisitError::Upload { said: said() }),
            (Some(_), code) => Err(VisitError::AgentFailed { code, said: said() }),
        }
    }

    /// Returns the phase in which it failed, if it did.
    async fn run(
        &self,
        connection: &Connection,
        asked: &Asked<'_>,
        belief: Belief,
        timeouts: &Timeouts,
        answer: &mut Output,
    ) -> Result<Option<Phase>, VisitError> {
        let (mut phase, mut limit) = (Phase::Visit, timeouts.visit);
        let script = self.script(asked.arguments, belief);
        let mut running = within(phase, limit, exec::start(connection, asked.login, &script)).await?;
        if belief == Belief::There {
            running.give_last((asked.input)().into());
        }
        while let Some(wanted) = within(phase, limit, running.hear(phase, answer)).await? {
            if wanted != VISIT {
                (phase, limit) = (Phase::Upload, timeouts.upload);
                running.give(self.agent_for(&wanted)?);
            } else if belief == Belief::Unknown {
                (phase, limit) = (Phase::Visit, timeouts.visit);
                running.give_last((asked.input)().into());
            }
        }
        Ok((answer.code != Some(0)).then_some(phase))
    }

    fn agent_for(&self, machine: &str) -> Result<Bytes, VisitError> {
        let agent = self.0.iter().find(|agent| agent.machine == machine);
        let agent = agent.ok_or(VisitError::Architecture { machine: fit_for_a_message(machine) })?;
        Ok(agent.bytes.clone())
    }

    /// Runs whichever of our agents is there, and puts one there if none is.
    ///
    /// An empty program shows whether a folder allows any. The name that is looked for appears when all of it is there
    /// and has run; then older ones go.
    fn script(&self, arguments: &str, belief: Belief) -> String {
        let names = self.0.iter().map(|agent| agent.name.as_str()).collect::<Vec<_>>().join(" ");
        let folders = FOLDERS.join(" ");
        let look = look();
        let look = format!(
            "{look} look; \
             for d in {folders}; do if fits $d; then for a in {names}; do \
             [ -x $d/$a ] && echo $n {VISIT} && exec $d/$a {arguments}; done; fi; done;"
        );
        if belief == Belief::There {
            return format!("{look} exit {NOT_THERE}");
        }
        let agents = self.0.iter().map(AgentFile::case).collect::<String>();
        format!(
            "{look} m=$(uname -m); case $m in {agents} *) echo $n $m; exit {NOT_THERE}; esac; \
             umask 022; t=; for d in {folders}; do fits $d || {{ mkdir -p $d; look; fits $d; }} || continue; \
             t=$d/$a.$$; true >$t && chmod 755 $t && $t && break; rm -f $t; t=; done; \
             [ -n \"$t\" ] || exit {NO_FOLDER}; echo $n $m; \
             bad() {{ rm -f $t; echo $1 >&2; exit 1; }}; \
             head -c $s >$t || bad \"cannot write $t\"; [ $(wc -c <$t) -eq $s ] || bad \"$t was cut short\"; \
             $t --version >/dev/null || bad \"$t does not run\"; mv -f $t $d/$a || bad \"cannot rename $t\"; \
             for o in $d/berth-agent-*; do [ $o = $d/$a ] || rm -f $o; done; \
             echo $n {VISIT}; exec $d/$a {arguments}"
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

    /// In the script: what to wait for on such a machine.
    fn case(&self) -> String {
        let Self { machine, name, bytes } = self;
        format!("{machine}) a={name} s={};; ", bytes.len())
    }
}

/// In `sh`: which folders are root's, with nobody else who may write to them or to those that they lie in. A link is
/// none. One program looks at all, because to start one costs a machine more than all that it does.
fn look() -> String {
    let parent = |folder: &str| folder.rsplit_once('/').map(|(parent, _)| parent.to_owned());
    let all = FOLDERS.map(|folder| format!("{} {folder}", parent(folder).unwrap_or_default())).join(" ");
    format!(
        "look() {{ fit=; for w in $(ls -ldn {all} 2>/dev/null); do \
         case $w in [dl-]?????????*) p=$w i=0; esac; i=$((i+1)); [ $i = 3 ] && u=$w; \
         case $p/$u/$w in d????-??-*/0//*) fit=\"$fit $w \"; esac; done; }}; \
         fits() {{ case $fit in *\" ${{1%/*}} \"*\" $1 \"*) ;; *) false; esac; }};"
    )
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
        let files = AgentFiles(vec![file]);
        for belief in [Belief::There, Belief::Unknown] {
            let script = files.script("once", belief);
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
