//! TLS to endpoints.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};
use towpath_model::Secret;
use towpath_route::{EndpointTls, TlsVersions};

use crate::{Certificate, Unusable};

/// One way to make TLS to endpoints. A connection made in one way is never used for another.
#[derive(Clone, Debug)]
pub struct Connector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    http_1: Arc<ClientConfig>,
    http_2: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
    /// Without a name of its own, that of the request is verified or told.
    by_host: bool,
}

/// Those that routes ask for, as far as what they need is there.
pub type Connectors = HashMap<Arc<EndpointTls>, Connector>;

/// Never given twice: what was made with another Secret is another one. 0 is no TLS.
static IDS: AtomicU64 = AtomicU64::new(1);

/// Two are the same when they were made at once: their connections can stand for one another.
impl PartialEq for Connector {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Connector {
    /// `secret`: the one that is asked for.
    ///
    /// # Errors
    /// When the Secret lacks what is asked of it.
    pub fn new(
        tls: &EndpointTls,
        secret: Option<&Secret>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Unusable> {
        let versions = match tls.versions {
            TlsVersions::Both => &[&TLS13, &TLS12][..],
            TlsVersions::Only12 => &[&TLS12],
            TlsVersions::Only13 => &[&TLS13],
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(versions)
            .map_err(|_unsupported| Unusable::KeyKind)?
            .dangerous()
            .with_custom_certificate_verifier(verifier(tls, secret, provider)?);
        let own = secret.filter(|it| !it.certificate.is_empty() || !it.key.reveal().is_empty());
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(secret) => {
                let own = Certificate::read(secret, provider)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.0)))
            }
        };
        config.enable_sni = tls.tell_name;
        let mut http_2 = config.clone();
        http_2.alpn_protocols = vec![b"h2".to_vec()];
        let name = tls.name.as_deref();
        let name = name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let by_host = name.is_none() && (tls.verify || tls.tell_name);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let (http_1, http_2) = (Arc::new(config), Arc::new(http_2));
        Ok(Self(Arc::new(Inner { id, http_1, http_2, name, by_host })))
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    pub(crate) fn name(&self) -> Option<&ServerName<'static>> {
        self.0.name.as_ref()
    }

    /// Is the name of the request needed?
    pub(crate) fn is_by_host(&self) -> bool {
        self.0.by_host
    }

    /// HTTP/1.1 is asked for by no ALPN, as nginx does: there are endpoints that know none.
    pub(crate) fn config(&self, http_2: bool) -> Arc<ClientConfig> {
        Arc::clone(if http_2 { &self.0.http_2 } else { &self.0.http_1 })
    }
}

fn verifier(
    tls: &EndpointTls,
    secret: Option<&Secret>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Unusable> {
    if !tls.verify {
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        return Ok(Arc::new(Any(schemes)));
    }
    let mut roots = RootCertStore::empty();
    let pem = secret.map(|secret| &*secret.authority).unwrap_or_default();
    for authority in CertificateDer::pem_slice_iter(pem) {
        let authority = authority.map_err(|_damaged| Unusable::Authority)?;
        roots.add(authority).map_err(|_damaged| Unusable::Authority)?;
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let verifier = verifier.build().map_err(|_none| Unusable::Authority)?;
    Ok(verifier)
}

/// Takes every certificate, as nginx does unless it is told to verify. A signature would prove that the
/// endpoint has the key of a certificate that says nothing: it is not looked at either.
#[derive(Debug)]
struct Any(Vec<SignatureScheme>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
