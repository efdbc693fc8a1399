//! One question to one upstream: UDP, and TCP when the answer is too large for it.
//!
//! Each try has a socket of its own, hence a port that the kernel chose, and a random id: a reply must
//! come from the address that was asked and carry the id and the question (RFC 5452).

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
};

use towpath_zone::UDP_SIZE;

use crate::question::{Answer, Question};

/// A chain of CNAMEs is believed so far.
const CHAIN: usize = 16;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The network.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The question cannot be written.
    #[error("the question cannot be asked: {0}")]
    Question(String),
    /// The reply over TCP is none.
    #[error("the reply does not belong to the question, or cannot be read")]
    Reply,
}

/// Asks. Ends only with an answer or an error: the caller has the deadline.
pub(crate) async fn exchange(
    server: SocketAddr,
    question: &Question,
) -> Result<Answer, ExchangeError> {
    let name = question.parsed().ok_or_else(|| ExchangeError::Question("no name".to_owned()))?;
    let query = Query::query(name.clone(), RecordType::from(question.rtype));
    let mut reply = either(server, &query, question, true).await?;
    if knows_no_edns(&reply) {
        reply = either(server, &query, question, false).await?;
    }
    Ok(believed(&name, query.query_type(), reply))
}

/// Over UDP, and over TCP what is too large for it.
async fn either(
    server: SocketAddr,
    query: &Query,
    question: &Question,
    edns: bool,
) -> Result<Message, ExchangeError> {
    match udp(server, query, question, edns).await? {
        reply if reply.metadata.truncation => tcp(server, query, question, edns).await,
        reply => Ok(reply),
    }
}

/// A server that knows no EDNS says that it cannot read the question, or does not do this, and has no OPT
/// record in its reply (RFC 6891 6.2.1, 7).
fn knows_no_edns(reply: &Message) -> bool {
    let code = reply.metadata.response_code;
    matches!(code, ResponseCode::FormErr | ResponseCode::NotImp) && reply.edns.is_none()
}

fn message(
    query: &Query,
    question: &Question,
    with_edns: bool,
) -> Result<(u16, Vec<u8>), ExchangeError> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|error| ExchangeError::Question(error.to_string()))?;
    let id = u16::from_ne_bytes(id);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = question.checking_disabled;
    message.add_query(query.clone());
    if with_edns {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_SIZE).set_dnssec_ok(question.dnssec_ok);
        message.set_edns(edns);
    }
    let bytes = message.to_vec().map_err(|error| ExchangeError::Question(error.to_string()))?;
    Ok((id, bytes))
}

async fn udp(
    server: SocketAddr,
    query: &Query,
    question: &Question,
    edns: bool,
) -> Result<Message, ExchangeError> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let (id, bytes) = message(query, question, edns)?;
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(&bytes).await?;
    // No more was asked for; some servers send a little more than that.
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What is no reply to this question is passed over, and the right one may still come.
        if let Some(reply) = buffer.get(..length).and_then(|bytes| belongs(bytes, id, query)) {
            return Ok(reply);
        }
    }
}

async fn tcp(
    server: SocketAddr,
    query: &Query,
    question: &Question,
    edns: bool,
) -> Result<Message, ExchangeError> {
    let (id, bytes) = message(query, question, edns)?;
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?.to_be_bytes();
    stream.write_all(&[&length[..], &bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut reply = vec![0; usize::from(length)];
    stream.read_exact(&mut reply).await?;
    belongs(&reply, id, query).ok_or(ExchangeError::Reply)
}

/// The reply, when it is one to this question.
fn belongs(bytes: &[u8], id: u16, query: &Query) -> Option<Message> {
    let reply = Message::from_vec(bytes).ok()?;
    let ours = reply.metadata.id == id
        && reply.metadata.message_type == MessageType::Response
        && reply.metadata.op_code == OpCode::Query;
    let same = match &reply.queries[..] {
        [asked] => {
            asked.name() == query.name()
                && asked.query_type() == query.query_type()
                && asked.query_class() == query.query_class()
        }
        // A server that could not read the question may send nothing but a header. That is believed of
        // the question's form alone: it leads to the same question once more, in a simpler form.
        [] => reply.metadata.response_code == ResponseCode::FormErr,
        _ => false,
    };
    (ours && same).then_some(reply)
}

/// What of a reply is an answer to the question: the chain of CNAMEs that begins at the name, and the
/// records at its end. Everything else an upstream says of other names is left out.
fn believed(name: &Name, rtype: RecordType, reply: Message) -> Answer {
    // A code above 15 speaks of EDNS between us and the upstream, not of the name.
    let code = match reply.metadata.response_code {
        code if u16::from(code) > 15 => ResponseCode::ServFail,
        code => code,
    };
    let mut answers: Vec<Record> = Vec::new();
    let mut at = name.clone();
    let mut seen = vec![name.clone()];
    for _ in 0..CHAIN {
        let here = |record: &&Record| record.name == at && is_of(record, rtype);
        let found: Vec<_> = reply.answers.iter().filter(here).cloned().collect();
        let next = found.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if rtype != RecordType::CNAME => Some(target.0.clone()),
            _ => None,
        });
        answers.extend(found);
        match next {
            // A chain in a circle is no answer, and must not be gathered again and again.
            Some(next) if seen.contains(&next) => return Answer::failed(),
            Some(next) => {
                seen.push(next.clone());
                at = next;
            }
            None => break,
        }
    }
    let ends = answers.iter().any(|record| record.name == at);
    let soa = |record: &&Record| {
        record.record_type() == RecordType::SOA && record.name.zone_of(&at) && !ends
    };
    let mut authority: Vec<_> = reply.authorities.iter().filter(soa).take(1).cloned().collect();
    for record in &mut authority {
        // How long a negative answer holds (RFC 2308 5).
        if let RData::SOA(soa) = &record.data {
            record.ttl = record.ttl.min(soa.minimum);
        }
    }
    Answer { code, answers, authority }
}

/// Does it belong to an answer for this type?
fn is_of(record: &Record, rtype: RecordType) -> bool {
    let found = record.record_type();
    found == rtype
        || rtype == RecordType::ANY
        || matches!(found, RecordType::CNAME | RecordType::RRSIG)
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, CNAME};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn leads(from: &str, to: &str) -> Record {
        Record::from_rdata(name(from), 60, RData::CNAME(CNAME(name(to))))
    }

    fn reply(answers: Vec<Record>) -> Message {
        let mut reply = Message::new(1, MessageType::Response, OpCode::Query);
        reply.answers = answers;
        reply
    }

    #[test]
    fn a_chain_in_a_circle_is_a_failure_and_is_gathered_once() {
        for circle in [
            vec![leads("a.example.", "a.example."); 4_000],
            vec![leads("a.example.", "b.example."), leads("b.example.", "a.example.")],
        ] {
            let answer = believed(&name("a.example."), RecordType::A, reply(circle));
            assert_eq!(answer, Answer::failed());
        }
        let address = RData::A(A::new(192, 0, 2, 1));
        let straight = vec![
            leads("a.example.", "b.example."),
            Record::from_rdata(name("b.example."), 60, address),
        ];
        let answer = believed(&name("a.example."), RecordType::A, reply(straight));
        assert_eq!(answer.answers.len(), 2);
    }

    #[test]
    fn a_code_that_speaks_of_edns_is_a_failure() {
        let mut reply = reply(Vec::new());
        reply.metadata.response_code = ResponseCode::BADVERS;
        let answer = believed(&name("a.example."), RecordType::A, reply);
        assert_eq!(answer.code, ResponseCode::ServFail);
    }
}
