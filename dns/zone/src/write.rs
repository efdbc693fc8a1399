//! A message being written: whole records or nothing, never past its limit.

use crate::{
    UDP_SIZE,
    query::{HEADER, Query},
    rcode,
};

/// Bytes of an OPT record without options.
const OPT: usize = 11;
/// The option for extended errors (RFC 8914 2): its number, length and one code.
const EXTENDED: [u8; 4] = [0, 15, 0, 2];
const STALE_ANSWER: [u8; 2] = [0, 3];
const STALE_NXDOMAIN: [u8; 2] = [0, 19];
/// Where the name of the question is.
pub(crate) const QUESTION: u16 = 0xc000 | 12;

/// Whose record it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner<'a> {
    /// The name that stands at this place of the question.
    Pointer(u16),
    /// A name in full.
    Name(&'a [u8]),
}

/// The section that a record is written to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Section {
    Answer,
    Authority,
    Additional,
}

/// A message being written.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    out: &'a mut [u8],
    /// Where records begin.
    body: usize,
    at: usize,
    limit: usize,
    counts: [u16; 3],
    edns: bool,
    stale: bool,
    pub(crate) truncated: bool,
}

impl<'a> Writer<'a> {
    /// With room for `limit` bytes, the question being there already; `None` when not even that fits.
    /// `stale`: what is written may not be so any more, which is said where there is a way to.
    pub(crate) fn begin(
        out: &'a mut [u8],
        limit: usize,
        query: &Query<'_>,
        stale: bool,
    ) -> Option<Self> {
        let edns = query.edns.is_some();
        let opt = match (edns, stale) {
            (false, _) => 0,
            (true, false) => OPT,
            (true, true) => OPT + EXTENDED.len() + STALE_ANSWER.len(),
        };
        let limit = limit.min(out.len()).checked_sub(opt)?;
        let at = HEADER + query.question.len();
        if at > limit {
            return None;
        }
        out.get_mut(HEADER..at)?.copy_from_slice(query.question);
        Some(Self { out, body: at, at, limit, counts: [0; 3], edns, stale, truncated: false })
    }

    /// Writes a record whose data are these parts; `false` when it does not fit, and nothing of it is
    /// there then.
    pub(crate) fn record(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: u16,
        ttl: u32,
        parts: &[&[u8]],
    ) -> bool {
        let pointer;
        let owner: &[u8] = match owner {
            Owner::Pointer(at) => {
                pointer = at.to_be_bytes();
                &pointer
            }
            Owner::Name(name) => name,
        };
        let data: usize = parts.iter().map(|part| part.len()).sum();
        let room = self.limit - self.at;
        let (Ok(length), true) = (u16::try_from(data), owner.len() + 10 + data <= room) else {
            // What is left out of the additional section is asked for where it is needed (RFC 2181 9).
            self.truncated |= section != Section::Additional;
            return false;
        };
        self.put(owner);
        self.put(&rtype.to_be_bytes());
        self.put(&[0, 1]);
        self.put(&ttl.to_be_bytes());
        self.put(&length.to_be_bytes());
        parts.iter().for_each(|part| self.put(part));
        self.counts[section as usize] += 1;
        true
    }

    /// Without the records written so far.
    pub(crate) fn clear(&mut self) {
        self.at = self.body;
        self.counts = [0; 3];
        self.truncated = false;
    }

    /// The room was made sure of.
    fn put(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        if let Some(to) = self.out.get_mut(self.at..end) {
            to.copy_from_slice(bytes);
            self.at = end;
        }
    }

    /// Header and OPT; answers the length.
    pub(crate) fn finish(
        mut self,
        id: [u8; 2],
        query: &Query<'_>,
        rcode: u16,
        ours: bool,
    ) -> usize {
        let mut additional = self.counts[2];
        if self.edns {
            let dnssec_ok = query.edns.is_some_and(|edns| edns.dnssec_ok);
            let size = UDP_SIZE.to_be_bytes();
            let high = u8::try_from(rcode >> 4).unwrap_or(u8::MAX);
            let flags = if dnssec_ok { 0x80 } else { 0 };
            let said = match (self.stale && ours, rcode) {
                (false, _) => None,
                (true, rcode::NXDOMAIN) => Some(STALE_NXDOMAIN),
                (true, _) => Some(STALE_ANSWER),
            };
            let length = if said.is_some() { 6 } else { 0 };
            let opt = [0, 0, 41, size[0], size[1], high, 0, flags, 0, 0, length];
            // Room for it was kept from the beginning.
            self.put(&opt);
            if let Some(said) = said {
                self.put(&EXTENDED);
                self.put(&said);
            }
            additional += 1;
        }
        let flags = flags(query.flags, rcode, ours, self.truncated);
        let words = [flags, 1, self.counts[0], self.counts[1], additional];
        header(self.out, id, words);
        self.at
    }
}

/// QR, what is echoed of the query (RD, CD), and what the reply adds.
pub(crate) const fn flags(asked: u16, rcode: u16, ours: bool, truncated: bool) -> u16 {
    let echoed = asked & 0x0110;
    let ours = if ours { 1 << 10 } else { 0 };
    let truncated = if truncated { 1 << 9 } else { 0 };
    // Recursion is available: what is not ours is asked for upstream.
    1 << 15 | echoed | ours | truncated | 1 << 7 | rcode & 0xf
}

/// Writes a header: flags and the four counts.
pub(crate) fn header(out: &mut [u8], id: [u8; 2], words: [u16; 5]) {
    let bytes = words.into_iter().flat_map(u16::to_be_bytes);
    for (to, byte) in out.iter_mut().zip(id.into_iter().chain(bytes)) {
        *to = byte;
    }
}
