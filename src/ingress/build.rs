//! Makes the area out of the configuration, and what serves its snapshots.

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::watch;
use towpath_ingress::{Certificate, IngressMetrics, Snapshots};
use towpath_route::{RoutePlan, Settings};

use super::{Ingress, Serving, certificates::Certificates, endpoint_tls::EndpointTlsSecrets};
use crate::{config::IngressConfig, report::Board};

/// The area, and what serves. `infer_default_class`: no API server's admission writes the default class
/// into objects.
///
/// # Errors
/// When no certificate can be made for names that have none.
pub fn build(
    config: &IngressConfig,
    infer_default_class: bool,
    metrics: &Arc<IngressMetrics>,
    board: Option<Arc<Board>>,
) -> Result<(Ingress, Serving)> {
    let settings = Settings {
        controllers: config.controllers.clone(),
        class_annotations: config.class_annotations.clone(),
        without_class: config.without_class,
        infer_default_class,
        ssl_redirect: config.ssl_redirect,
        default_backend: None,
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let own = self_signed(&provider).context("making a certificate for unknown names")?;
    let endpoint_tls = EndpointTlsSecrets::new(provider.clone());
    let certificates = Certificates::new(provider, config.default_certificate.clone(), own);
    let snapshots: Arc<Snapshots> = Arc::default();
    let (ready, begin) = watch::channel(false);
    let problems = Arc::new(Mutex::default());
    let serving = Serving {
        config: config.clone(),
        snapshots: Arc::clone(&snapshots),
        metrics: Arc::clone(metrics),
        begin,
        problems: Arc::clone(&problems),
    };
    let plan = RoutePlan::new(settings);
    let secrets = (certificates, endpoint_tls);
    Ok((Ingress::new(plan, secrets, snapshots, ready, problems, board), serving))
}

/// For handshakes whose name no host has: they come to an answer of HTTP, as users of other controllers
/// expect, and no client trusts it. Its key never leaves this process.
fn self_signed(provider: &rustls::crypto::CryptoProvider) -> Result<Certificate> {
    let made = rcgen::generate_simple_self_signed(vec!["ingress.local".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    Ok(Certificate::of(vec![made.cert.der().clone()], key, provider)?)
}
