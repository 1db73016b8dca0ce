//! What went wrong with the engine, and what to do about it.

use crate::provider::ProvideError;
use bollard::errors::Error;
use std::io::ErrorKind;
use std::time::Duration;

/// Longer than any single request to a healthy engine takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Names the call in the error and bounds its time.
pub(super) async fn within<T>(what: &str, call: impl Future<Output = Result<T, Error>>) -> Result<T, Fault> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(answer) => answer.map_err(|error| Fault::new(what, error)),
        Err(_) => Err(Fault { what: what.to_owned(), error: None }),
    }
}

/// A call that did not succeed; without an error it was not answered in time.
#[derive(Debug)]
pub(super) struct Fault {
    what: String,
    error: Option<Error>,
}

impl Fault {
    pub(super) fn new(what: &str, error: Error) -> Self {
        Self { what: what.to_owned(), error: Some(error) }
    }

    pub(super) fn status(&self) -> Option<u16> {
        match self.error {
            Some(Error::DockerResponseServerError { status_code, .. }) => Some(status_code),
            _ => None,
        }
    }

    /// The engine found the host port in use when it was to publish it. It has no status of its own for that.
    pub(super) fn is_port_conflict(&self) -> bool {
        let text = self.cause();
        ["port is already allocated", "address already in use"].iter().any(|sign| text.contains(sign))
    }

    fn cause(&self) -> String {
        match &self.error {
            Some(Error::DockerResponseServerError { message, .. }) => message.trim().to_owned(),
            Some(Error::SocketNotFoundError(path)) => format!("there is no socket `{path}`"),
            Some(error) => innermost(error).to_string(),
            None => format!("no answer in {} s", PATIENCE.as_secs()),
        }
    }

    fn is_forbidden(&self) -> bool {
        let io = match &self.error {
            // Stands for its cause, so it is not in its own chain of causes.
            Some(Error::IOError { err }) => Some(err),
            Some(error) => innermost(error).downcast_ref(),
            None => None,
        };
        io.is_some_and(|io: &std::io::Error| io.kind() == ErrorKind::PermissionDenied)
    }
}

impl From<Fault> for ProvideError {
    fn from(fault: Fault) -> Self {
        let (what, cause) = (&fault.what, fault.cause());
        match fault.status() {
            None if fault.is_forbidden() => Self::Denied(format!(
                "{what}: the Docker engine's socket may not be opened: \
                 put the server's user into the group `docker`"
            )),
            None => Self::Transient(format!(
                "{what}: {cause}: see whether the Docker engine runs, or start it with `just setup`"
            )),
            Some(401 | 403) => Self::Denied(format!("{what}: the Docker engine refuses: {cause}")),
            // The container has gone or is going: somebody removes it while we work on it.
            Some(404 | 409) => Self::Transient(format!("{what}: {cause}: tried again by itself")),
            Some(status) if status < 500 => Self::Invalid(format!("{what}: {cause}")),
            Some(_) => Self::Transient(format!("{what}: {cause}: tried again by itself")),
        }
    }
}

fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status_code: u16, message: &str) -> Fault {
        let error = Error::DockerResponseServerError { status_code, message: message.to_owned() };
        Fault::new("starting `m1`", error)
    }

    #[test]
    fn a_status_says_what_there_is_to_do() {
        assert!(matches!(fault(400, "bad").into(), ProvideError::Invalid(_)));
        assert!(matches!(fault(403, "no").into(), ProvideError::Denied(_)));
        assert!(matches!(fault(409, "marked for removal").into(), ProvideError::Transient(_)));
        assert!(matches!(fault(500, "oops").into(), ProvideError::Transient(_)));
        let silent = Fault { what: "listing".to_owned(), error: None };
        assert_eq!(
            ProvideError::from(silent).to_string(),
            "listing: no answer in 30 s: see whether the Docker engine runs, or start it with `just setup`"
        );
    }

    #[test]
    fn a_closed_socket_is_a_matter_of_rights() {
        let io = std::io::Error::from(ErrorKind::PermissionDenied);
        let closed = Fault::new("listing", Error::IOError { err: io });
        assert!(matches!(closed.into(), ProvideError::Denied(_)));
    }

    #[test]
    fn a_port_in_use_is_told_by_the_text() {
        assert!(fault(500, "Bind for 127.0.0.1:2221 failed: port is already allocated").is_port_conflict());
        assert!(fault(500, "listen tcp4 127.0.0.1:2221: bind: address already in use").is_port_conflict());
        assert!(!fault(500, "no space left on device").is_port_conflict());
    }
}
