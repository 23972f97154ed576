//! Whose certificates are trusted: the operating system's roots, and an operator's own for the hosts
//! they are given for.
//!
//! Roots are read from a fixed list of files and never from where the environment points
//! (`SSL_CERT_FILE` and its like): whoever sets a variable would otherwise read every secret.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use strongroom_core::{Digest, HostPattern};
use tokio::sync::OnceCell;

use super::SendError;

/// Where operating systems keep their roots, in one file each. The first that can be read counts.
pub const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Arch, Alpine, Gentoo
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL and its kin
    "/etc/pki/tls/certs/ca-bundle.crt",   // the same, older
    "/var/lib/ca-certificates/ca-bundle.pem", // SUSE
    "/etc/ssl/ca-bundle.pem",             // the same, older
    "/etc/ssl/cert.pem",                  // macOS, the BSDs
];

/// The most certificates of one operator's CA file.
pub const MAX_CERTIFICATES: usize = 64;

/// The most TLS configs that are kept. There is one for each set of CAs, so a config file makes few.
const MAX_CONFIGS: usize = 64;

/// An operator's own certificate authorities, and the hosts they count for.
#[derive(Clone)]
pub struct OperatorCa {
    certificates: Vec<CertificateDer<'static>>,
    digest: Digest,
    hosts: Vec<HostPattern>,
}

/// Why a file is no CA file. The message never repeats the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCa {
    /// Not PEM, or damaged.
    #[error("a CA file holds certificates in PEM (-----BEGIN CERTIFICATE-----)")]
    Pem,
    /// None, or too many.
    #[error("a CA file holds 1 to 64 certificates")]
    Count,
    /// Something in PEM that is no X.509 certificate.
    #[error("a CA file holds X.509 certificates, and one of these is none")]
    Certificate,
}

/// The CAs that a mount's config gives. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Cas(Arc<[OperatorCa]>);

/// Which operator's CAs count for a connection: the digest of them, or nothing for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CaSet(Option<Digest>);

impl CaSet {
    /// None of them.
    pub(super) const NONE: Self = Self(None);
}

impl OperatorCa {
    /// Reads the CAs of a PEM file, which count for `hosts` only. A host's pattern needs the port
    /// where it is not 443.
    ///
    /// # Errors
    /// [`InvalidCa`]: one bad certificate spoils the file.
    pub fn new(pem: &[u8], hosts: Vec<HostPattern>) -> Result<Self, InvalidCa> {
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
            .take(MAX_CERTIFICATES + 1)
            .collect::<Result<_, _>>()
            .map_err(|_| InvalidCa::Pem)?;
        if certificates.is_empty() || certificates.len() > MAX_CERTIFICATES {
            return Err(InvalidCa::Count);
        }
        let mut store = RootCertStore::empty();
        let mut digests = Vec::with_capacity(certificates.len() * 32);
        for certificate in &certificates {
            store.add(certificate.clone()).map_err(|_| InvalidCa::Certificate)?;
            digests.extend_from_slice(Digest::of(certificate).as_bytes());
        }
        Ok(Self { certificates, digest: Digest::of(&digests), hosts })
    }
}

impl fmt::Debug for OperatorCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorCa({} certificates for {:?})", self.certificates.len(), self.hosts)
    }
}

impl Cas {
    /// These, each for its own hosts.
    pub fn new(cas: Vec<OperatorCa>) -> Self {
        Self(cas.into())
    }

    /// Those that count for `authority`, a host with its port where that is not 443.
    fn of<'a>(&'a self, authority: &'a str) -> impl Iterator<Item = &'a OperatorCa> {
        self.0.iter().filter(move |ca| ca.hosts.iter().any(|host| host.matches(authority)))
    }

    /// Which of them count for `authority`.
    pub(super) fn set(&self, authority: &str) -> CaSet {
        let mut all: Vec<[u8; 32]> = self.of(authority).map(|ca| *ca.digest.as_bytes()).collect();
        all.sort_unstable();
        all.dedup();
        CaSet((!all.is_empty()).then(|| Digest::of(all.as_flattened())))
    }
}

/// TLS configs, made when they are first needed: reading the roots costs milliseconds, which a
/// process that makes no TLS connection does not pay.
pub(super) struct Roots {
    bundles: Vec<PathBuf>,
    system: OnceCell<RootCertStore>,
    configs: Mutex<HashMap<(CaSet, bool), Arc<ClientConfig>>>,
}

impl Roots {
    /// Of the first of these files that can be read and holds a certificate.
    pub(super) fn new(bundles: Vec<PathBuf>) -> Self {
        Self { bundles, system: OnceCell::new(), configs: Mutex::default() }
    }

    /// The config for connections to `authority`, whose CAs are `set`.
    ///
    /// # Errors
    /// [`SendError::NoRoots`].
    pub(super) async fn config(
        &self,
        cas: &Cas,
        authority: &str,
        set: CaSet,
        http2: bool,
    ) -> Result<Arc<ClientConfig>, SendError> {
        let key = (set, http2);
        if let Some(config) = self.configs.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(config.clone());
        }
        let mut roots = self.system.get_or_init(|| self.read()).await.clone();
        for certificate in cas.of(authority).flat_map(|ca| &ca.certificates) {
            // Each was added once before, when the file was read.
            roots.add(certificate.clone()).map_err(|_| SendError::NoRoots)?;
        }
        if roots.is_empty() {
            return Err(SendError::NoRoots);
        }
        let config = Arc::new(config(roots, http2)?);
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if configs.len() >= MAX_CONFIGS {
            configs.clear();
        }
        configs.insert(key, config.clone());
        Ok(config)
    }

    async fn read(&self) -> RootCertStore {
        let bundles = self.bundles.clone();
        let read = tokio::task::spawn_blocking(move || bundles.iter().find_map(|path| read_bundle(path)));
        read.await.ok().flatten().unwrap_or_else(RootCertStore::empty)
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("bundles", &self.bundles).finish_non_exhaustive()
    }
}

/// The system's bundles hold certificates that this library cannot use; those are passed over.
fn read_bundle(path: &Path) -> Option<RootCertStore> {
    let pem = std::fs::read(path).ok()?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    (!roots.is_empty()).then_some(roots)
}

fn config(roots: RootCertStore, http2: bool) -> Result<ClientConfig, SendError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| SendError::Request("this TLS library offers no version that is allowed"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A ticket would tie connections of different plugins together in the server's eyes.
    config.resumption = Resumption::disabled();
    let http1 = b"http/1.1".to_vec();
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), http1] } else { vec![http1] };
    Ok(config)
}
