//! One message in, one answer out.

mod find;
mod reply;

use std::net::IpAddr;

use crate::{
    Snapshot,
    labels::Labels,
    name::{MAX_NAME, Name},
    query::{HEADER, Query, Refusal},
    rcode,
    records::ServiceKind,
    reverse, rtype,
    write::{self, Owner, QUESTION, Section, Writer},
};
use find::Found;
use reply::Names;

/// The class of the Internet.
const IN: u16 = 1;
/// A chain of CNAMEs is followed so far.
const CHAIN: usize = 8;

/// By which way a message came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// UDP: an answer is as large as the client says, and 512 bytes when it says nothing.
    Udp,
    /// TCP: an answer is as large as its length can say.
    Tcp,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// By which way.
    pub transport: Transport,
    /// Where answers of several records begin: another number for each answer.
    pub rotation: u32,
}

/// What becomes of a message.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation for each question")]
pub enum Outcome {
    /// The answer stands in the buffer.
    Reply(Reply),
    /// Others know the answer.
    Miss(Miss),
    /// No answer.
    Drop,
}

/// An answer in the buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Its length.
    pub length: usize,
    /// Its code.
    pub rcode: u16,
    /// It is about our zones.
    pub ours: bool,
    /// Records were left out.
    pub truncated: bool,
}

/// A question for an upstream.
#[derive(Clone, Copy, Debug)]
pub struct Miss {
    name: [u8; MAX_NAME],
    length: usize,
    /// Records were written so far: the message in the buffer is so long, and its CNAMEs lead from the
    /// name that was asked for to the one that an upstream is to be asked for. 0: there are none.
    pub written: usize,
}

impl Miss {
    fn of(name: &[u8], written: usize) -> Self {
        let mut miss = Self { name: [0; MAX_NAME], length: name.len().min(MAX_NAME), written };
        for (to, byte) in miss.name.iter_mut().zip(name) {
            *to = *byte;
        }
        miss
    }

    /// The name to ask for, in wire form and lower case.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.name.get(..self.length).unwrap_or_default()
    }
}

/// Answers a message. `out` should have room for 65,535 bytes with TCP, and for 4,096 with UDP.
pub fn answer(snapshot: &Snapshot, client: Client, message: &[u8], out: &mut [u8]) -> Outcome {
    respond(snapshot, client, message, Query::parse(message).as_ref(), out)
}

/// The same for a message that was read already.
pub fn respond(
    snapshot: &Snapshot,
    client: Client,
    message: &[u8],
    query: Result<&Query<'_>, &Refusal>,
    out: &mut [u8],
) -> Outcome {
    let Some(&[id @ .., _, _]) = message.first_chunk::<4>() else { return Outcome::Drop };
    let query = match query {
        Ok(query) => query,
        Err(Refusal::Drop) => return Outcome::Drop,
        Err(Refusal::Code(code)) => return bare(message, id, *code, out),
    };
    let refused = query.class != IN || matches!(query.rtype, rtype::AXFR | rtype::IXFR);
    let early = match query.edns {
        Some(edns) if edns.version > 0 => Some(rcode::BADVERS),
        _ if query.rtype == rtype::OPT => Some(rcode::FORMERR),
        _ if refused => Some(rcode::REFUSED),
        _ => None,
    };
    let limit = snapshot.settings().limit(client.transport, query);
    let labels = Labels::of(query.name());
    let ours = labels.above(snapshot.zone.settings.domain.wire());
    let pointers = reverse::address(&labels).filter(|(address, _)| known(snapshot, *address));
    if early.is_none() && ours.is_none() && pointers.is_none() {
        return Outcome::Miss(Miss::of(query.name(), 0));
    }
    let Some(writer) = Writer::begin(out, limit, query, snapshot.stale) else {
        return Outcome::Drop;
    };
    let names = Names { snapshot, client, query };
    let answering = Answering { names, writer, id };
    match (early, ours, pointers) {
        (Some(code), _, _) => answering.finish(code, false),
        (None, Some(ours), _) => answering.forward(ours),
        (None, None, Some((address, zone))) => answering.reverse(address, zone),
        (None, None, None) => Outcome::Drop,
    }
}

/// Is the reverse name of this address ours?
fn known(snapshot: &Snapshot, address: IpAddr) -> bool {
    snapshot.reverse.contains_key(&address)
        || snapshot.blocks.iter().any(|block| block.contains(address))
}

/// A header alone: what was asked could not be read.
fn bare(message: &[u8], id: [u8; 2], code: u16, out: &mut [u8]) -> Outcome {
    let Some(&[high, low]) = message.get(2..4).and_then(|flags| flags.first_chunk()) else {
        return Outcome::Drop;
    };
    if out.len() < HEADER {
        return Outcome::Drop;
    }
    let asked = u16::from_be_bytes([high, low]);
    // The opcode is echoed.
    let flags = write::flags(asked, code, false, false) | asked & 0x7800;
    write::header(out, id, [flags, 0, 0, 0, 0]);
    Outcome::Reply(Reply { length: HEADER, rcode: code, ours: false, truncated: false })
}

/// An answer in the making.
struct Answering<'a> {
    names: Names<'a>,
    writer: Writer<'a>,
    id: [u8; 2],
}

impl<'a> Answering<'a> {
    /// A name of the cluster, CNAMEs followed.
    fn forward(mut self, asked: Labels<'a>) -> Outcome {
        let rtype = self.names.query.rtype;
        let snapshot = self.names.snapshot;
        let mut owner = Owner::Pointer(QUESTION);
        let mut asked = asked;
        let mut known: [Option<&Name>; CHAIN] = [None; CHAIN];
        for at in 0..CHAIN {
            let found = find::find(snapshot, &asked);
            let target = match &found {
                Found::Service(records) => match &records.kind {
                    ServiceKind::External(target) if rtype != rtype::ANY => target,
                    _ => return self.write(found, owner),
                },
                _ => return self.write(found, owner),
            };
            if rtype != rtype::CNAME && known.contains(&Some(target)) {
                break;
            }
            if let Some(known) = known.get_mut(at) {
                *known = Some(target);
            }
            let ttl = snapshot.zone.settings.ttl;
            let wire = target.wire();
            self.writer.record(Section::Answer, owner, rtype::CNAME, ttl, &[wire]);
            if rtype == rtype::CNAME || self.writer.truncated {
                return self.finish(rcode::NOERROR, true);
            }
            owner = Owner::Name(wire);
            let labels = Labels::of(wire);
            match labels.above(snapshot.zone.settings.domain.wire()) {
                Some(ours) => asked = ours,
                None => {
                    let written =
                        self.writer.finish(self.id, self.names.query, rcode::NOERROR, true);
                    return Outcome::Miss(Miss::of(wire, written));
                }
            }
        }
        // Names that lead round in a circle lead nowhere.
        self.writer.clear();
        self.finish(rcode::SERVFAIL, true)
    }

    /// What there is at a name, or the proof that there is nothing.
    fn write(mut self, found: Found<'_>, owner: Owner<'_>) -> Outcome {
        let code = match found {
            Found::Absent => rcode::NXDOMAIN,
            _ => rcode::NOERROR,
        };
        if !self.names.records(&mut self.writer, found, owner) {
            let at = self.names.suffix(self.names.snapshot.zone.settings.domain.wire());
            self.names.authority(&mut self.writer, at);
        }
        self.finish(code, true)
    }

    /// The names of an address.
    fn reverse(mut self, address: IpAddr, zone: &[u8]) -> Outcome {
        let snapshot = self.names.snapshot;
        let pointers = snapshot.reverse.get(&address);
        let code = if pointers.is_none() { rcode::NXDOMAIN } else { rcode::NOERROR };
        match pointers {
            Some(pointers) if self.names.query.rtype == rtype::PTR => {
                self.names.pointers(&mut self.writer, pointers);
            }
            _ => {
                let at = self.names.suffix(zone);
                self.names.authority(&mut self.writer, at);
            }
        }
        self.finish(code, true)
    }

    fn finish(mut self, rcode: u16, ours: bool) -> Outcome {
        let cut = self.writer.truncated;
        // There is nothing larger than TCP to ask by: as much as fits is the answer.
        self.writer.truncated &= self.names.client.transport == Transport::Udp;
        let length = self.writer.finish(self.id, self.names.query, rcode, ours);
        Outcome::Reply(Reply { length, rcode, ours, truncated: cut })
    }
}
