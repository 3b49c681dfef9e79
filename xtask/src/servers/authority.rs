//! An authority that two programs of a test believe, and nobody else.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// It certifies a server and its administrator.
#[derive(Debug)]
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, both as PEM.
#[derive(Debug)]
pub(super) struct Certified {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, "nodespan's tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?);
        Ok(Self(issuer.context("making an authority")?))
    }

    /// Its own certificate, as PEM.
    pub(super) fn certificate(&self) -> String {
        self.0.pem()
    }

    /// For a server that is reached by these names and addresses.
    pub(super) fn server(&self, names: &[&str]) -> Result<Certified> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names)?;
        self.certify(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// For a user in a group, as Kubernetes reads them from a certificate.
    pub(super) fn user(&self, name: &str, group: &str) -> Result<Certified> {
        let mut params = CertificateParams::new(Vec::new())?;
        let subject = &mut params.distinguished_name;
        subject.push(DnType::CommonName, name);
        subject.push(DnType::OrganizationName, group);
        self.certify(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn certify(
        &self,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Certified> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0).context("certifying")?;
        Ok(Certified {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// A pair of keys in files: with the private one tokens are signed, with the
/// public one they are checked.
pub(super) fn token_keys(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let keys = KeyPair::generate()?;
    let (private, public) = (dir.join("tokens.key"), dir.join("tokens.pub"));
    write(&private, &keys.serialize_pem())?;
    write(&public, &keys.public_key_pem())?;
    Ok((private, public))
}

/// Writes what only this user may read.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let _earlier_run = fs::remove_file(path);
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))
}
