//! The certificates of vaults, for one run: an authority that is made for it, whose key is in memory alone, and which is
//! good for vaults' names only (RFC 5280, section 4.2.1.10).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ServerConfig;
use strongroom::{Failure, Kind};

/// What vaults' names end in: the clouds'.
pub(super) const SUFFIXES: [&str; 3] = ["vault.azure.net", "vault.azure.cn", "vault.usgovcloudapi.net"];

/// The most vaults whose certificates are kept.
const MAX_VAULTS: usize = 64;

/// Whether a lower-case host is a vault's name (protocols, section 8.1): one label below a cloud's suffix.
pub(super) fn is_vault(host: &str) -> bool {
    let label = SUFFIXES.iter().find_map(|suffix| host.strip_suffix(suffix)?.strip_suffix('.'));
    label.is_some_and(|label| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

/// The authority of one run.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    vaults: Mutex<HashMap<Box<str>, Arc<ServerConfig>>>,
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::Internal, "run.as-azure-certificate", format!("a certificate cannot be made: {error}"))
}

impl Authority {
    pub(super) fn new() -> Result<Self, Failure> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Strongroom, for one run");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: SUFFIXES.map(|suffix| GeneralSubtree::DnsName(suffix.to_owned())).into(),
            excluded_subtrees: Vec::new(),
        });
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().map_err(failed)?).map_err(failed)?;
        Ok(Self { issuer, vaults: Mutex::default() })
    }

    /// Its certificate, PEM.
    pub(super) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// TLS as the vault `host`.
    ///
    /// # Errors
    /// If no certificate can be made.
    pub(super) fn vault(&self, host: &str) -> Result<Arc<ServerConfig>, Failure> {
        let mut vaults = self.vaults.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = vaults.get(host) {
            return Ok(Arc::clone(known));
        }
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new([host.to_owned()]).map_err(failed)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let chain = vec![CertificateDer::from(leaf), self.issuer.der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(failed)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        if vaults.len() >= MAX_VAULTS {
            vaults.clear();
        }
        vaults.insert(host.into(), Arc::clone(&config));
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vaults_are_one_label_below_a_cloud() {
        for (host, vault) in [
            ("v.vault.azure.net", true),
            ("my-vault.vault.azure.cn", true),
            ("a.vault.usgovcloudapi.net", true),
            ("vault.azure.net", false),
            (".vault.azure.net", false),
            ("a.b.vault.azure.net", false),
            ("v.vault.azure.net.evil.example", false),
            ("evilvault.azure.net", false),
            ("v_vault.azure.net", false),
            ("*.vault.azure.net", false),
            ("login.microsoftonline.com", false),
        ] {
            assert_eq!(is_vault(host), vault, "{host}");
        }
    }

    /// A client that trusts the authority trusts it for vaults, and for nothing else that it might sign.
    #[test]
    fn it_vouches_for_vaults_alone() {
        let authority = Authority::new().unwrap();
        let verifies = |host: &str| {
            let key = KeyPair::generate().unwrap();
            let leaf = CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &authority.issuer).unwrap();
            let mut roots = rustls::RootCertStore::empty();
            roots.add(authority.issuer.der().clone()).unwrap();
            let leaf = webpki::EndEntityCert::try_from(leaf.der()).unwrap();
            let provider = ring::default_provider();
            let now = rustls::pki_types::UnixTime::now();
            leaf.verify_for_usage(
                provider.signature_verification_algorithms.all,
                &roots.roots,
                &[],
                now,
                webpki::KeyUsage::server_auth(),
                None,
                None,
            )
            .is_ok()
        };
        assert!(verifies("v.vault.azure.net"));
        assert!(verifies("v.vault.usgovcloudapi.net"));
        for other in ["login.microsoftonline.com", "azure.net", "pypi.org", "vault.azure.net.evil.example"] {
            assert!(!verifies(other), "{other}");
        }
    }
}
