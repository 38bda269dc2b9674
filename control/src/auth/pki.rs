//! The cluster's certificate authority and what it signs.
//!
//! The CA is made at the first start and kept in `pki/` of the data folder (or only in memory);
//! everything else is signed anew at each start, so that a changed address or an expiry needs no
//! care. Keys are ECDSA P-256.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

const CA_LIFE: Duration = Duration::days(3650);
const LEAF_LIFE: Duration = Duration::days(365);
/// Clocks differ: a certificate is valid a little before it was made.
const CLOCK_SKEW: Duration = Duration::minutes(5);

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error(
        "cannot use {path} for the cluster's certificates: {source}; choose a writable --data-dir"
    )]
    File { path: PathBuf, source: io::Error },
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error(
        "{path} does not hold a certificate authority; restore it, or remove the folder to make a new one"
    )]
    Unreadable { path: PathBuf },
    #[error(
        "{path} does not hold the key of the service accounts' tokens; restore it, or remove it to make a new one"
    )]
    Key { path: PathBuf },
}

/// A certificate with its key, as PEM and as TLS wants them.
pub struct Credential {
    pub certificate_pem: String,
    pub key_pem: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Credential {
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }
}

/// The certificate authority of the cluster.
pub struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new CA that is kept nowhere.
    pub fn in_memory() -> Result<Self, PkiError> {
        let (pem, key) = make_ca()?;
        Self::assemble(&pem, key)
    }

    /// The CA of this data folder, made now if there is none.
    pub fn in_folder(data_dir: &Path) -> Result<Self, PkiError> {
        let folder = data_dir.join("pki");
        let (certificate, key) = (folder.join("ca.crt"), folder.join("ca.key"));
        if certificate.exists() && key.exists() {
            let unreadable = || PkiError::Unreadable { path: folder.clone() };
            let pair = KeyPair::from_pem(&read(&key)?).map_err(|_| unreadable())?;
            return Self::assemble(&read(&certificate)?, pair).map_err(|_| unreadable());
        }
        let (pem, pair) = make_ca()?;
        create_private_folder(&folder)?;
        // The key first: a certificate without its key would look like a damaged folder.
        write_private(&key, &pair.serialize_pem())?;
        write_private(&certificate, &pem)?;
        Self::assemble(&pem, pair)
    }

    fn assemble(pem: &str, key: KeyPair) -> Result<Self, PkiError> {
        let der = rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes())
            .map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        let issuer = Issuer::from_ca_cert_pem(pem, key)?;
        Ok(Self { pem: pem.to_owned(), der, issuer })
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// A certificate that clients show: the common name is the user, the organisations its groups.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<Credential, PkiError> {
        let mut params = leaf(user, ExtendedKeyUsagePurpose::ClientAuth);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        self.sign(&params)
    }

    /// A certificate for a server that is reached under these names and addresses.
    pub fn server(
        &self,
        name: &str,
        names: &[String],
        addresses: &[IpAddr],
    ) -> Result<Credential, PkiError> {
        let mut params = leaf(name, ExtendedKeyUsagePurpose::ServerAuth);
        let alternatives: Vec<String> =
            names.iter().cloned().chain(addresses.iter().map(ToString::to_string)).collect();
        params.subject_alt_names = CertificateParams::new(alternatives)?.subject_alt_names;
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Result<Credential, PkiError> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Credential {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
        })
    }
}

fn make_ca() -> Result<(String, KeyPair), PkiError> {
    let mut params = named("copepod-ca", CA_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key))
}

fn leaf(name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = named(name, LEAF_LIFE);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

fn named(name: &str, life: Duration) -> CertificateParams {
    // Certificates live on the machine's time, not the cluster's: their readers do so too.
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + life;
    params
}

pub(super) fn read(path: &Path) -> Result<String, PkiError> {
    std::fs::read_to_string(path).map_err(|source| PkiError::File { path: path.into(), source })
}

pub(super) fn create_private_folder(path: &Path) -> Result<(), PkiError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|source| PkiError::File { path: path.into(), source })
}

/// Writes beside, syncs and renames, so that a crash leaves the old file or the new one.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), PkiError> {
    let write = || -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&beside)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|source| PkiError::File { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{MASTERS, UserInfo, user_of_certificate};

    #[test]
    fn a_second_start_finds_the_same_authority_with_a_private_key_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Authority::in_folder(folder.path()).expect("made");
        let second = Authority::in_folder(folder.path()).expect("read");
        assert_eq!(first.pem(), second.pem());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let key = folder.path().join("pki/ca.key");
            let mode = std::fs::metadata(key).expect("the key file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_client_certificate_names_its_user_and_groups() {
        let authority = Authority::in_memory().expect("made");
        let credential = authority.client("kubernetes-admin", &[MASTERS]).expect("signed");
        let user = user_of_certificate(&credential.chain()[0]);
        assert_eq!(user, Some(UserInfo::authenticated("kubernetes-admin", &[MASTERS])));
    }

    #[test]
    fn a_damaged_folder_is_refused_with_its_path() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("pki")).expect("made");
        for file in ["ca.crt", "ca.key"] {
            std::fs::write(folder.path().join("pki").join(file), "junk").expect("written");
        }
        let error = Authority::in_folder(folder.path()).err().expect("refused");
        assert!(error.to_string().contains("pki"), "{error}");
    }
}
