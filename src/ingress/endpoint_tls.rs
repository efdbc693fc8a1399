//! Secrets into TLS to endpoints. A Secret that is damaged or gone leaves what was made of it in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rustls::crypto::CryptoProvider;
use towpath_ingress::{Connector, Connectors};
use towpath_model::{Code, Key, Kind, ObjectName, Problem, Secret, Stream, View};
use towpath_route::EndpointTls;

use super::certificates::{Wrong, said, stream};

/// Secrets that are watched at most: each is a watch of its own.
const SECRETS_MAX: usize = 1_000;

/// Ways to make TLS to endpoints, with the Ingresses that ask for each.
type Wanted = BTreeMap<Arc<EndpointTls>, BTreeSet<ObjectName>>;

/// Those that are wanted, as far as they can be had.
pub(super) struct EndpointTlsSecrets {
    provider: Arc<CryptoProvider>,
    held: BTreeMap<Arc<EndpointTls>, Held>,
    problems: Vec<Problem>,
}

/// One way.
#[derive(Default)]
struct Held {
    seen: Option<Arc<Secret>>,
    /// The last good one.
    connector: Option<Connector>,
    wrong: Option<Wrong>,
}

impl EndpointTlsSecrets {
    pub(super) fn new(provider: CryptoProvider) -> Self {
        Self { provider: Arc::new(provider), held: BTreeMap::new(), problems: Vec::new() }
    }

    /// Each Secret that is named has a stream of its own: no other one is ever read.
    pub(super) fn streams(wanted: &Wanted) -> BTreeSet<Stream> {
        let named: BTreeSet<_> = wanted.keys().filter_map(|tls| tls.secret.as_ref()).collect();
        named.into_iter().take(SECRETS_MAX).cloned().map(stream).collect()
    }

    /// What is to be used now.
    pub(super) fn update(&mut self, view: &View<'_>, wanted: &Wanted) -> Connectors {
        self.held.retain(|tls, _| wanted.contains_key(tls));
        self.problems.clear();
        let mut connectors = Connectors::new();
        for (tls, asking) in wanted {
            let held = self.held.entry(Arc::clone(tls)).or_default();
            held.read(view, tls, &self.provider);
            if let (Some(wrong), Some(name)) = (held.wrong, &tls.secret) {
                let told = |ingress| missing(ingress, name, wrong, held.connector.is_some());
                self.problems.extend(asking.iter().map(told));
            }
            connectors.extend(held.connector.clone().map(|made| (Arc::clone(tls), made)));
        }
        connectors
    }

    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl Held {
    fn read(&mut self, view: &View<'_>, tls: &EndpointTls, provider: &Arc<CryptoProvider>) {
        let Some(name) = &tls.secret else {
            if self.connector.is_none() {
                self.take(Connector::new(tls, None, provider));
            }
            return;
        };
        let Some(secret) = view.secret(name) else {
            // Before its list has come nothing is known of it.
            self.wrong = view.listed(&stream(name.clone())).then_some(Wrong::Absent);
            self.seen = None;
            return;
        };
        // What was made of the same Secret stays, with its connections.
        if !self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, secret)) {
            self.seen = Some(Arc::clone(secret));
            self.take(Connector::new(tls, Some(secret), provider));
        }
    }

    fn take(&mut self, made: Result<Connector, towpath_ingress::Unusable>) {
        match made {
            Ok(connector) => {
                self.connector = Some(connector);
                self.wrong = None;
            }
            Err(why) => self.wrong = Some(Wrong::Unusable(why)),
        }
    }
}

fn missing(ingress: &ObjectName, name: &ObjectName, wrong: Wrong, kept: bool) -> Problem {
    let key = Key { kind: Kind::Ingress, name: ingress.clone() };
    let field = "metadata.annotations[nginx.ingress.kubernetes.io/proxy-ssl-secret]";
    let now = match kept {
        true => "endpoints are spoken to as it said before",
        false => "requests that would go over TLS to endpoints are answered with 503",
    };
    let why = format!("Secret {name} {}; {now}", said(wrong));
    let action = "give it tls.crt and tls.key, ca.crt, or both, in PEM";
    Problem::new(Code::ReferenceMissing, Some(key), field, &why, action)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use towpath_model::{Event, Store, decode};
    use towpath_route::{NEEDS, RoutePlan, Settings};

    use super::*;

    struct Bed {
        store: Store,
        plan: RoutePlan,
        secrets: EndpointTlsSecrets,
    }

    impl Bed {
        fn new() -> Self {
            let mut store = Store::new("node");
            NEEDS.into_iter().for_each(|stream| _ = store.feed(Event::Init(stream)));
            let class = json!({ "metadata": { "name": "c" },
                "spec": { "controller": "towpath.io/ingress" } });
            apply(&mut store, Kind::IngressClass, &class);
            NEEDS.into_iter().for_each(|stream| _ = store.feed(Event::InitDone(stream)));
            let secrets = EndpointTlsSecrets::new(rustls::crypto::aws_lc_rs::default_provider());
            Self { store, plan: RoutePlan::new(Settings::default()), secrets }
        }

        fn ingress(&mut self, name: &str, annotations: &[(&str, &str)]) {
            let prefix = towpath_model::ingress::ANNOTATION_PREFIX;
            let named = annotations.iter().map(|(name, to)| (format!("{prefix}{name}"), json!(to)));
            let annotations: Value = Value::Object(named.collect());
            let object = json!({ "metadata": { "name": name, "namespace": "n", "annotations": annotations },
                "spec": { "ingressClassName": "c", "rules": [{ "host": "h.example" }] } });
            apply(&mut self.store, Kind::Ingress, &object);
        }

        fn put(&mut self, entries: &Value) {
            let object =
                json!({ "metadata": { "name": "s", "namespace": "n" }, "stringData": entries });
            apply(&mut self.store, Kind::Secret, &object);
        }

        /// How many connectors there are, which of them are those of before, and what is wrong.
        fn update(&mut self, before: &Connectors) -> (Connectors, usize, Vec<String>) {
            let (view, _) = self.store.commit();
            self.plan.update(&view, None);
            let now = self.secrets.update(&view, self.plan.endpoint_tls());
            let same = |(tls, made): &(&Arc<EndpointTls>, &Connector)| {
                before.get(*tls).is_some_and(|before| before == *made)
            };
            let kept = now.iter().filter(same).count();
            let problems = self.secrets.problems().iter().map(Problem::coded).collect();
            (now, kept, problems)
        }
    }

    fn apply(store: &mut Store, kind: Kind, object: &Value) {
        store.feed(Event::Apply(decode(kind, object.to_string().as_bytes()).unwrap()));
    }

    fn authority() -> Value {
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        json!({ "ca.crt": made.cert.pem() })
    }

    #[test]
    fn what_was_made_of_a_secret_stays_whatever_becomes_of_it() {
        let mut bed = Bed::new();
        let verify = [("proxy-ssl-secret", "n/s"), ("proxy-ssl-verify", "on")];
        bed.ingress("one", &verify);
        bed.ingress("other", &verify);
        bed.ingress("named", &[("proxy-ssl-name", "inner.example")]);
        let (made, _, problems) = bed.update(&Connectors::new());
        // Nothing is known of the Secret yet; without one there is nothing to wait for.
        assert_eq!((made.len(), problems), (1, Vec::new()));
        let name = stream(ObjectName::new("n", "s"));
        let streams = EndpointTlsSecrets::streams(bed.plan.endpoint_tls());
        assert_eq!(streams, BTreeSet::from([name.clone()]));
        bed.store.feed(Event::Init(name.clone()));
        bed.store.feed(Event::InitDone(name));
        let (made, kept, problems) = bed.update(&made);
        assert_eq!((made.len(), kept, problems.len()), (1, 1, 2));
        for (problem, ingress) in problems.iter().zip(["n/one", "n/other"]) {
            assert!(problem.starts_with(&format!("TP8013 Ingress {ingress}: ")), "{problem}");
            assert!(problem.contains("does not exist") && problem.contains("503"), "{problem}");
        }
        bed.put(&authority());
        let (made, kept, problems) = bed.update(&made);
        assert_eq!((made.len(), kept, problems), (2, 1, Vec::new()));
        // An unchanged Secret keeps its connections, a new one makes new ones.
        let (made, kept, _) = bed.update(&made);
        assert_eq!((made.len(), kept), (2, 2));
        bed.put(&authority());
        let (made, kept, _) = bed.update(&made);
        assert_eq!((made.len(), kept), (2, 1));
        for damaged in [
            json!({ "tls.crt": "x" }),
            json!({ "ca.crt": "HUSH" }),
            json!({ "tls.key": "HUSH", "tls.crt": "x" }),
            json!({}),
        ] {
            bed.put(&damaged);
            let (_, kept, problems) = bed.update(&made);
            assert_eq!((kept, problems.len()), (2, 2), "{damaged}");
            assert!(!problems[0].contains("HUSH") && problems[0].contains("said before"));
        }
        bed.store.feed(Event::Delete(Kind::Secret, ObjectName::new("n", "s")));
        let (_, kept, problems) = bed.update(&made);
        assert_eq!((kept, problems.len()), (2, 2));
        bed.store.feed(Event::Delete(Kind::Ingress, ObjectName::new("n", "one")));
        bed.store.feed(Event::Delete(Kind::Ingress, ObjectName::new("n", "other")));
        let (made, _, problems) = bed.update(&made);
        assert_eq!((made.len(), problems), (1, Vec::new()));
    }
}
