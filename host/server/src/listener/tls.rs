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
    /// Whether nobody is let in without a certificate of theirs: where there is no other way to know who comes.
    pub(super) needs_client: bool,
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
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            // A caller may have a token instead; one with a certificate has a good one.
            let verifier = if files.needs_client { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| wrong(path, error))?)
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
///
/// A URI has a scheme, and so a colon (RFC 3986, section 3), which no DNS name has: neither is ever taken for the other. What has none
/// is no URI, and could be a DNS name past an authority's name constraints, which bind those alone.
pub(crate) fn names(chain: Option<&[CertificateDer<'_>]>) -> Option<Vec<String>> {
    let leaf = chain?.first()?;
    let leaf = webpki::EndEntityCert::try_from(leaf).ok()?;
    let dns = leaf.valid_dns_names().filter(|name| !name.contains(':'));
    let names = dns.chain(leaf.valid_uri_names().filter(|name| name.contains(':'))).take(MAX_NAMES);
    Some(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, KeyPair, SanType};
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, ServerConnection};

    use super::*;

    #[test]
    fn a_uri_is_never_taken_for_a_dns_name_nor_the_other_way_round() {
        let text = |text: &str| Ia5String::try_from(text).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![
            SanType::URI(text("gateway.corp.example")),
            SanType::URI(text("spiffe://corp.example/gateway")),
            SanType::URI(text("urn:gateway")),
            SanType::DnsName(text("own.corp.example")),
        ];
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let chain = [certificate.der().clone()];
        let told = names(Some(&chain)).unwrap();
        assert_eq!(told, ["own.corp.example", "spiffe://corp.example/gateway", "urn:gateway"]);
    }

    #[test]
    fn where_the_certificate_alone_says_who_comes_nobody_comes_without() {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let (certificate_file, key) =
            (write("server.pem", certificate.pem()), write("server.key", key.serialize_pem()));
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Arc::new(client);
        let shakes_hands = |needs_client: bool| {
            let files = Files {
                certificate: certificate_file.clone(),
                key: key.clone(),
                client_ca: Some(certificate_file.clone()),
                needs_client,
            };
            let name = ServerName::try_from("localhost").unwrap();
            let mut client = ClientConnection::new(Arc::clone(&client), name).unwrap();
            let mut server = ServerConnection::new(files.read().unwrap().config).unwrap();
            let mut bytes = Vec::new();
            while client.is_handshaking() || server.is_handshaking() {
                bytes.clear();
                client.write_tls(&mut bytes).unwrap();
                server.read_tls(&mut bytes.as_slice()).unwrap();
                if server.process_new_packets().is_err() {
                    return false;
                }
                bytes.clear();
                server.write_tls(&mut bytes).unwrap();
                client.read_tls(&mut bytes.as_slice()).unwrap();
                if client.process_new_packets().is_err() {
                    return false;
                }
            }
            true
        };
        assert!(shakes_hands(false));
        assert!(!shakes_hands(true));
    }
}
