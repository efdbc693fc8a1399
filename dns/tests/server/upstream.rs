//! An upstream that follows a script.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hickory_proto::{
    op::{Message, MessageType, Query, ResponseCode},
    rr::{
        Name, RData, Record,
        rdata::{A, SOA, TXT},
    },
};

/// What it does about a question, in order.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// It thinks.
    Wait(Duration),
    /// 192.0.2.1, with this TTL.
    Answer(u32),
    /// There is no such name.
    NoName,
    /// A reply with another id.
    WrongId,
    /// A reply to another question.
    WrongQuestion,
    /// A reply from another port.
    WrongPort,
    /// Bytes that are no message.
    Noise,
    /// 192.0.2.1, and what was not asked.
    Poison,
    /// Too large: over TCP, 192.0.2.7 or many texts.
    Truncate,
    /// SERVFAIL.
    Fail,
    /// It knows no EDNS: a header that says so, else 192.0.2.1.
    OldServer,
}

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Upstream {
    pub(crate) fn start(acts: Vec<Act>) -> Self {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        // Both end with the test's process.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let (length, client) = udp.recv_from(&mut buffer).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let query = Message::from_vec(&buffer[..length]).unwrap();
                acts.iter().for_each(|act| follow(*act, &udp, client, &query));
            }
        });
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut query = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut query).unwrap();
                let query = Message::from_vec(&query).unwrap();
                let reply = large(&query).to_vec().unwrap();
                let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
                stream.write_all(&[&length[..], &reply].concat()).unwrap();
            }
        });
        Self { address, asked }
    }

    /// How many questions came over UDP.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn reply(query: &Message) -> Message {
    let mut reply = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    reply.add_queries(query.queries.iter().cloned());
    reply
}

fn address(name: &Name, ttl: u32, last: u8) -> Record {
    Record::from_rdata(name.clone(), ttl, RData::A(A::new(192, 0, 2, last)))
}

fn large(query: &Message) -> Message {
    let name = query.queries[0].name();
    let mut message = reply(query);
    if query.queries[0].query_type() == hickory_proto::rr::RecordType::A {
        message.add_answer(address(name, 60, 7));
    } else {
        for at in 0..100 {
            let text = RData::TXT(TXT::new(vec![format!("text {at} {}", "x".repeat(50))]));
            message.add_answer(Record::from_rdata(name.clone(), 60, text));
        }
    }
    message
}

fn follow(act: Act, socket: &UdpSocket, client: SocketAddr, query: &Message) {
    let name = query.queries[0].name().clone();
    let mut message = reply(query);
    let other = Name::from_ascii("other.example.").unwrap();
    match act {
        Act::Wait(time) => return std::thread::sleep(time),
        Act::Answer(ttl) => {
            message.add_answer(address(&name, ttl, 1));
        }
        Act::NoName => {
            message.metadata.response_code = ResponseCode::NXDomain;
            let (server, mailbox) = (other.clone(), other);
            let soa = RData::SOA(SOA::new(server, mailbox, 1, 2, 3, 4, 5));
            message.add_authority(Record::from_rdata(name.base_name(), 60, soa));
        }
        Act::WrongId => {
            message.metadata.id ^= 1;
            message.add_answer(address(&name, 60, 66));
        }
        Act::WrongQuestion => {
            message.queries = vec![Query::query(other, query.queries[0].query_type())];
            message.add_answer(address(&name, 60, 66));
        }
        Act::WrongPort => {
            message.add_answer(address(&name, 60, 66));
            let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            stranger.send_to(&message.to_vec().unwrap(), client).unwrap();
            return;
        }
        Act::Noise => {
            socket.send_to(b"no message", client).unwrap();
            return;
        }
        Act::Poison => {
            message.add_answer(address(&other, 60, 66));
            message.add_answer(address(&name, 60, 1));
            message.add_additional(address(&other, 60, 66));
        }
        Act::Truncate => message.metadata.truncation = true,
        Act::OldServer if query.edns.is_some() => {
            message.queries.clear();
            message.metadata.response_code = ResponseCode::FormErr;
        }
        Act::OldServer => {
            message.add_answer(address(&name, 60, 1));
        }
        Act::Fail => message.metadata.response_code = ResponseCode::ServFail,
    }
    socket.send_to(&message.to_vec().unwrap(), client).unwrap();
}
