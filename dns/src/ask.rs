//! What a name is answered from a snapshot, without a socket: for explanations.

use std::net::IpAddr;

use hickory_proto::{
    op::Message,
    rr::{RData, Record},
};
use towpath_zone::{Client, Name, Outcome, Snapshot, Transport, answer, rtype};

/// What the cluster's zone says of a name and a type of address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Told {
    /// The code: NOERROR, NXDOMAIN, ...; absent: the name is not the cluster's.
    pub code: Option<String>,
    /// Records in words: owner, type, data.
    pub records: Vec<String>,
    /// The addresses among them.
    pub addresses: Vec<IpAddr>,
    /// The name that an upstream is asked for.
    pub upstream: Option<String>,
}

/// Asks for the IPv4 or the IPv6 addresses of a name, as a client over TCP would.
#[must_use]
pub fn ask(snapshot: &Snapshot, name: &Name, v6: bool) -> Told {
    let kind = if v6 { rtype::AAAA } else { rtype::A };
    // A header (one question, recursion desired), the name, type and class IN.
    let mut query = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend_from_slice(name.wire());
    query.extend_from_slice(&kind.to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    let mut out = vec![0; usize::from(u16::MAX)];
    let client = Client { transport: Transport::Tcp, rotation: 0 };
    match answer(snapshot, client, &query, &mut out) {
        Outcome::Drop => Told::default(),
        Outcome::Reply(reply) => told(out.get(..reply.length).unwrap_or_default(), true),
        Outcome::Miss(miss) => {
            let mut told = told(out.get(..miss.written).unwrap_or_default(), false);
            told.upstream = Some(text(miss.name()));
            told
        }
    }
}

fn told(bytes: &[u8], ours: bool) -> Told {
    // What we have written can be read; nothing was written of a name that is not ours.
    let Ok(message) = Message::from_vec(bytes) else { return Told::default() };
    let addresses = message.answers.iter().filter_map(|record| match &record.data {
        RData::A(v4) => Some(IpAddr::V4(v4.0)),
        RData::AAAA(v6) => Some(IpAddr::V6(v6.0)),
        _ => None,
    });
    let line =
        |record: &Record| format!("{} {} {}", record.name, record.record_type(), record.data);
    Told {
        code: ours.then(|| format!("{:?}", message.metadata.response_code).to_uppercase()),
        records: message.answers.iter().map(line).collect(),
        addresses: addresses.collect(),
        upstream: None,
    }
}

/// A name of wire form, in words.
fn text(wire: &[u8]) -> String {
    let mut rest = wire;
    let mut words = String::new();
    while let Some((length, more)) = rest.split_first()
        && let Some((label, after)) = more.split_at_checked(usize::from(*length))
        && !label.is_empty()
    {
        words.push_str(&label.escape_ascii().to_string());
        words.push('.');
        rest = after;
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use towpath_model::{Changes, Event, Kind, Store, decode};
    use towpath_zone::{NEEDS, Settings, Zones};

    use super::*;

    fn snapshot() -> Snapshot {
        let mut store = Store::new("n");
        for stream in NEEDS {
            store.feed(Event::Init(stream.clone()));
            store.feed(Event::InitDone(stream));
        }
        let mut put = |kind, object: serde_json::Value| {
            let decoded = decode(kind, object.to_string().as_bytes()).unwrap();
            store.feed(Event::Apply(decoded));
        };
        put(Kind::Namespace, json!({ "metadata": { "name": "shop" } }));
        let service = |name: &str, spec| json!({ "metadata": { "namespace": "shop", "name": name }, "spec": spec });
        let port = json!([{ "port": 80 }]);
        put(Kind::Service, service("web", json!({ "clusterIPs": ["10.96.0.9"], "ports": port })));
        let outside = json!({ "type": "ExternalName", "externalName": "www.example.org" });
        put(Kind::Service, service("out", outside));
        let inside =
            json!({ "type": "ExternalName", "externalName": "web.shop.svc.cluster.local" });
        put(Kind::Service, service("in", inside));
        let (view, _) = store.commit();
        let mut zones =
            Zones::new(Settings::of_domain(Name::parse("cluster.local").unwrap())).unwrap();
        zones.update(&view, &Changes::default(), 0);
        zones.snapshot().clone()
    }

    #[test]
    fn names_are_told_as_the_zone_answers_them() {
        let snapshot = snapshot();
        let ask = |name: &str, v6| ask(&snapshot, &Name::parse(name).unwrap(), v6);
        let web = ask("web.shop.svc.cluster.local", false);
        assert_eq!(web.code.as_deref(), Some("NOERROR"));
        assert_eq!(web.records, ["web.shop.svc.cluster.local. A 10.96.0.9"]);
        assert_eq!(web.addresses, ["10.96.0.9".parse::<IpAddr>().unwrap()]);
        let none = ask("web.shop.svc.cluster.local", true);
        assert_eq!((none.code.as_deref(), none.addresses.len()), (Some("NOERROR"), 0));
        assert_eq!(ask("no.shop.svc.cluster.local", false).code.as_deref(), Some("NXDOMAIN"));
        let inside = ask("in.shop.svc.cluster.local", false);
        assert_eq!((inside.records.len(), inside.addresses.len()), (2, 1), "{inside:?}");
        let outside = ask("out.shop.svc.cluster.local", false);
        assert_eq!(outside.records, ["out.shop.svc.cluster.local. CNAME www.example.org."]);
        assert_eq!((outside.code, outside.upstream.as_deref()), (None, Some("www.example.org.")));
        let other = ask("example.org", false);
        assert_eq!((other.code, other.records.len()), (None, 0));
        assert_eq!(other.upstream.as_deref(), Some("example.org."));
    }
}
