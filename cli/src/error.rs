//! Why a call failed, by what the caller can do about it.

use model::wire::Problem;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server understood and refused: ask differently.
    #[error("{}", worded(.0))]
    Problem(Problem),
    /// Nobody answered. `why` ends with the remedy.
    #[error("no answer from {url}: {why}")]
    Unreachable { url: String, why: String },
    /// An answer that is none of Berth's: a proxy's, or another version's.
    #[error("{0}")]
    Odd(String),
}

fn worded(problem: &Problem) -> String {
    let field = problem.field.as_ref().map(|field| format!("`{field}`: ")).unwrap_or_default();
    let said = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
    format!("{field}{said} ({})", problem.status)
}

impl Error {
    /// The status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            Self::Unreachable { .. } | Self::Odd(_) => None,
        }
    }

    pub(crate) fn exposed(url: &str) -> Self {
        Self::Odd(format!(
            "`{url}` is not this computer, and over plain HTTP anybody on the way could read what is secret: use \
             `https://`, or an SSH tunnel to the server's own computer"
        ))
    }

    pub(crate) fn unreachable(url: &str, error: &reqwest::Error) -> Self {
        let cause = root_cause(error);
        let why = if let Some(remedy) = tls_remedy(&cause) {
            format!("{cause}; {remedy}")
        } else if error.is_connect() {
            format!("{cause}; is the server running? start it with `just run-detached`")
        } else if error.is_timeout() {
            "it took too long; look at what became of it with `berth status`".to_owned()
        } else {
            format!("{cause}; did the server stop? start it with `just run-detached`")
        };
        Self::Unreachable { url: url.to_owned(), why }
    }

    /// What a body with an error status says, be it a problem document or not.
    pub(crate) fn refused(status: u16, text: &str) -> Self {
        match serde_json::from_str(text) {
            Ok(problem) => Self::Problem(problem),
            Err(_) => Self::Odd(format!("status {status}: {}", shown(text))),
        }
    }
}

/// reqwest's own words repeat the address; the innermost source says what went wrong.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Of what rustls says. Nothing was sent in any of these cases.
fn tls_remedy(cause: &str) -> Option<&'static str> {
    let is = |word: &str| cause.contains(word);
    if is("InvalidContentType") || is("corrupt message") {
        return Some("nobody speaks TLS there; does the server want `http://`?");
    }
    if !is("invalid peer certificate") {
        return None;
    }
    Some(if is("not valid for name") {
        "use a name of the server that its certificate has"
    } else if is("expired") || is("not valid yet") {
        "it has to be renewed, or this computer's clock is wrong"
    } else if is("CaUsedAsEndEntity") {
        "it is that of a CA: give the server one with `basicConstraints=CA:FALSE`"
    } else {
        // There are many words for this: another CA may have the same name.
        "nobody this computer trusts has signed it; if it is right, give its CA with `--ca-file`"
    })
}

fn shown(text: &str) -> String {
    text.chars().take(300).flat_map(char::escape_debug).collect()
}
