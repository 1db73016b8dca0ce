//! Why a visit came to nothing: one case for each thing that somebody can do about it.

use super::HostKey;
use model::MachineId;
use std::fmt;
use std::net::IpAddr;

#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    #[error("`{host}` does not resolve ({reason}): correct the machine's host, or DNS")]
    NoSuchName { host: String, reason: String },
    #[error("`{host}` is {address}, which is link-local, multicast or a cloud's metadata: give another host")]
    Forbidden { host: String, address: IpAddr },
    #[error(
        "nothing answers at `{host}` port {port} ({reason}): see that the machine is up and sshd listens there"
    )]
    Unreachable { host: String, port: u16, reason: String },
    #[error(
        "the jump host does not forward to `{host}` port {port}: set `AllowTcpForwarding yes` in its sshd_config"
    )]
    NotForwarded { host: String, port: u16 },
    #[error("{phase} took too long: see how busy the machine is, and what is between it and this server")]
    TimedOut { phase: Phase },
    #[error(
        "`{host}` port {port} does not speak SSH with us ({reason}): correct the port, or update its sshd"
    )]
    NoHandshake { host: String, port: u16, reason: String },
    #[error(
        "the host key changed from {} to {}: confirm the new one if the machine was made anew, else somebody is \
         in between; nothing secret was sent",
        pinned.fingerprint(), seen.fingerprint()
    )]
    HostKeyChanged { pinned: HostKey, seen: HostKey },
    #[error(
        "log-in as `{user}` was refused, the host offers {}: correct user, password or key",
        list(offered)
    )]
    LogInRefused { user: String, offered: Vec<String> },
    #[error("`{user}` does not become root: {refusal}")]
    Sudo { user: String, refusal: SudoRefusal },
    #[error("no agent for `{machine}` (says `uname -m`): give the server one that is built for it")]
    Architecture { machine: String },
    #[error(
        "no folder for the agent ({said}): one of {} has to be writable by root alone, and not `noexec`",
        super::agent::FOLDERS.join(", ")
    )]
    NoFolder { said: String },
    #[error("the agent could not be put there ({said}): see the machine's disk")]
    Upload { said: String },
    #[error("the agent failed with {}: {said}", code.map_or("no exit code".to_owned(), |code| format!("exit code {code}")))]
    AgentFailed { code: Option<u32>, said: String },
    #[error("the answer is longer than {} MiB: look at what answers on the machine", super::exec::MOST_STDOUT >> 20)]
    AnswerTooLong,
    #[error("the connection broke during {phase} ({reason}): it is tried again at the next visit")]
    Broken { phase: Phase, reason: String },
    #[error("at the jump host: {error}")]
    AtJump { machine: MachineId, error: Box<VisitError> },
}

impl VisitError {
    /// The machine itself has another host key than is pinned. What is wrong with a jump host is its own affair.
    pub fn is_host_key(&self) -> bool {
        matches!(self, Self::HostKeyChanged { .. })
    }

    pub(super) fn broken(phase: Phase) -> impl Fn(russh::Error) -> Self {
        move |error| Self::Broken { phase, reason: error.to_string() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Connect,
    Handshake,
    LogIn,
    Upload,
    Visit,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Handshake => "the handshake",
            Self::LogIn => "the log-in",
            Self::Upload => "the upload of the agent",
            Self::Visit => "the visit",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SudoRefusal {
    #[error("`sudo` wants a password: give `sudo_password`, or allow NOPASSWD")]
    NeedsPassword,
    #[error("`sudo` refused the password: correct `sudo_password`")]
    WrongPassword,
    #[error("`sudo` does not allow it: add the user to sudoers")]
    NotAllowed,
    #[error("there is no `sudo`: install it, or log in as root")]
    Missing,
    #[error("`sudo` failed ({0}): try it by hand on the machine")]
    Other(String),
}

/// What a host that is asked for nothing more offers.
fn list(offered: &[String]) -> String {
    if offered.is_empty() { "nothing more".to_owned() } else { offered.join(", ") }
}
