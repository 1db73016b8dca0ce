//! A CA of the test's own.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// In PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        // All have the same, as one does that was made anew: a name is no proof.
        params.distinguished_name.push(DnType::CommonName, "the test's own CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// The CA's own certificate and key, in the place of a server's.
    pub(crate) fn itself(&self) -> Issued {
        Issued { certificate: self.pem(), key: self.0.key().serialize_pem() }
    }

    pub(crate) fn file(&self, folder: &Path) -> PathBuf {
        let file = folder.join("ca.pem");
        fs::write(&file, self.pem()).unwrap();
        file
    }

    pub(crate) fn issue(&self, name: &str) -> Issued {
        self.issue_until(name, 4000)
    }

    /// For a name or an address, valid until the beginning of this year.
    pub(crate) fn issue_until(&self, name: &str, year: i32) -> Issued {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        Issued { certificate, key: key.serialize_pem() }
    }
}
