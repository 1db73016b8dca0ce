//! How the agent knows its server: by a CA that was pinned, or else by those that its machine trusts.

use playbooks::real::{private_folder, write_atomically};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error, RootCertStore};

#[derive(Debug, Clone)]
pub enum Trust {
    /// Looked at anew for each connection: somebody may put right what is missing.
    Machine,
    Pinned(Arc<ClientConfig>),
}

/// The CA that was pinned, where one was.
pub fn file(state: &Path) -> PathBuf {
    state.join("ca.pem")
}

impl Trust {
    pub fn of(state: &Path) -> io::Result<Self> {
        match fs::read(file(state)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Machine),
            pem => Self::pinned(&pem?).map_err(|error| named(&file(state), &error)),
        }
    }

    /// Keeps a CA, in the place of any other.
    pub fn pin(state: &Path, ca_file: &Path) -> io::Result<Self> {
        let pem = fs::read(ca_file).map_err(|error| named(ca_file, &error))?;
        let trust = Self::pinned(&pem).map_err(|error| named(ca_file, &error))?;
        private_folder(state)?;
        write_atomically(&file(state), 0o600, &pem)?;
        Ok(trust)
    }

    pub fn pinned(pem: &[u8]) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(odd)?).map_err(odd)?;
        }
        if roots.is_empty() {
            return Err(odd("no certificate in PEM: it begins with `-----BEGIN CERTIFICATE-----`"));
        }
        Ok(Self::Pinned(config(roots)?))
    }

    /// Says nothing before the server has shown to be this host. The error says what to do.
    pub(crate) async fn connect(
        &self,
        host: &str,
        socket: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let config = match self {
            Self::Pinned(config) => config.clone(),
            Self::Machine => machine_roots().map_err(|error| error.to_string())?,
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        TlsConnector::from(config).connect(name, socket).await.map_err(|error| reason(&error))
    }
}

fn machine_roots() -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(odd(
            "this machine trusts no CA: install its package `ca-certificates`, or pin the server's CA with `--ca-file`",
        ));
    }
    config(roots)
}

/// Nothing older than TLS 1.3: the server is one of ours, or a proxy before it.
fn config(roots: RootCertStore) -> io::Result<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(odd)?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What went wrong, and what to do about it.
fn reason(error: &io::Error) -> String {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
    };
    let remedy = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
            "dial the server by a name that its certificate has"
        }
        Some(Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
        )) => "renew it, or set this machine's clock right",
        Some(Error::InvalidCertificate(why)) if format!("{why:?}").contains("CaUsedAsEndEntity") => {
            "it is that of a CA: give the server one with `basicConstraints=CA:FALSE`"
        }
        // There are many words for this: another CA may have the same name.
        Some(Error::InvalidCertificate(_)) => {
            "nobody this agent trusts has signed it; if it is right, pin its CA with `--ca-file`"
        }
        Some(Error::InvalidMessage(_)) => "does the server speak TLS there?",
        _ => return error.to_string(),
    };
    format!("{error}: {remedy}")
}

fn odd(why: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

fn named(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}
