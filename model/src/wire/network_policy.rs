//! NetworkPolicy. Defaults as the API server's (pkg/apis/networking/v1/defaults.go), validity as its
//! (pkg/apis/networking/validation): it may have stored what it would not accept today.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

use super::{
    map::{map, map_or_null, maps_or_null},
    meta::{Notes, WireMeta, protocol, shown},
};
use crate::{
    Kind, NetworkPolicy, Problem,
    names::is_subdomain,
    network_policy::{Operator, PolicyPeer, PolicyPort, PolicyRule, Requirement, Selector},
    service::Cidr,
};

/// Of one policy, this many mistakes are told.
const PROBLEMS_MAX: usize = 20;

/// Fields that this version does not know. They could only narrow what an entry allows, so an entry
/// that has one matches nothing.
type Unknown = BTreeMap<String, IgnoredAny>;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireNetworkPolicy {
    #[serde(deserialize_with = "map")]
    metadata: WireMeta,
    #[serde(deserialize_with = "map_or_null")]
    spec: Option<Spec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(deserialize_with = "map_or_null")]
    pod_selector: Option<WireSelector>,
    policy_types: Option<Vec<String>>,
    #[serde(deserialize_with = "maps_or_null")]
    ingress: Option<Vec<Ingress>>,
    #[serde(deserialize_with = "maps_or_null")]
    egress: Option<Vec<Egress>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ingress {
    #[serde(deserialize_with = "maps_or_null")]
    from: Option<Vec<Peer>>,
    #[serde(deserialize_with = "maps_or_null")]
    ports: Option<Vec<Port>>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Egress {
    #[serde(deserialize_with = "maps_or_null")]
    to: Option<Vec<Peer>>,
    #[serde(deserialize_with = "maps_or_null")]
    ports: Option<Vec<Port>>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Peer {
    #[serde(deserialize_with = "map_or_null")]
    pod_selector: Option<WireSelector>,
    #[serde(deserialize_with = "map_or_null")]
    namespace_selector: Option<WireSelector>,
    #[serde(deserialize_with = "map_or_null")]
    ip_block: Option<IpBlock>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IpBlock {
    cidr: Option<String>,
    except: Option<Vec<String>>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    protocol: Option<String>,
    port: Option<NumberOrName>,
    end_port: Option<i64>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum NumberOrName {
    Number(i64),
    Name(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireSelector {
    match_labels: Option<BTreeMap<String, String>>,
    #[serde(deserialize_with = "maps_or_null")]
    match_expressions: Option<Vec<Expression>>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Expression {
    key: Option<String>,
    operator: Option<String>,
    values: Option<Vec<String>>,
    #[serde(flatten)]
    unknown: Unknown,
}

pub(crate) fn convert(wire: WireNetworkPolicy) -> Result<NetworkPolicy, Problem> {
    let WireNetworkPolicy { metadata, spec } = wire;
    let mut reader = Reader { notes: Notes::begin(Kind::NetworkPolicy, &metadata)?, told: 0 };
    let Spec { pod_selector, policy_types, ingress, egress } = spec.unwrap_or_default();
    let subjects = match pod_selector {
        Some(written) => reader.selector("spec.podSelector", written),
        None => Selector::everything(),
    };
    let egress = egress.unwrap_or_default();
    let (into, out) = reader.directions(policy_types, !egress.is_empty());
    let ingress = into.then(|| {
        let rules = ingress.unwrap_or_default().into_iter().enumerate();
        let read = |(at, Ingress { from, ports, unknown }): (usize, Ingress)| {
            reader.rule(&format!("spec.ingress[{at}]"), "from", from, ports, &unknown)
        };
        rules.map(read).collect()
    });
    let egress = out.then(|| {
        let rules = egress.into_iter().enumerate();
        let read = |(at, Egress { to, ports, unknown }): (usize, Egress)| {
            reader.rule(&format!("spec.egress[{at}]"), "to", to, ports, &unknown)
        };
        rules.map(read).collect()
    });
    Ok(NetworkPolicy { meta: reader.notes.finish(metadata), subjects, ingress, egress })
}

struct Reader {
    notes: Notes,
    told: usize,
}

impl Reader {
    fn note(&mut self, field: &str, why: &str, action: &str) {
        self.told += 1;
        if self.told <= PROBLEMS_MAX {
            self.notes.note(field, why, action);
        }
    }

    /// Which directions the policy isolates. An unknown type is passed over: a later API might mean
    /// anything by it.
    fn directions(&mut self, types: Option<Vec<String>>, has_egress: bool) -> (bool, bool) {
        let types = types.unwrap_or_default();
        if types.is_empty() {
            return (true, has_egress);
        }
        for (at, unknown) in types.iter().enumerate() {
            if !matches!(unknown.as_str(), "Ingress" | "Egress") {
                let why = format!("{:?} is no policy type and is passed over", shown(unknown));
                let field = format!("spec.policyTypes[{at}]");
                self.note(&field, &why, "write Ingress or Egress");
            }
        }
        let has = |wanted: &str| types.iter().any(|written| written == wanted);
        (has("Ingress"), has("Egress"))
    }

    /// True, and a problem, when there is a field that this version does not know.
    fn is_newer(&mut self, field: &str, unknown: &Unknown) -> bool {
        let Some(name) = unknown.keys().next() else { return false };
        let why = format!("unknown field {:?}: the entry allows nothing", shown(name));
        self.note(field, &why, "remove the field, or use a version of Towpath that knows it");
        true
    }

    fn rule(
        &mut self,
        field: &str,
        side: &str,
        peers: Option<Vec<Peer>>,
        ports: Option<Vec<Port>>,
        unknown: &Unknown,
    ) -> PolicyRule {
        if self.is_newer(field, unknown) {
            return PolicyRule { peers: Some([].into()), ports: None };
        }
        let peers = peers.filter(|peers| !peers.is_empty()).map(|peers| {
            let peers = peers.into_iter().enumerate();
            peers.map(|(at, peer)| self.peer(&format!("{field}.{side}[{at}]"), peer)).collect()
        });
        let ports = ports.filter(|ports| !ports.is_empty()).map(|ports| {
            let ports = ports.into_iter().enumerate();
            ports.map(|(at, port)| self.port(&format!("{field}.ports[{at}]"), port)).collect()
        });
        PolicyRule { peers, ports }
    }

    fn peer(&mut self, field: &str, written: Peer) -> PolicyPeer {
        let Peer { pod_selector, namespace_selector, ip_block, unknown } = written;
        if self.is_newer(field, &unknown) {
            return PolicyPeer::Nothing;
        }
        match (namespace_selector, pod_selector, ip_block) {
            (None, None, Some(block)) => self.block(&format!("{field}.ipBlock"), block),
            (None, None, None) => {
                let why = "neither a selector nor an ipBlock: the entry matches nothing";
                self.note(field, why, "write podSelector, namespaceSelector or ipBlock");
                PolicyPeer::Nothing
            }
            (_, _, Some(_)) => {
                let why = "an ipBlock beside a selector: the entry matches nothing";
                self.note(field, why, "make two entries of it");
                PolicyPeer::Nothing
            }
            (namespaces, pods, None) => PolicyPeer::Pods {
                namespaces: namespaces
                    .map(|written| self.selector(&format!("{field}.namespaceSelector"), written)),
                pods: match pods {
                    Some(written) => self.selector(&format!("{field}.podSelector"), written),
                    None => Selector::everything(),
                },
            },
        }
    }

    fn block(&mut self, field: &str, written: IpBlock) -> PolicyPeer {
        let IpBlock { cidr, except, unknown } = written;
        if self.is_newer(field, &unknown) {
            return PolicyPeer::Nothing;
        }
        let text = cidr.unwrap_or_default();
        let Some(cidr) = Cidr::parse(&text).filter(is_plain) else {
            let why = format!("{:?} is not a block of addresses: it matches nothing", shown(&text));
            self.note(&format!("{field}.cidr"), &why, "write it as 192.0.2.0/24 or 2001:db8::/32");
            return PolicyPeer::Nothing;
        };
        let mut inside = Vec::new();
        for (at, text) in except.unwrap_or_default().iter().enumerate() {
            let field = format!("{field}.except[{at}]");
            match Cidr::parse(text).filter(is_plain) {
                Some(one) if cidr.contains(one.base) && one.prefix >= cidr.prefix => {
                    inside.push(one);
                }
                Some(_) => {
                    let why =
                        format!("{:?} is outside of the block: it has no effect", shown(text));
                    self.note(&field, &why, "write a block that is inside of cidr");
                }
                None => {
                    let shown = shown(text);
                    let why = format!(
                        "{shown:?} is no block of addresses: all of the ipBlock matches nothing"
                    );
                    self.note(&field, &why, "write it as 192.0.2.0/24 or 2001:db8::/32");
                    return PolicyPeer::Nothing;
                }
            }
        }
        inside.sort_unstable();
        inside.dedup();
        PolicyPeer::Block { cidr, except: inside.into() }
    }

    fn port(&mut self, field: &str, written: Port) -> PolicyPort {
        let Port { protocol: text, port, end_port, unknown } = written;
        if self.is_newer(field, &unknown) {
            return PolicyPort::Nothing;
        }
        let Some(protocol) = protocol(text.as_deref()) else {
            let shown = shown(text.as_deref().unwrap_or_default());
            let why = format!("{shown:?} is no protocol of a policy: the entry matches nothing");
            self.note(&format!("{field}.protocol"), &why, "write TCP, UDP or SCTP");
            return PolicyPort::Nothing;
        };
        let number = |number: i64| u16::try_from(number).ok().filter(|number| *number != 0);
        match (port, end_port) {
            (None, None) => PolicyPort::Range { protocol, first: 0, last: u16::MAX },
            (Some(NumberOrName::Name(name)), None) if !name.is_empty() => {
                PolicyPort::Named { protocol, name: name.into() }
            }
            (Some(NumberOrName::Number(first)), last) => {
                let range = (number(first), number(last.unwrap_or(first)));
                if let (Some(first), Some(last)) = range
                    && first <= last
                {
                    return PolicyPort::Range { protocol, first, last };
                }
                let why =
                    "not a port, or a range of ports, of 1 to 65535: the entry matches nothing";
                self.note(field, why, "write a port, and an endPort that is not below it");
                PolicyPort::Nothing
            }
            (None | Some(NumberOrName::Name(_)), _) => {
                let why =
                    "an endPort without a number as port, or an empty name: it matches nothing";
                self.note(field, why, "write the port as a number");
                PolicyPort::Nothing
            }
        }
    }

    fn selector(&mut self, field: &str, written: WireSelector) -> Selector {
        let WireSelector { match_labels, match_expressions, unknown } = written;
        let mut all = Vec::new();
        let mut wrong =
            unknown.keys().next().map(|name| format!("unknown field {:?}", shown(name)));
        for (key, value) in match_labels.unwrap_or_default() {
            match requirement(&key, "In", vec![value]) {
                Ok(one) => all.push(one),
                Err(why) => wrong = wrong.or(Some(why)),
            }
        }
        for Expression { key, operator, values, unknown } in match_expressions.unwrap_or_default() {
            let newer =
                unknown.keys().next().map(|name| format!("unknown field {:?}", shown(name)));
            let (key, operator) = (key.unwrap_or_default(), operator.unwrap_or_default());
            match newer
                .map_or_else(|| requirement(&key, &operator, values.unwrap_or_default()), Err)
            {
                Ok(one) => all.push(one),
                Err(why) => wrong = wrong.or(Some(why)),
            }
        }
        if let Some(why) = wrong {
            self.note(
                field,
                &format!("{why}: the selector matches nothing"),
                "correct the selector",
            );
            return Selector::Nothing;
        }
        all.sort_unstable();
        all.dedup();
        Selector::All(all.into())
    }
}

/// A block that means what it says: an IPv4-mapped one would mean an IPv4 block to one reader and
/// none to another.
fn is_plain(cidr: &Cidr) -> bool {
    match cidr.base {
        std::net::IpAddr::V4(_) => true,
        std::net::IpAddr::V6(v6) => v6.to_ipv4_mapped().is_none(),
    }
}

/// As labels.NewRequirement judges it.
fn requirement(key: &str, operator: &str, mut values: Vec<String>) -> Result<Requirement, String> {
    let is_set = |values: &[String]| match values.is_empty() {
        true => Err(format!("{} without values", shown(operator))),
        false => Ok(()),
    };
    let operator = match operator {
        "In" => is_set(&values).map(|()| Operator::In)?,
        "NotIn" => is_set(&values).map(|()| Operator::NotIn)?,
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            return Err(format!("{operator} with values"));
        }
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => return Err(format!("{:?} is no operator", shown(other))),
    };
    if !is_label_name(key) {
        return Err(format!("{:?} is no name of a label", shown(key)));
    }
    if let Some(value) = values.iter().find(|value| !value.is_empty() && !is_word(value, 63)) {
        return Err(format!("{:?} is no value of a label", shown(value)));
    }
    values.sort_unstable();
    values.dedup();
    Ok(Requirement {
        key: key.into(),
        operator,
        values: values.into_iter().map(Into::into).collect(),
    })
}

/// A qualified name: `[prefix/]name`.
fn is_label_name(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_word(name, 63) && is_subdomain(prefix),
        None => is_word(key, 63),
    }
}

/// Letters and digits, with `-`, `_` and `.` between them.
fn is_word(text: &str, longest: usize) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= longest
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests;
