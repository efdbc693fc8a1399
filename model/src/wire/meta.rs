//! `metadata`, and the collector of problems that conversions share.

use std::net::IpAddr;

use serde::Deserialize;

use super::{
    address::{Parsed, parse},
    map::Texts,
};
use crate::{Code, Key, Kind, Meta, ObjectName, Problem, why_unroutable};

/// As written. `L` and `A` are what labels and annotations are read as.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WireMeta<L: Default = Texts, A: Default = Texts> {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
    creation_timestamp: Option<String>,
    pub(super) deletion_timestamp: Option<String>,
    pub(super) labels: Option<L>,
    pub(super) annotations: Option<A>,
}

impl WireMeta {
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.as_ref()?.get(name)
    }
    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name)
    }
}

/// Problems found while an object is converted.
pub(super) struct Notes {
    key: Key,
    problems: Vec<Problem>,
}

impl Notes {
    /// The object's name; an object without one cannot be kept.
    pub(super) fn begin<L: Default, A: Default>(
        kind: Kind,
        meta: &WireMeta<L, A>,
    ) -> Result<Self, Problem> {
        let name = meta.name.as_deref().unwrap_or_default();
        if name.is_empty() {
            let why = format!("a {kind} without a name");
            return Err(Problem::new(
                Code::ObjectUnreadable,
                None,
                "metadata.name",
                &why,
                "give it a name",
            ));
        }
        let namespace = kind.complete_namespace(meta.namespace.as_deref());
        let key = Key { kind, name: ObjectName::new(namespace, name) };
        Ok(Self { key, problems: Vec::new() })
    }

    pub(super) fn name(&self) -> &ObjectName {
        &self.key.name
    }

    pub(super) fn note(&mut self, field: &str, why: &str, action: &str) {
        self.problems.push(self.problem(field, why, action));
    }

    pub(super) fn problem(&self, field: &str, why: &str, action: &str) -> Problem {
        Problem::new(Code::FieldUnusable, Some(self.key.clone()), field, why, action)
    }

    /// An address, or a problem.
    pub(super) fn address(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        let text_shown = shown(text);
        match parse(text) {
            Parsed::Fine(ip) if !ip.is_unspecified() => Some(ip),
            Parsed::LeadingZeros(ip) if !ip.is_unspecified() => {
                let why = format!("{text_shown:?} has leading zeros and is read as {ip}");
                self.note(field, &why, "write it without leading zeros");
                Some(ip)
            }
            Parsed::Mapped(v4) => {
                let why = format!("{text_shown:?} is an IPv4-mapped address and is not used");
                self.note(field, &why, &format!("write {v4}"));
                None
            }
            Parsed::Fine(_) | Parsed::LeadingZeros(_) | Parsed::Wrong => {
                let why = format!("{text_shown:?} is not an address that can be used");
                self.note(field, &why, "write an IPv4 or IPv6 address");
                None
            }
        }
    }

    /// An address that leads to one host, or a problem. Others would hand what a socket says to
    /// itself, its link or its cloud's metadata server over to the author of the object.
    pub(super) fn destination(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        let ip = self.address(field, text)?;
        let Some(why) = why_unroutable(ip) else { return Some(ip) };
        let why = format!("{ip} is {why} and is not served");
        self.note(field, &why, "remove it, or write an address that leads to one host");
        None
    }

    /// A port number from 1 to 65535, or a problem.
    pub(super) fn port(&mut self, field: &str, number: i64) -> Option<u16> {
        let port = u16::try_from(number).ok().filter(|port| *port != 0);
        if port.is_none() {
            let why = format!("{number} is not a port and is not used");
            self.note(field, &why, "use a number from 1 to 65535");
        }
        port
    }

    pub(super) fn finish<L: Default, A: Default>(self, wire: WireMeta<L, A>) -> Meta {
        Meta {
            name: self.key.name,
            uid: wire.uid.unwrap_or_default().into(),
            resource_version: wire.resource_version.unwrap_or_default().into(),
            created: wire.creation_timestamp.unwrap_or_default().into(),
            problems: self.problems.into(),
        }
    }
}

/// Of what strangers wrote, this much is repeated.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// A protocol as the API writes it; `None` for one that this version does not know.
pub(super) fn protocol(text: Option<&str>) -> Option<crate::Protocol> {
    match text {
        None | Some("" | "TCP") => Some(crate::Protocol::Tcp),
        Some("UDP") => Some(crate::Protocol::Udp),
        Some("SCTP") => Some(crate::Protocol::Sctp),
        Some(_) => None,
    }
}
