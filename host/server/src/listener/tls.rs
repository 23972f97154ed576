//! The certificate of a TLS listener, and the names in a client's.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use strongroom::{Failure, Kind};
use strongroom_core::Digest;
use zeroize::Zeroizing;

/// The largest PEM file, in bytes.
const MAX_PEM_BYTES: u64 = 1 << 20;

/// The names of one client certificate that are looked at.
const MAX_NAMES: usize = 64;

/// What a TLS listener needs.
pub(crate) struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    /// Of the file with the clients' authorities.
    pub(crate) client_ca: Option<Digest>,
}

/// Paths of a TLS listener.
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) client_ca: Option<PathBuf>,
}

fn wrong(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::InvalidConfig, "server.tls", format!("{} cannot be used: {why}", path.display()))
}

fn read(path: &Path, private: bool) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |error: std::io::Error| wrong(path, error);
    let file = fs::File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    let own = rustix::process::geteuid().as_raw();
    if about.uid() != own && about.uid() != 0 {
        return Err(wrong(path, "it belongs to somebody else"));
    }
    // A group may read a key, as Debian's `ssl-cert` does; nobody else may.
    let open = if private { 0o037 } else { 0o022 };
    if about.mode() & open != 0 {
        let help = if private { "chmod o-rwx,g-wx" } else { "chmod go-w" };
        return Err(wrong(path, "others may read or change it").help(format!("{help} {}", path.display())));
    }
    // Room at once: a vector that grows leaves copies of what it holds.
    let mut bytes =
        Zeroizing::new(Vec::with_capacity(usize::try_from(about.len().min(MAX_PEM_BYTES) + 1).unwrap_or(0)));
    file.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_PEM_BYTES {
        return Err(wrong(path, "it is larger than 1 MiB"));
    }
    Ok(bytes)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let bytes = read(path, false)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(wrong(path, "it holds no certificate")),
        Err(error) => Err(wrong(path, error)),
    }
}

impl Files {
    /// Reads them.
    ///
    /// # Errors
    /// `server.tls`: which file, and what is wrong with it.
    pub(super) fn read(&self) -> Result<Tls, Failure> {
        let client_ca = self.client_ca.as_deref().map(|path| read(path, false)).transpose()?;
        Ok(Tls { config: Arc::new(config(self)?), client_ca: client_ca.map(|bytes| Digest::of(&bytes)) })
    }
}

fn config(files: &Files) -> Result<ServerConfig, Failure> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&files.certificate, error))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| wrong(path, error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                // A caller may have a token instead; one with a certificate has a good one.
                .allow_unauthenticated()
                .build()
                .map_err(|error| wrong(path, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key, true)?)
        .map_err(|_| wrong(&files.key, "it holds no private key in PEM"))?;
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&files.key, format!("it does not fit the certificate: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The DNS and URI names of the certificate that a client showed; `None` if it showed none. It has been verified by
/// the handshake.
pub(crate) fn names(chain: Option<&[CertificateDer<'_>]>) -> Option<Vec<String>> {
    let leaf = chain?.first()?;
    let leaf = webpki::EndEntityCert::try_from(leaf).ok()?;
    let names = leaf.valid_dns_names().chain(leaf.valid_uri_names()).take(MAX_NAMES);
    Some(names.map(str::to_owned).collect())
}
