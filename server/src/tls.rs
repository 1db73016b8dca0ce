//! Our certificate and its key, and what is read of certificates.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{Error, RootCertStore, ServerConfig};

/// What is agreed upon within the handshake, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Two PEM files: the certificate with those between it and its CA, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What every new connection is met with. May be read anew while it is in use.
pub struct Tls {
    files: Files,
    current: RwLock<Arc<ServerConfig>>,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read `{}`: {error}", file.display())]
    Unreadable { file: PathBuf, error: std::io::Error },
    #[error("`{}` holds no certificate in PEM: it begins with `-----BEGIN CERTIFICATE-----`", .0.display())]
    NoCertificate(PathBuf),
    #[error("`{}` holds no private key in PEM: it begins with `-----BEGIN PRIVATE KEY-----`", .0.display())]
    NoKey(PathBuf),
    #[error(
        "the key in `{}` is encrypted, and nobody is there to type its passphrase: decrypt it with \
         `openssl pkey -in FILE -out NEW`", .0.display()
    )]
    Encrypted(PathBuf),
    #[error("the key in `{}` is not that of the certificate in `{}`", key.display(), certificate.display())]
    Mismatch { key: PathBuf, certificate: PathBuf },
    #[error("the certificate in `{}` or its key cannot be used: {error}", file.display())]
    Unusable { file: PathBuf, error: Error },
}

impl Tls {
    pub fn load(files: Files) -> Result<Self, TlsError> {
        let current = RwLock::new(Arc::new(files.config()?));
        Ok(Self { files, current })
    }

    /// Connections that come from now on are met with what the files say now. What is wrong changes nothing.
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new(self.files.config()?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone().into()
    }

    /// Why clients will refuse the certificate that is in the file, as far as that can be seen from here.
    pub fn complaint(&self, now: jiff::Timestamp) -> Option<String> {
        let chain = self.files.chain().ok()?;
        let file = self.files.certificate.display();
        let why = complaint(chain, now)?;
        Some(format!("the certificate in `{file}` {why}; clients will refuse it until it is renewed"))
    }
}

/// Whatever else is in these files, the key stays out of logs.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.files).finish()
    }
}

impl Files {
    fn config(&self) -> Result<ServerConfig, TlsError> {
        let (chain, key) = (self.chain()?, self.key()?);
        let unusable = |error| TlsError::Unusable { file: self.certificate.clone(), error };
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let mut config = config.map_err(|error| match error {
            Error::InconsistentKeys(_) => {
                TlsError::Mismatch { key: self.key.clone(), certificate: self.certificate.clone() }
            }
            other => unusable(other),
        })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Ok(config)
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates(&read(&self.certificate)?)
            .ok_or_else(|| TlsError::NoCertificate(self.certificate.clone()))
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let pem = read(&self.key)?;
        PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
            let text = String::from_utf8_lossy(&pem);
            let is_encrypted =
                text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED");
            let error = if is_encrypted { TlsError::Encrypted } else { TlsError::NoKey };
            error(self.key.clone())
        })
    }
}

/// All of a PEM text's, of which there is at least one.
pub(crate) fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok()?;
    (!found.is_empty()).then_some(found)
}

/// Whether a PEM text can say whom to trust.
pub(crate) fn are_authorities(pem: &str) -> bool {
    let mut roots = RootCertStore::empty();
    certificates(pem.as_bytes()).is_some_and(|all| all.into_iter().all(|one| roots.add(one).is_ok()))
}

/// Asked as a client would, for any name and by any CA: this is judged before either.
fn complaint(chain: Vec<CertificateDer<'static>>, now: jiff::Timestamp) -> Option<&'static str> {
    let mut roots = RootCertStore::empty();
    roots.add(chain.last()?.clone()).ok()?;
    let client = WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build().ok()?;
    let (name, now) = (ServerName::try_from("localhost").ok()?, u64::try_from(now.as_second()).ok()?);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    match client.verify_server_cert(&chain[0], &chain[1..], &name, &[], now).err()? {
        Error::InvalidCertificate(Expired | ExpiredContext { .. }) => Some("has expired"),
        Error::InvalidCertificate(NotValidYet | NotValidYetContext { .. }) => Some("is not valid yet"),
        Error::InvalidCertificate(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            Some("is that of a CA, not of a server: make it with `basicConstraints=CA:FALSE`")
        }
        _ => None,
    }
}

/// Always this one: a default of the process could be set by any library.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(tokio_rustls::rustls::crypto::ring::default_provider())
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|error| TlsError::Unreadable { file: file.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd};
    use std::fs;

    /// A folder with `certificate.pem` and `key.pem`, valid from the beginning of 2026 to that of 2027.
    fn made() -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().unwrap();
        let files =
            Files { certificate: folder.path().join("certificate.pem"), key: folder.path().join("key.pem") };
        let mut params = CertificateParams::new(vec!["berth.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
        let key = KeyPair::generate().unwrap();
        fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        (folder, files)
    }

    fn refused(files: &Files) -> String {
        Tls::load(files.clone()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_with_the_files_is_said() {
        let (_folder, files) = made();
        Tls::load(files.clone()).unwrap();
        let missing = Files { key: "/nowhere/key.pem".into(), ..files.clone() };
        assert!(refused(&missing).contains("cannot read `/nowhere/key.pem`"), "{}", refused(&missing));
        let swapped = Files { certificate: files.key.clone(), key: files.certificate.clone() };
        assert!(refused(&swapped).contains("key.pem` holds no certificate"), "{}", refused(&swapped));
        let twice = Files { key: files.certificate.clone(), ..files.clone() };
        assert!(refused(&twice).contains("certificate.pem` holds no private key"), "{}", refused(&twice));
        for encrypted in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        ] {
            fs::write(&files.key, encrypted).unwrap();
            assert!(refused(&files).contains("openssl pkey"), "{}", refused(&files));
        }
        fs::write(&files.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(refused(&files).contains("is not that of the certificate"), "{}", refused(&files));
    }

    #[test]
    fn what_is_wrong_keeps_what_was_right() {
        let (_folder, files) = made();
        let tls = Tls::load(files.clone()).unwrap();
        let config = |tls: &Tls| Arc::as_ptr(&tls.current.read().unwrap());
        let first = config(&tls);
        fs::write(&files.certificate, "nonsense").unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::NoCertificate(_))));
        assert_eq!(config(&tls), first);
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec!["b.example".into()]).unwrap();
        fs::write(&files.certificate, cert.pem()).unwrap();
        fs::write(&files.key, signing_key.serialize_pem()).unwrap();
        tls.reload().unwrap();
        assert_ne!(config(&tls), first);
    }

    #[test]
    fn what_clients_will_refuse_is_said() {
        let (_folder, files) = made();
        let tls = Tls::load(files.clone()).unwrap();
        let at = |day: &str| tls.complaint(format!("{day}T12:00:00Z").parse().unwrap());
        assert_eq!(at("2026-06-01"), None);
        assert!(at("2027-06-01").unwrap().contains("has expired"));
        assert!(at("2025-06-01").unwrap().contains("is not valid yet"));
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["berth.example".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        assert!(at("2026-06-01").unwrap().contains("CA:FALSE"));
    }

    #[test]
    fn authorities_are_certificates() {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec!["ca".into()]).unwrap();
        assert!(are_authorities(&cert.pem()));
        assert!(are_authorities(&format!("# ours\n{0}{0}", cert.pem())));
        let cut = cert.pem().replace("MII", "MIJ");
        for wrong in ["", "nonsense", &signing_key.serialize_pem(), &cut] {
            assert!(!are_authorities(wrong), "{wrong}");
        }
    }
}
