//! What holds for any objects and any message.
#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "table/ask.rs"]
mod ask;
#[path = "table/fixture.rs"]
mod fixture;

use hickory_proto::op::Message;
use proptest::prelude::*;
use serde_json::{Value, json};
use towpath_model::{Changes, Event, Key, Kind, ObjectName, decode};
use towpath_zone::{
    Client, KeptPlace, Outcome, PodRecords, Transport, Unkept, Zones, answer, keep, read_kept,
};

/// A step: an object comes or changes, or goes.
fn step() -> impl Strategy<Value = (Kind, ObjectName, Option<Value>)> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let address = prop::sample::select(vec!["10.0.0.1", "10.0.0.2", "fd00::1"]);
    let parts = (0..3u8, name.clone(), name, address, 0..5u8, any::<bool>());
    parts.prop_map(|(kind, namespace, name, address, shape, ready)| {
        let metadata = json!({ "namespace": namespace, "name": name });
        let (kind, object) = match kind {
            0 => (Kind::Namespace, json!({ "metadata": { "name": namespace } })),
            1 => {
                let ports = json!([{ "name": "p", "port": 80 }]);
                let spec = match shape {
                    0 | 1 => json!({ "clusterIPs": [address], "ports": ports }),
                    2 => json!({ "clusterIP": "None", "ports": ports }),
                    _ => json!({ "type": "ExternalName", "externalName": "x.example" }),
                };
                (Kind::Service, json!({ "metadata": metadata, "spec": spec }))
            }
            _ => {
                let service = ["a", "b", "c"][usize::from(shape) % 3];
                let labels = json!({ "kubernetes.io/service-name": service });
                let metadata = json!({ "namespace": namespace, "name": name, "labels": labels });
                let endpoint = json!({ "addresses": [address], "conditions": { "ready": ready } });
                let family = if address.contains(':') { "IPv6" } else { "IPv4" };
                let ports = json!([{ "name": "p", "port": 8080 }]);
                let slice = json!({ "metadata": metadata, "addressType": family,
                                    "ports": ports, "endpoints": [endpoint] });
                (Kind::EndpointSlice, slice)
            }
        };
        let name = match kind {
            Kind::Namespace => ObjectName::new("", namespace),
            _ => ObjectName::new(namespace, name),
        };
        (kind, name, (shape != 4).then_some(object))
    })
}

/// Are the last labels of a name those of the domain? (The same bytes inside a longer label are not.)
fn is_ours(name: &[u8]) -> bool {
    let mut labels = Vec::new();
    let mut rest = name;
    while let Some((&length, more)) = rest.split_first().filter(|(length, _)| **length > 0) {
        let (label, more) = more.split_at(length.into());
        labels.push(label);
        rest = more;
    }
    labels.ends_with(&[b"cluster", b"local"])
}

proptest! {
    #[test]
    fn increments_lead_where_a_start_from_scratch_leads(
        steps in prop::collection::vec((step(), any::<bool>()), 1..60)
    ) {
        let mut store = fixture::store(&[]);
        let mut zones = Zones::new(fixture::settings()).unwrap();
        let (view, changes) = store.commit();
        zones.update(&view, &changes, 1);
        for ((kind, name, object), commit) in steps {
            match object {
                Some(object) => {
                    let object = decode(kind, object.to_string().as_bytes()).unwrap();
                    store.feed(Event::Apply(object));
                }
                None => { store.feed(Event::Delete(kind, Key { kind, name }.name)); }
            }
            if commit {
                let (view, changes) = store.commit();
                zones.update(&view, &changes, 2);
            }
        }
        let (view, changes) = store.commit();
        zones.update(&view, &changes, 3);
        let mut fresh = Zones::new(fixture::settings()).unwrap();
        fresh.update(&view, &Changes::default(), 3);
        prop_assert!(zones.snapshot().same(fresh.snapshot()));
        let bytes = keep(zones.snapshot(), &KeptPlace::default()).unwrap();
        let kept = read_kept(&bytes, &fixture::settings(), None).unwrap();
        prop_assert!(kept.snapshot.same(zones.snapshot()));
    }

    #[test]
    fn a_kept_zone_with_a_byte_changed_is_refused(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let snapshot = fixture::snapshot(&fixture::objects(), PodRecords::Insecure);
        let mut bytes = keep(&snapshot, &KeptPlace::default()).unwrap();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        let refused = read_kept(&bytes, &fixture::settings(), None).unwrap_err();
        prop_assert!(matches!(refused, Unkept::Version | Unkept::Damaged), "{refused}");
    }

    #[test]
    fn no_message_leads_past_the_limit_or_to_what_cannot_be_read(
        at in 0usize..60, bytes in prop::collection::vec(any::<u8>(), 0..80), udp in any::<bool>()
    ) {
        let snapshot = fixture::snapshot(&fixture::objects(), PodRecords::Insecure);
        let mut message = fixture::question("_sql._tcp.db.shop.svc.cluster.local", 33, Some(600));
        let at = at.min(message.len());
        message.splice(at..message.len().min(at + bytes.len()), bytes);
        let transport = if udp { Transport::Udp } else { Transport::Tcp };
        let mut out = vec![0xee; 4096];
        match answer(&snapshot, Client { transport, rotation: 7 }, &message, &mut out) {
            Outcome::Reply(reply) => {
                prop_assert!(!udp || reply.length <= 1232);
                prop_assert!(out[reply.length..].iter().all(|byte| *byte == 0xee));
                let read = Message::from_vec(&out[..reply.length]);
                // A question for a name that no library reads is echoed as it came.
                prop_assert!(read.is_ok() || Message::from_vec(&message).is_err());
            }
            Outcome::Miss(miss) => prop_assert!(!is_ours(miss.name())),
            Outcome::Drop => {}
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out_record_by_record(size in 0u16..1300, many in 0usize..120) {
        let mut objects = fixture::objects();
        let endpoints: Vec<_> =
            (0..many).map(|at| json!({ "addresses": [format!("10.9.{}.{}", at / 250, at % 250)] })).collect();
        let labels = json!({ "kubernetes.io/service-name": "bare" });
        let metadata = json!({ "namespace": "shop", "name": "many", "labels": labels });
        objects.push((Kind::EndpointSlice, json!({ "metadata": metadata, "addressType": "IPv4",
                                                   "ports": [], "endpoints": endpoints })));
        let snapshot = fixture::snapshot(&objects, PodRecords::Insecure);
        let query = fixture::question("bare.shop.svc.cluster.local", 1, Some(size));
        let (reply, _) = ask::ask(&snapshot, Transport::Udp, &query);
        let message = Message::from_vec(&reply.unwrap()).unwrap();
        let room = usize::from(size.clamp(512, 1232)) - query.len();
        let fits = (room / 16).min(many + 2);
        prop_assert_eq!(message.answers.len(), fits);
        prop_assert_eq!(message.metadata.truncation, fits < many + 2);
    }
}
