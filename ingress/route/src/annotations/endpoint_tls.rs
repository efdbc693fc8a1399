//! `proxy-ssl-*`: TLS to endpoints.
//!
//! In ingress-nginx all of them are without effect where `proxy-ssl-secret` is absent, they are never in
//! force for GRPCS, and those of one Ingress hold for every Ingress of the host. Here each Ingress's hold
//! for its own routes, GRPCS too; without a Secret only verification is not to be had.

use std::sync::Arc;

use towpath_model::{Code, Ingress, ObjectName, Problem};

use super::{Refusal, close, problem};
use crate::{EndpointTls, TlsVersions, host::rule_host};

/// What the names of these annotations begin with.
pub(super) const PREFIX: &str = "proxy-ssl-";

pub(super) fn read(
    ingress: &Ingress,
    closed: &mut Option<Refusal>,
    problems: &mut Vec<Problem>,
) -> Option<Arc<EndpointTls>> {
    let mut tls = EndpointTls::default();
    for (name, value) in &ingress.annotations {
        let Some(setting) = name.strip_prefix(PREFIX) else { continue };
        let value = value.trim();
        let wrong = match setting {
            "secret" if value.is_empty() => Ok(()),
            "secret" => match secret(value, ingress) {
                Some(secret) => {
                    tls.secret = Some(secret);
                    Ok(())
                }
                None => {
                    close(Refusal::Changes, name, ingress, closed, problems);
                    Ok(())
                }
            },
            "verify" => on_off(value, &mut tls.verify),
            "server-name" => on_off(value, &mut tls.tell_name),
            "name" if value.is_empty() => Ok(()),
            "name" => host(value, &mut tls.name),
            "protocols" => versions(value, &mut tls.versions),
            _ => Err("a setting that is honoured"),
        };
        if let Err(wanted) = wrong {
            let why = format!("not {wanted}; it is as if it was not there");
            problems.push(problem(ingress, name, Code::AnnotationIgnored, &why, "write it so"));
        }
    }
    if tls.verify && tls.secret.is_none() {
        tls.verify = false;
        let why = "proxy-ssl-secret names no Secret with authorities: as in ingress-nginx, the \
                   certificates of endpoints are not verified";
        let action = "name a Secret with ca.crt in proxy-ssl-secret";
        let name = "proxy-ssl-verify";
        problems.push(problem(ingress, name, Code::AnnotationIgnored, why, action));
    }
    (tls != EndpointTls::default()).then(|| Arc::new(tls))
}

/// `namespace/name`, of the Ingress's own namespace: another's would be read with this proxy's rights.
fn secret(value: &str, ingress: &Ingress) -> Option<ObjectName> {
    let (namespace, name) = value.split_once('/')?;
    let own = namespace == &*ingress.meta.name.namespace;
    let fine = own && !name.is_empty() && !name.contains('/');
    fine.then(|| ObjectName::new(namespace, name))
}

fn on_off(value: &str, into: &mut bool) -> Result<(), &'static str> {
    *into = match value {
        "on" => true,
        "off" => false,
        _ => return Err("`on` or `off`"),
    };
    Ok(())
}

fn host(value: &str, into: &mut Option<Box<str>>) -> Result<(), &'static str> {
    match rule_host(value) {
        Ok(name) if !name.starts_with('*') => *into = Some(name),
        _ => return Err("a host name"),
    }
    Ok(())
}

fn versions(value: &str, into: &mut TlsVersions) -> Result<(), &'static str> {
    let has = |version: &str| value.split_ascii_whitespace().any(|word| word == version);
    *into = match (has("TLSv1.2"), has("TLSv1.3")) {
        (true, true) => TlsVersions::Both,
        (true, false) => TlsVersions::Only12,
        (false, true) => TlsVersions::Only13,
        (false, false) => return Err("`TLSv1.2`, `TLSv1.3` or both"),
    };
    Ok(())
}
