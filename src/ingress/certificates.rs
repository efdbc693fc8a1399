//! Secrets into certificates. A Secret that is damaged or gone leaves its last good certificate in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rustls::crypto::CryptoProvider;
use towpath_ingress::{CertStore, Certificate, Unusable};
use towpath_model::{Code, Key, Kind, ObjectName, Problem, Scope, Secret, Stream, View};
use towpath_route::{Certificates as Wishes, Wish};

/// Secrets that are watched at most: each is a watch of its own.
const SECRETS_MAX: usize = 1_000;

/// The certificates that hosts want, as far as they are there.
pub(super) struct Certificates {
    provider: CryptoProvider,
    /// The Secret of the configured default.
    default: Option<ObjectName>,
    /// Until that one is there, or where none is configured.
    own: Certificate,
    held: BTreeMap<ObjectName, Held>,
    problems: Vec<Problem>,
}

/// One Secret.
#[derive(Default)]
struct Held {
    seen: Option<Arc<Secret>>,
    /// The last good one.
    certificate: Option<Certificate>,
    wrong: Option<Wrong>,
    /// For which hosts the certificate is made out, as far as it was asked.
    covers: BTreeMap<Box<str>, bool>,
}

/// Why a Secret has no certificate now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// There is none of this name.
    Absent,
    Unusable(Unusable),
}

impl Certificates {
    pub(super) const fn new(
        provider: CryptoProvider,
        default: Option<ObjectName>,
        own: Certificate,
    ) -> Self {
        Self { provider, default, own, held: BTreeMap::new(), problems: Vec::new() }
    }

    /// The Secrets to watch: the configured default, and those that hosts want.
    fn wanted(&self, wishes: &Wishes) -> BTreeSet<ObjectName> {
        let named = wishes.secrets().into_iter().take(SECRETS_MAX).cloned();
        self.default.iter().cloned().chain(named).collect()
    }

    /// Each of them has a stream of its own: no other Secret is ever read.
    pub(super) fn streams(&self, wishes: &Wishes) -> BTreeSet<Stream> {
        self.wanted(wishes).into_iter().map(stream).collect()
    }

    /// What is to be served now.
    pub(super) fn update(&mut self, view: &View<'_>, wishes: &Wishes) -> CertStore {
        let wanted = self.wanted(wishes);
        self.held.retain(|name, _| wanted.contains(name));
        for name in &wanted {
            let held = self.held.entry(name.clone()).or_default();
            held.read(view, name, &self.provider);
        }
        self.problems.clear();
        let mut told = BTreeSet::new();
        let mut hosts = BTreeMap::new();
        for (host, wish) in wishes.iter() {
            let named = wish.secret.as_ref();
            let held = named.and_then(|name| self.held.get_mut(name));
            hosts.insert(Box::from(host), held.as_ref().and_then(|held| held.certificate.clone()));
            let Some(name) = named else { continue };
            match held {
                None => self.problems.push(too_many(wish, name)),
                Some(held) => {
                    if let Some(wrong) = held.wrong.filter(|_| told.insert((&wish.ingress, name))) {
                        self.problems.push(missing(wish, name, wrong, held.certificate.is_some()));
                    }
                    if held.is_made_out_to(host) == Some(false) {
                        self.problems.push(other_name(wish, name, host));
                    }
                }
            }
        }
        // Hosts come and go while their Secret stays.
        self.held
            .values_mut()
            .for_each(|held| held.covers.retain(|host, _| hosts.contains_key(host)));
        let default = self.default.as_ref().and_then(|name| self.held.get(name));
        if let (Some(name), Some(wrong)) = (&self.default, default.and_then(|held| held.wrong)) {
            self.problems.push(no_default(name, wrong));
        }
        let default = default.and_then(|held| held.certificate.clone());
        CertStore { hosts, default: Some(default.unwrap_or_else(|| self.own.clone())) }
    }

    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl Held {
    fn read(&mut self, view: &View<'_>, name: &ObjectName, provider: &CryptoProvider) {
        let Some(secret) = view.secret(name) else {
            // Before its list has come nothing is known of it.
            self.wrong = view.listed(&stream(name.clone())).then_some(Wrong::Absent);
            self.seen = None;
            return;
        };
        if self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, secret)) {
            return;
        }
        self.seen = Some(Arc::clone(secret));
        match Certificate::read(secret, provider) {
            Ok(certificate) => {
                self.certificate = Some(certificate);
                self.wrong = None;
                self.covers.clear();
            }
            Err(why) => self.wrong = Some(Wrong::Unusable(why)),
        }
    }

    fn is_made_out_to(&mut self, host: &str) -> Option<bool> {
        let certificate = self.certificate.as_ref()?;
        if let Some(known) = self.covers.get(host) {
            return Some(*known);
        }
        let covers = certificate.covers(host);
        self.covers.insert(host.into(), covers);
        Some(covers)
    }
}

pub(super) fn stream(name: ObjectName) -> Stream {
    Stream { kind: Kind::Secret, scope: Scope::Named(name) }
}

pub(super) fn said(wrong: Wrong) -> String {
    match wrong {
        Wrong::Absent => "does not exist".to_owned(),
        Wrong::Unusable(why) => format!("cannot be used: {why}"),
    }
}

fn of_ingress(wish: &Wish, code: Code, why: &str, action: &str) -> Problem {
    let key = Key { kind: Kind::Ingress, name: wish.ingress.clone() };
    Problem::new(code, Some(key), "spec.tls", why, action)
}

fn missing(wish: &Wish, name: &ObjectName, wrong: Wrong, kept: bool) -> Problem {
    let now = if kept { "the certificate that it had is" } else { "the default certificate is" };
    let why = format!("Secret {name} {}; {now} served", said(wrong));
    let action = "make it of type kubernetes.io/tls, with tls.crt and tls.key in PEM";
    of_ingress(wish, Code::CertificateMissing, &why, action)
}

fn other_name(wish: &Wish, name: &ObjectName, host: &str) -> Problem {
    let why = format!("the certificate of Secret {name} is not made out to {host}; it is served");
    let action = "have the host put into the certificate, or name another Secret";
    of_ingress(wish, Code::CertificateOtherName, &why, action)
}

fn too_many(wish: &Wish, name: &ObjectName) -> Problem {
    let why = format!(
        "Secret {name} is not read, because more than {SECRETS_MAX} are named; the default \
         certificate is served"
    );
    of_ingress(wish, Code::CertificatesCut, &why, "let hosts share a certificate")
}

fn no_default(name: &ObjectName, wrong: Wrong) -> Problem {
    let key = Key { kind: Kind::Secret, name: name.clone() };
    let why = format!("it {}; one that no client trusts is served instead", said(wrong));
    let action = "make the Secret, or name another one in ingress.defaultCertificate";
    Problem::new(Code::CertificateMissing, Some(key), "", &why, action)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use towpath_model::{Event, Store, decode};
    use towpath_route::{NEEDS, RoutePlan, Settings};

    use super::*;

    const HOST: &str = "h.example";

    /// A store with one Ingress that wants Secret `n/s` for [`HOST`], and what keeps its certificates.
    struct Bed {
        store: Store,
        plan: RoutePlan,
        certificates: Certificates,
    }

    fn made_for(host: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    impl Bed {
        fn new(default: Option<&str>) -> Self {
            let mut store = Store::new("node");
            NEEDS.into_iter().for_each(|stream| _ = store.feed(Event::Init(stream)));
            let class = json!({ "metadata": { "name": "c" },
                "spec": { "controller": "towpath.io/ingress" } });
            apply(&mut store, Kind::IngressClass, &class);
            let ingress = json!({ "metadata": { "name": "i", "namespace": "n" }, "spec": {
                "ingressClassName": "c", "tls": [{ "hosts": [HOST], "secretName": "s" }] } });
            apply(&mut store, Kind::Ingress, &ingress);
            NEEDS.into_iter().for_each(|stream| _ = store.feed(Event::InitDone(stream)));
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            let (chain, key) = made_for("own.example");
            let own = Certificate::read(&secret("own", &chain, &key), &provider).unwrap();
            let default = default.map(|name| ObjectName::new("n", name));
            let certificates = Certificates::new(provider, default, own);
            Self { store, plan: RoutePlan::new(Settings::default()), certificates }
        }

        fn list(&mut self, name: &str) {
            let stream = stream(ObjectName::new("n", name));
            self.store.feed(Event::Init(stream.clone()));
            self.store.feed(Event::InitDone(stream));
        }

        fn put(&mut self, name: &str, chain: &str, key: &str) {
            apply(&mut self.store, Kind::Secret, &object(name, chain, key));
        }

        /// The host whose name the certificate has that is served for a name, and the codes of what is
        /// wrong.
        fn served(&mut self, name: &str) -> (&'static str, Vec<String>) {
            let (view, _) = self.store.commit();
            self.plan.update(&view, None);
            let store = self.certificates.update(&view, self.plan.certificates());
            let found = store.find(Some(name)).unwrap();
            let hosts = [HOST, "own.example", "other.example"];
            let host = hosts.into_iter().find(|host| found.covers(host)).unwrap();
            let problems = self.certificates.problems().iter();
            (host, problems.map(|problem| problem.coded()).collect())
        }
    }

    fn apply(store: &mut Store, kind: Kind, object: &Value) {
        store.feed(Event::Apply(decode(kind, object.to_string().as_bytes()).unwrap()));
    }

    fn object(name: &str, chain: &str, key: &str) -> Value {
        json!({ "metadata": { "name": name, "namespace": "n" },
            "stringData": { "tls.crt": chain, "tls.key": key } })
    }

    fn secret(name: &str, chain: &str, key: &str) -> Secret {
        let object = object(name, chain, key).to_string();
        match decode(Kind::Secret, object.as_bytes()).unwrap() {
            towpath_model::Object::Secret(secret) => Arc::unwrap_or_clone(secret),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_last_good_certificate_stays_whatever_becomes_of_its_secret() {
        let mut bed = Bed::new(None);
        let wanted = BTreeSet::from([stream(ObjectName::new("n", "s"))]);
        assert_eq!(bed.served(HOST), ("own.example", Vec::new()), "nothing is known of it yet");
        assert_eq!(bed.certificates.streams(bed.plan.certificates()), wanted);
        bed.list("s");
        let (host, problems) = bed.served(HOST);
        assert_eq!((host, problems.len()), ("own.example", 1));
        assert!(problems[0].contains("TP8007") && problems[0].contains("does not exist"));
        let (chain, key) = made_for(HOST);
        bed.put("s", &chain, &key);
        assert_eq!(bed.served(HOST), (HOST, Vec::new()));
        bed.put("s", &chain, "HUSH");
        let (host, problems) = bed.served(HOST);
        assert_eq!((host, problems.len()), (HOST, 1));
        assert!(problems[0].contains("tls.key") && !problems[0].contains("HUSH"), "{problems:?}");
        bed.store.feed(Event::Delete(Kind::Secret, ObjectName::new("n", "s")));
        let (host, problems) = bed.served(HOST);
        assert_eq!((host, problems.len()), (HOST, 1));
        assert!(problems[0].contains("does not exist"));
        bed.put("s", &chain, &key);
        assert_eq!(bed.served(HOST), (HOST, Vec::new()));
    }

    #[test]
    fn a_certificate_of_another_name_is_served_and_told() {
        let mut bed = Bed::new(None);
        bed.list("s");
        let (chain, key) = made_for("other.example");
        bed.put("s", &chain, &key);
        let (host, problems) = bed.served(HOST);
        assert_eq!((host, problems.len()), ("other.example", 1));
        assert!(problems[0].contains("TP8008"), "{problems:?}");
        // What was asked of it is kept for the hosts that are there, not for all that ever were.
        for host in ["one.example", "two.example"] {
            let ingress = json!({ "metadata": { "name": "i", "namespace": "n" }, "spec": {
                "ingressClassName": "c", "tls": [{ "hosts": [host], "secretName": "s" }] } });
            apply(&mut bed.store, Kind::Ingress, &ingress);
            let (view, _) = bed.store.commit();
            bed.plan.update(&view, None);
            bed.certificates.update(&view, bed.plan.certificates());
            let asked = bed.certificates.held.values().flat_map(|held| held.covers.keys());
            assert_eq!(asked.map(|host| &**host).collect::<Vec<_>>(), [host]);
        }
    }

    #[test]
    fn names_without_a_certificate_have_the_configured_default_once_it_is_there() {
        let mut bed = Bed::new(Some("d"));
        bed.list("d");
        let (host, problems) = bed.served("unknown.example");
        assert_eq!((host, problems.len()), ("own.example", 1));
        assert!(problems[0].contains("TP8007"), "{problems:?}");
        let (chain, key) = made_for("other.example");
        bed.put("d", &chain, &key);
        assert_eq!(bed.served("unknown.example"), ("other.example", Vec::new()));
        assert_eq!(bed.served(HOST).0, "other.example");
    }
}
