//! Certificates by the name that a client asks for.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    client::verify_server_name,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use towpath_model::Secret;

/// A chain and its key, ready to sign.
#[derive(Clone, Debug)]
pub struct Certificate(pub(crate) Arc<CertifiedKey>);

/// Why a Secret is no certificate. Never says what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unusable {
    /// No `tls.crt`, or no certificate in it.
    #[error("tls.crt holds no certificate in PEM")]
    Chain,
    /// No `tls.key`, or no key in it.
    #[error("tls.key holds no private key in PEM")]
    Key,
    /// A kind of key that cannot sign here.
    #[error("tls.key is of a kind that is not served")]
    KeyKind,
    /// The key is another certificate's.
    #[error("tls.key does not belong to the first certificate of tls.crt")]
    Mismatch,
    /// No `ca.crt`, or something else than certificates in it.
    #[error("ca.crt holds no certificates of authorities in PEM")]
    Authority,
}

impl Certificate {
    /// Reads a Secret.
    ///
    /// # Errors
    /// When it holds no certificate that can be served.
    pub fn read(secret: &Secret, provider: &CryptoProvider) -> Result<Self, Unusable> {
        let chain: Result<Vec<CertificateDer<'static>>, _> =
            CertificateDer::pem_slice_iter(&secret.certificate).collect();
        let chain = chain.map_err(|_damaged| Unusable::Chain)?;
        if chain.is_empty() {
            return Err(Unusable::Chain);
        }
        let key = PrivateKeyDer::from_pem_slice(secret.key.reveal());
        let key = key.map_err(|_damaged| Unusable::Key)?;
        Self::of(chain, key, provider)
    }
}

/// The certificates of all hosts.
#[derive(Clone, Debug, Default)]
pub struct CertStore {
    /// By host as rules write it; `None`: the one that the host wants is not there. It has the default
    /// one, not that of a wildcard: a client that gets a name it did not ask for says so.
    pub hosts: BTreeMap<Box<str>, Option<Certificate>>,
    /// For names that no host has, and clients that say none. Without one they are refused.
    pub default: Option<Certificate>,
}

impl CertStore {
    /// The certificate for a name: its own, a wildcard's, the default one.
    #[must_use]
    pub fn find(&self, name: Option<&str>) -> Option<&Certificate> {
        let Some(name) = name else { return self.default.as_ref() };
        let name = name.to_ascii_lowercase();
        let wild = || {
            let (_, parent) = name.split_once('.')?;
            self.hosts.get(&*format!("*.{parent}"))
        };
        match self.hosts.get(&*name).or_else(wild) {
            Some(Some(own)) => Some(own),
            Some(None) | None => self.default.as_ref(),
        }
    }
}

impl Certificate {
    /// Is this host, as rules write it, one that the certificate is made out to? What cannot be read is
    /// made out to none.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let Some(leaf) = self.0.cert.first() else { return false };
        let Ok(leaf) = rustls::server::ParsedCertificate::try_from(leaf) else { return false };
        // A wildcard's certificate is one for every name below it.
        let name = host.strip_prefix("*.").map(|parent| format!("any.{parent}"));
        let name = ServerName::try_from(name.as_deref().unwrap_or(host));
        name.is_ok_and(|name| verify_server_name(&leaf, &name).is_ok())
    }

    /// A key and a chain, both DER.
    ///
    /// # Errors
    /// When the key is of a kind that cannot sign here.
    pub fn of(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<Self, Unusable> {
        let key = provider.key_provider.load_private_key(key);
        let key = CertifiedKey::new(chain, key.map_err(|_unknown| Unusable::KeyKind)?);
        match key.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
                Ok(Self(Arc::new(key)))
            }
            Err(_other) => Err(Unusable::Mismatch),
        }
    }
}

/// Answers each handshake from the newest snapshot.
#[derive(Debug)]
pub(crate) struct Resolver(pub(crate) Arc<ArcSwap<CertStore>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().find(hello.server_name()).map(|found| Arc::clone(&found.0))
    }
}
