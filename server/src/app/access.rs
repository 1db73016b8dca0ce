//! The log-in of machines that are reached over SSH: checked and sealed at the door, shown without secrets.

use super::Refusal;
use crate::reach::ssh::{HostKey, KeyError, LONGEST_KEY, read_key};
use crate::reconcile::Visitor;
use crate::seal::{Credentials, Seal};
use crate::store::{HostKeyChange, NewAccess};
use model::adoption::{Adoption, AdoptionView};
use model::ssh::{AuthKind, AwaitedKey, Secret, Ssh, SshAccess, SshView};
use model::{Invalid, MachineName};

pub(super) const NO_VISITS: &str =
    "this server cannot visit machines over SSH: start it with `--agent-binary`, the agent to put there";

/// As long as a line of a terminal, and no line break: sudo and sshd read one line.
const LONGEST_PASSWORD: usize = 512;
const LONGEST_USER: usize = 32;

/// Parses what somebody asks for. Opening a private key takes long if it has a passphrase.
pub(super) async fn parse(
    access: SshAccess,
    host: &str,
    visitor: Option<&Visitor>,
) -> Result<NewAccess, Refusal> {
    let visitor = visitor.ok_or_else(|| Refusal::Conflict(NO_VISITS.to_owned()))?;
    // Behind a jump host the same address is another machine's.
    if access.jump.is_none() && visitor.ssh.forbids(host) {
        let why = "is link-local, multicast or where a cloud tells secrets: give another, or allow it by \
                   `--allow-link-local`";
        return Err(Invalid::unfit("host", why).into());
    }
    let seal = visitor.seal.clone();
    let parsed = tokio::task::spawn_blocking(move || checked(access, seal)).await;
    Ok(parsed.map_err(|error| Refusal::Internal(error.to_string()))??)
}

fn checked(access: SshAccess, seal: Seal) -> Result<NewAccess, Invalid> {
    let SshAccess { user, password, private_key, key_file, passphrase, sudo_password, host_key, jump } =
        access;
    let user = checked_user(user)?;
    checked_password("ssh.password", password.as_ref())?;
    checked_password("ssh.sudo_password", sudo_password.as_ref())?;
    let auth = match (&password, &private_key, &key_file) {
        (_, Some(_), Some(_)) => {
            return Err(Invalid::new("ssh.key_file", "give it or `private_key`, not both"));
        }
        (_, Some(key), None) => checked_key(key, passphrase.as_ref()).map(|()| AuthKind::PrivateKey)?,
        (_, None, Some(file)) => checked_key_file(file).map(|()| AuthKind::KeyFile)?,
        (Some(_), None, None) => AuthKind::Password,
        (None, None, None) => {
            return Err(Invalid::new("ssh", "give `password`, `private_key` or `key_file` to log in with"));
        }
    };
    if passphrase.is_some() && auth == AuthKind::Password {
        return Err(Invalid::new("ssh.passphrase", "belongs to a private key, and none is given"));
    }
    let host_key = host_key.as_deref().map(parse_host_key).transpose()?;
    let jump = jump.map(|name| name.parse::<MachineName>().map_err(|why| Invalid::new("ssh.jump", why)));
    let credentials = Credentials { password, private_key, passphrase, sudo_password };
    let sealed = Box::new(move |machine| seal.seal_credentials(machine, &credentials));
    Ok(NewAccess { user, auth, key_file, sealed, host_key, jump: jump.transpose()? })
}

fn checked_user(user: Option<String>) -> Result<String, Invalid> {
    let user = user.unwrap_or_else(|| "root".to_owned());
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"._-@\\".contains(&c);
    let fits =
        (1..=LONGEST_USER).contains(&user.len()) && user.bytes().all(allowed) && !user.starts_with('-');
    if fits { Ok(user) } else { Err(Invalid::new("ssh.user", "give the name of a Unix account")) }
}

fn checked_password(field: &'static str, password: Option<&Secret>) -> Result<(), Invalid> {
    let Some(password) = password.map(Secret::expose) else { return Ok(()) };
    if password.is_empty() || password.len() > LONGEST_PASSWORD || password.chars().any(char::is_control) {
        return Err(Invalid::new(field, "use 1 to 512 bytes, and no control characters"));
    }
    Ok(())
}

fn checked_key(key: &Secret, passphrase: Option<&Secret>) -> Result<(), Invalid> {
    if key.expose().len() > LONGEST_KEY {
        return Err(Invalid::new("ssh.private_key", "is far too long for one"));
    }
    read_key(key, passphrase).map(|_| ()).map_err(|error| match error {
        KeyError::PassphraseMissing | KeyError::PassphraseWrong => {
            Invalid::unfit("ssh.passphrase", error.to_string())
        }
        KeyError::NotAKey | KeyError::NotAHostKey => Invalid::unfit("ssh.private_key", error.to_string()),
    })
}

/// Whether it can be read is seen when it is.
fn checked_key_file(file: &str) -> Result<(), Invalid> {
    if file.starts_with('/') && file.len() < 4096 && !file.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Invalid::new(
        "ssh.key_file",
        "give an absolute path on the server's machine, or `private_key` itself",
    ))
}

/// A fingerprint, a public key's line, or `accept-new`.
fn parse_host_key(text: &str) -> Result<HostKeyChange, Invalid> {
    if text.split_ascii_whitespace().count() >= 2 {
        let key: HostKey =
            text.parse().map_err(|why: KeyError| Invalid::new("ssh.host_key", why.to_string()))?;
        return Ok(HostKeyChange::Pin { line: key.to_string(), fingerprint: key.fingerprint() });
    }
    let awaited = text.parse::<AwaitedKey>().map_err(|why| Invalid::new("ssh.host_key", why))?;
    Ok(HostKeyChange::Await(awaited))
}

/// What somebody's word about a host key comes to, given the one that the machine showed.
pub(super) fn confirmed(text: &str, ssh: Option<&Ssh>) -> Result<HostKeyChange, Refusal> {
    let Some(ssh) = ssh else {
        return Err(Refusal::Conflict(
            "its agent speaks for it: it has no SSH host key to confirm".to_owned(),
        ));
    };
    let change = parse_host_key(text).map_err(|invalid| Invalid::new("host_key", invalid.why))?;
    let offered = ssh.offered.as_deref().and_then(|line| Some((line, fingerprint(line)?)));
    match (change, offered) {
        (HostKeyChange::Await(AwaitedKey::New), Some((line, fingerprint))) => {
            Ok(HostKeyChange::Pin { line: line.to_owned(), fingerprint })
        }
        (HostKeyChange::Await(AwaitedKey::Fingerprint(said)), Some((line, fingerprint))) => {
            if said != fingerprint {
                return Err(Refusal::Conflict(format!(
                    "the machine shows {fingerprint}, not {said}: is somebody in between?"
                )));
            }
            Ok(HostKeyChange::Pin { line: line.to_owned(), fingerprint })
        }
        (change, _) => Ok(change),
    }
}

fn fingerprint(line: &str) -> Option<String> {
    line.parse::<HostKey>().ok().map(|key| key.fingerprint())
}

pub(super) fn view(ssh: Ssh) -> SshView {
    let shown = |line: Option<String>| line.as_deref().and_then(fingerprint);
    SshView {
        user: ssh.user,
        auth: match ssh.auth {
            AuthKind::Password => "password".to_owned(),
            AuthKind::PrivateKey | AuthKind::KeyFile => "key".to_owned(),
        },
        host_key: shown(ssh.host_key),
        offered_host_key: shown(ssh.offered),
        jump: ssh.jump,
        adoption: ssh.adoption.map(|Adoption { stage, server, error, .. }| AdoptionView {
            stage,
            server,
            error,
        }),
    }
}
