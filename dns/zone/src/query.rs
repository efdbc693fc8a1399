//! A message of a client, read within bounds.

use crate::{name::MAX_NAME, rcode, rtype};

/// Bytes of a header.
pub(crate) const HEADER: usize = 12;
const QR: u16 = 1 << 15;

/// One question, and what came with it.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The header's second word.
    pub flags: u16,
    /// The question as it was asked: name in its spelling, type and class.
    pub question: &'a [u8],
    lower: [u8; MAX_NAME],
    length: usize,
    /// The type that is asked for.
    pub rtype: u16,
    /// The class that is asked for.
    pub class: u16,
    /// EDNS, where the client speaks it.
    pub edns: Option<Edns>,
}

/// What a client says in its OPT record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edns {
    /// The largest answer that it takes over UDP.
    pub udp_size: u16,
    /// The version; only 0 exists.
    pub version: u8,
    /// DNSSEC records are wanted.
    pub dnssec_ok: bool,
}

/// A message that is no question to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No reply: it is a reply itself, or has no header.
    Drop,
    /// A header with this code.
    Code(u16),
}

impl<'a> Query<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// When there is nothing to answer, or not as a question.
    pub fn parse(message: &'a [u8]) -> Result<Self, Refusal> {
        let word = |at| word(message, at).ok_or(Refusal::Drop);
        let (flags, questions) = (word(2)?, word(4)?);
        let (answers, authority, additional) = (word(6)?, word(8)?, word(10)?);
        if flags & QR != 0 {
            return Err(Refusal::Drop);
        }
        if flags >> 11 & 0xf != 0 {
            return Err(Refusal::Code(rcode::NOTIMP));
        }
        // As miekg/dns, which CoreDNS reads messages with: more is no question of a client.
        if questions != 1 || answers > 1 || authority > 1 || additional > 2 {
            return Err(Refusal::Code(rcode::FORMERR));
        }
        Self::body(message, flags, answers + authority, additional)
            .ok_or(Refusal::Code(rcode::FORMERR))
    }

    fn body(message: &'a [u8], flags: u16, others: u16, additional: u16) -> Option<Self> {
        let mut lower = [0; MAX_NAME];
        let mut length = 0;
        let mut at = HEADER;
        loop {
            let label = usize::from(*message.get(at)?);
            // A pointer has nothing to point at in a first name; 0x40 and 0x80 are reserved.
            let bytes = message.get(at..=at + label).filter(|_| label < 64)?;
            let to = lower.get_mut(length..length + bytes.len())?;
            to.copy_from_slice(bytes);
            to.make_ascii_lowercase();
            length += bytes.len();
            at += bytes.len();
            if label == 0 {
                break;
            }
        }
        let (rtype, class) = (word(message, at)?, word(message, at + 2)?);
        let question = message.get(HEADER..at + 4)?;
        let mut query = Self { flags, question, lower, length, rtype, class, edns: None };
        let mut at = at + 4;
        for _ in 0..others {
            at = record(message, at)?.end;
        }
        for _ in 0..additional {
            let record = record(message, at)?;
            if record.rtype == rtype::OPT {
                // One at most, of the root (RFC 6891 6.1.1).
                if query.edns.is_some() || !record.root {
                    return None;
                }
                let [_, version, high, _] = record.ttl;
                let edns = Edns { udp_size: record.class, version, dnssec_ok: high & 0x80 != 0 };
                query.edns = Some(edns);
            }
            at = record.end;
        }
        Some(query)
    }

    /// The name that is asked for, in wire form and lower case.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.lower.get(..self.length).unwrap_or_default()
    }
}

/// A record that is passed over.
struct Record {
    root: bool,
    rtype: u16,
    class: u16,
    ttl: [u8; 4],
    end: usize,
}

fn record(message: &[u8], start: usize) -> Option<Record> {
    let mut at = start;
    // A name ends with an empty label or a pointer; each label takes us forward.
    loop {
        match *message.get(at)? {
            0 => break at += 1,
            length @ 1..64 => at += 1 + usize::from(length),
            192.. => break at += 2,
            _ => return None,
        }
        if at - start > MAX_NAME {
            return None;
        }
    }
    let ttl = message.get(at + 4..at + 8)?.try_into().ok()?;
    let end = at + 10 + usize::from(word(message, at + 8)?);
    message.get(at..end)?;
    let root = message.get(start) == Some(&0);
    Some(Record { root, rtype: word(message, at)?, class: word(message, at + 2)?, ttl, end })
}

fn word(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at + 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}
