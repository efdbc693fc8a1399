//! The reply to a question that others answered.

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query as Asked, ResponseCode},
    rr::{Record, RecordType, rdata::opt::EdnsOption},
};
use towpath_zone::{Query, UDP_SIZE};

use crate::question::{self, Answer, Given};

/// Bytes of a header.
const HEADER: usize = 12;
/// Bytes of the smallest record: the name of the root, type, class, TTL and no data.
const RECORD_MIN: usize = 11;
/// The option for extended errors (RFC 8914 2), and what is said with it.
const EXTENDED: u16 = 15;
const STALE_ANSWER: [u8; 2] = [0, 3];
const STALE_NXDOMAIN: [u8; 2] = [0, 19];

/// Writes the reply. `chain`: CNAMEs of the cluster that led to the question. `limit`: its largest
/// length; records that do not fit are left out whole, and `flag` says so (TC).
pub(crate) fn reply(
    id: u16,
    query: &Query<'_>,
    chain: Vec<Record>,
    given: Given,
    limit: usize,
    flag: bool,
) -> Option<Vec<u8>> {
    let mut message = Message::new(id, MessageType::Response, OpCode::Query);
    message.metadata.recursion_desired = query.flags & 0x0100 != 0;
    message.metadata.checking_disabled = query.flags & 0x0010 != 0;
    message.metadata.recursion_available = true;
    // The chain of the cluster is ours, and its first name is that of the question (RFC 1035 4.1.1).
    message.metadata.authoritative = !chain.is_empty();
    message.metadata.response_code = given.answer.code;
    let name = question::parse(query.name())?;
    message.add_query(Asked::query(name, RecordType::from(query.rtype)));
    message.answers = chain;
    let Given { answer, stale } = given;
    let answer_code = answer.code;
    if answer.is_answer() {
        message.answers.extend(answer.answers);
        message.authorities = answer.authority;
    }
    if let Some(asked) = query.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_SIZE).set_dnssec_ok(asked.dnssec_ok);
        if stale {
            let gone = answer_code == ResponseCode::NXDomain;
            let said = if gone { STALE_NXDOMAIN } else { STALE_ANSWER };
            edns.options_mut().insert(EdnsOption::Unknown(EXTENDED, said.into()));
        }
        message.set_edns(edns);
    }
    let mut bytes = fit(message, limit, flag)?;
    // The client's spelling; the name is not compressed, so it has the same length.
    let end = HEADER + query.question.len();
    bytes.get_mut(HEADER..end)?.copy_from_slice(query.question);
    Some(bytes)
}

/// As many whole records as fit.
fn fit(mut message: Message, limit: usize, flag: bool) -> Option<Vec<u8>> {
    // More records than the limit has room for are left out before anything is written: the work is
    // bounded by the reply, not by the answer.
    let most = limit / RECORD_MIN;
    if message.answers.len() > most {
        message.answers.truncate(most);
    } else {
        let whole = message.to_vec().ok();
        if let Some(whole) = whole.filter(|bytes| bytes.len() <= limit) {
            return Some(whole);
        }
    }
    message.metadata.truncation = flag;
    message.authorities.clear();
    let all = std::mem::take(&mut message.answers);
    let (mut fits, mut not) = (0, all.len() + 1);
    let mut best = None;
    while fits + 1 < not || best.is_none() {
        let many = if best.is_none() { 0 } else { fits.midpoint(not) };
        message.answers = all.iter().take(many).cloned().collect();
        match message.to_vec() {
            Ok(bytes) if bytes.len() <= limit => (fits, best) = (many, Some(bytes)),
            // Not even the question.
            _ if many == 0 => return None,
            _ => not = many,
        }
    }
    best
}

/// The CNAMEs of a message that the zone began.
pub(crate) fn chain(begun: &[u8]) -> Vec<Record> {
    if begun.is_empty() {
        return Vec::new();
    }
    Message::from_vec(begun).map(|message| message.answers).unwrap_or_default()
}

/// SERVFAIL, without an answer: the server is at its limit.
pub(crate) fn busy(id: u16, query: &Query<'_>) -> Option<Vec<u8>> {
    let given = Given { answer: Answer::failed(), stale: false };
    reply(id, query, Vec::new(), given, 512, false)
}
