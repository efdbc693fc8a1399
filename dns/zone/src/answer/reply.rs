//! The records of an answer.

use std::{net::IpAddr, sync::Arc};

use super::{Client, Found};
use crate::{
    Query, Snapshot,
    query::HEADER,
    records::{Addresses, Host, Port, Records},
    reverse::Pointer,
    rtype,
    write::{Owner, QUESTION, Section, Writer},
};

/// dns-version: the schema of the specification, and the TTL of its example.
const VERSION: (&[u8], u32) = (b"\x051.1.0", 28_800);

/// What an answer is made of.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) client: Client,
    pub(super) query: &'a Query<'a>,
}

impl Names<'_> {
    /// Writes what is found and of the type that is asked for; `false`: there is none.
    pub(super) fn records(&self, out: &mut Writer<'_>, found: Found<'_>, owner: Owner<'_>) -> bool {
        let rtype = self.query.rtype;
        match (found, rtype) {
            (Found::Apex, rtype::SOA) => {
                let ttl = self.snapshot.zone.settings.ttl;
                self.soa(out, Section::Answer, owner, ttl)
            }
            (Found::Apex, rtype::NS) => self.servers(out, owner),
            (Found::Server, rtype::A | rtype::AAAA) => {
                self.snapshot.server().is_some_and(|server| {
                    self.addresses(out, Section::Answer, owner, &server.own, rtype)
                })
            }
            (Found::Version, rtype::TXT) => {
                let (text, ttl) = VERSION;
                out.record(Section::Answer, owner, rtype::TXT, ttl, &[text]);
                true
            }
            (Found::Service(records), rtype::A | rtype::AAAA) => {
                self.addresses(out, Section::Answer, owner, &records.own, rtype)
            }
            (Found::Host(records, at), rtype::A | rtype::AAAA) => {
                records.hosts.get(at).is_some_and(|host| {
                    self.addresses(out, Section::Answer, owner, &host.addresses, rtype)
                })
            }
            (Found::Port(records, protocol, name), rtype::A | rtype::AAAA) => {
                let is = |port: &Port| port.protocol == protocol && *port.name == *name;
                self.of_port(out, owner, records, &is)
            }
            (Found::Service(records), rtype::SRV) => self.srv(out, owner, records, None, &|_| true),
            (Found::Host(records, at), rtype::SRV) => {
                self.srv(out, owner, records, Some(at), &|_| true)
            }
            (Found::Port(records, protocol, name), rtype::SRV) => {
                let is = |port: &Port| port.protocol == protocol && *port.name == *name;
                self.srv(out, owner, records, None, &is)
            }
            (Found::Pod(address), rtype::A | rtype::AAAA) => self.pod(out, owner, address),
            _ => false,
        }
    }

    /// The SOA record of a negative answer: how long it holds (RFC 2308).
    pub(super) fn authority(&self, out: &mut Writer<'_>, owner: Owner<'_>) {
        let ttl = self.snapshot.zone.settings.negative_ttl;
        self.soa(out, Section::Authority, owner, ttl);
    }

    /// Where the question's name ends with this; the chain of an answer begins at a name of ours.
    pub(super) fn suffix<'s>(&self, suffix: &'s [u8]) -> Owner<'s> {
        let before = self.query.name().len().checked_sub(suffix.len());
        match before.and_then(|before| u16::try_from(before + HEADER).ok()) {
            Some(at) => Owner::Pointer(0xc000 | at),
            None => Owner::Name(suffix),
        }
    }

    /// Names of an address: that of the Service alone, else those of all endpoints that have it.
    pub(super) fn pointers(&self, out: &mut Writer<'_>, pointers: &[Pointer]) {
        let many = match pointers.first() {
            Some(first) if first.host.is_none() => 1,
            _ => pointers.len(),
        };
        let domain = self.snapshot.zone.settings.domain.wire();
        let ttl = self.snapshot.zone.settings.ttl;
        for pointer in pointers.iter().take(many) {
            let records = &pointer.records;
            let at = pointer.host.and_then(|at| usize::try_from(at).ok());
            let label = at.and_then(|at| records.hosts.get(at)).map_or(&[][..], |host| &host.label);
            let target = [label, &records.key, b"\x03svc", domain];
            let owner = Owner::Pointer(QUESTION);
            if !out.record(Section::Answer, owner, rtype::PTR, ttl, &target) {
                return;
            }
        }
    }

    fn soa(&self, out: &mut Writer<'_>, section: Section, owner: Owner<'_>, ttl: u32) -> bool {
        let zone = &self.snapshot.zone;
        let [refresh, retry, expire] = [7200u32, 1800, 86400].map(u32::to_be_bytes);
        let serial = self.snapshot.serial.to_be_bytes();
        let minimum = zone.settings.negative_ttl.to_be_bytes();
        let (primary, mailbox) = (zone.primary.wire(), zone.mailbox.wire());
        let parts: [&[u8]; 7] = [primary, mailbox, &serial, &refresh, &retry, &expire, &minimum];
        out.record(section, owner, rtype::SOA, ttl, &parts);
        true
    }

    /// NS: the Service of this server where there is one, else the name that SOA records have.
    fn servers(&self, out: &mut Writer<'_>, owner: Owner<'_>) -> bool {
        let zone = &self.snapshot.zone;
        let ttl = zone.settings.ttl;
        let Some(server) = self.snapshot.server() else {
            let name = zone.primary.wire();
            out.record(Section::Answer, owner, rtype::NS, ttl, &[name]);
            return true;
        };
        let name = Target { host: None, records: server };
        let mut buffer = [0; 255];
        let name = name.write(zone.settings.domain.wire(), &mut buffer);
        out.record(Section::Answer, owner, rtype::NS, ttl, &[name]);
        for rtype in [rtype::A, rtype::AAAA] {
            self.addresses(out, Section::Additional, Owner::Name(name), &server.own, rtype);
        }
        true
    }

    /// Addresses of the family that is asked for, each answer beginning with another.
    fn addresses(
        &self,
        out: &mut Writer<'_>,
        section: Section,
        owner: Owner<'_>,
        addresses: &Addresses,
        rtype: u16,
    ) -> bool {
        match rtype {
            rtype::A => self.rotated(out, section, owner, rtype, &addresses.v4),
            _ => self.rotated(out, section, owner, rtype, &addresses.v6),
        }
    }

    fn rotated<const N: usize>(
        &self,
        out: &mut Writer<'_>,
        section: Section,
        owner: Owner<'_>,
        rtype: u16,
        all: &[[u8; N]],
    ) -> bool {
        let (before, after) = all.split_at(self.begin(all.len()));
        let ttl = self.snapshot.zone.settings.ttl;
        for address in after.iter().chain(before) {
            if !out.record(section, owner, rtype, ttl, &[address]) {
                break;
            }
        }
        !all.is_empty()
    }

    /// Where an answer of so many begins.
    fn begin(&self, many: usize) -> usize {
        let rotation = usize::try_from(self.client.rotation).unwrap_or_default();
        rotation.checked_rem(many).unwrap_or_default()
    }

    fn pod(&self, out: &mut Writer<'_>, owner: Owner<'_>, address: IpAddr) -> bool {
        let ttl = self.snapshot.zone.settings.ttl;
        match (address, self.query.rtype) {
            (IpAddr::V4(v4), rtype::A) => {
                out.record(Section::Answer, owner, rtype::A, ttl, &[&v4.octets()]);
            }
            (IpAddr::V6(v6), rtype::AAAA) => {
                out.record(Section::Answer, owner, rtype::AAAA, ttl, &[&v6.octets()]);
            }
            _ => return false,
        }
        true
    }

    /// Addresses of those that have a port.
    fn of_port(
        &self,
        out: &mut Writer<'_>,
        owner: Owner<'_>,
        records: &Records,
        is: &dyn Fn(&Port) -> bool,
    ) -> bool {
        let mut any = false;
        for port in records.ports.iter().filter(|port| is(port)) {
            let Some(hosts) = &port.hosts else {
                let rtype = self.query.rtype;
                return self.addresses(out, Section::Answer, owner, &records.own, rtype);
            };
            for host in hosts.iter().filter_map(|at| host(records, *at)) {
                let rtype = self.query.rtype;
                any |= self.addresses(out, Section::Answer, owner, &host.addresses, rtype);
            }
        }
        any
    }

    /// SRV records of the ports, and the addresses of where they lead.
    fn srv(
        &self,
        out: &mut Writer<'_>,
        owner: Owner<'_>,
        records: &Arc<Records>,
        only: Option<usize>,
        is: &dyn Fn(&Port) -> bool,
    ) -> bool {
        let domain = self.snapshot.zone.settings.domain.wire();
        let each = |each: &mut dyn FnMut(u16, Target<'_>)| {
            for port in records.ports.iter().filter(|port| is(port)) {
                match &port.hosts {
                    // A ClusterIP's port is no port of its endpoints.
                    None if only.is_none() => each(port.number, Target { host: None, records }),
                    None => {}
                    Some(hosts) => {
                        let wanted =
                            |at: &&u32| only.is_none() || usize::try_from(**at).ok() == only;
                        let hosts = hosts.iter().filter(wanted);
                        for host in hosts.filter_map(|at| host(records, *at)) {
                            each(port.number, Target { host: Some(host), records });
                        }
                    }
                }
            }
        };
        let mut entries = 0;
        each(&mut |_, target| entries += target.addresses().count());
        // As CoreDNS: 100 shared among each pair of an address and a port.
        let weight = u16::try_from(100usize.checked_div(entries).unwrap_or(1).max(1)).unwrap_or(1);
        let ttl = self.snapshot.zone.settings.ttl;
        let mut any = false;
        each(&mut |number, target| {
            any = true;
            let mut buffer = [0; 255];
            let name = target.write(domain, &mut buffer);
            let (weight, number) = (weight.to_be_bytes(), number.to_be_bytes());
            let data: [&[u8]; 4] = [&[0, 0], &weight, &number, name];
            out.record(Section::Answer, owner, rtype::SRV, ttl, &data);
        });
        // Where not even the records fit, addresses are asked for by TCP as well.
        if !out.truncated {
            self.targets(out, records, only, is);
        }
        any
    }

    /// The addresses of where SRV records lead: of each target once, however many ports lead to it.
    fn targets(
        &self,
        out: &mut Writer<'_>,
        records: &Arc<Records>,
        only: Option<usize>,
        is: &dyn Fn(&Port) -> bool,
    ) {
        let mut write = |target: Target<'_>| {
            let mut buffer = [0; 255];
            let name = target.write(self.snapshot.zone.settings.domain.wire(), &mut buffer);
            for rtype in [rtype::A, rtype::AAAA] {
                let owner = Owner::Name(name);
                self.addresses(out, Section::Additional, owner, target.addresses(), rtype);
            }
        };
        let ports = || records.ports.iter().filter(|port| is(port));
        if only.is_none() && ports().any(|port| port.hosts.is_none()) {
            write(Target { host: None, records });
        }
        for (at, host) in (0u32..).zip(&records.hosts) {
            let wanted = only.is_none_or(|only| usize::try_from(at).ok() == Some(only));
            // The hosts of a port are in order.
            let has = |port: &Port| {
                port.hosts.as_ref().is_some_and(|hosts| hosts.binary_search(&at).is_ok())
            };
            if wanted && ports().any(has) {
                write(Target { host: Some(host), records });
            }
        }
    }
}

fn host(records: &Records, at: u32) -> Option<&Host> {
    usize::try_from(at).ok().and_then(|at| records.hosts.get(at))
}

/// Where an SRV record leads.
#[derive(Clone, Copy)]
struct Target<'a> {
    host: Option<&'a Host>,
    records: &'a Records,
}

impl<'a> Target<'a> {
    fn addresses(&self) -> &'a Addresses {
        self.host.map_or(&self.records.own, |host| &host.addresses)
    }

    /// Its name in wire form. Names that would not fit have no records.
    fn write<'b>(&self, domain: &[u8], buffer: &'b mut [u8; 255]) -> &'b [u8] {
        let label = self.host.map_or(&[][..], |host| &host.label);
        let mut length = 0;
        for part in [label, &self.records.key, b"\x03svc", domain] {
            if let Some(to) = buffer.get_mut(length..length + part.len()) {
                to.copy_from_slice(part);
                length += part.len();
            }
        }
        buffer.get(..length).unwrap_or_default()
    }
}
