//! The record table, on the function that answers: over UDP, with EDNS and without, and over TCP.
#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "table/ask.rs"]
mod ask;
#[path = "table/fixture.rs"]
mod fixture;
#[path = "table/told.rs"]
mod told;

use hickory_proto::{op::Message, rr::RecordType};
use towpath_zone::{PodRecords, Transport};

const ROWS: &str = include_str!("table/rows.txt");

/// Source, name, type, outcome.
fn rows() -> impl Iterator<Item = (&'static str, String, u16, String)> {
    let lines = ROWS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let (source, row) = line.split_once(" | ").unwrap();
        let (asked, outcome) = row.split_once(" = ").unwrap();
        let (name, rtype) = asked.split_once(' ').unwrap();
        let name = match name {
            "Z" => "cluster.local".to_owned(),
            name => name.replace(".Z", ".cluster.local"),
        };
        let rtype = rtype.parse::<RecordType>().unwrap().into();
        (source, name, rtype, outcome.to_owned())
    })
}

#[test]
fn every_row_is_answered_as_it_says() {
    let snapshot = fixture::snapshot(&fixture::objects(), PodRecords::Insecure);
    let ways = [
        (Transport::Udp, Some(1232)),
        (Transport::Udp, None),
        (Transport::Tcp, None),
        (Transport::Tcp, Some(512)),
    ];
    let mut wrong = Vec::new();
    for (_, name, rtype, outcome) in rows() {
        for (transport, size) in ways {
            let query = fixture::question(&name, rtype, size);
            let (reply, asked) = ask::ask(&snapshot, transport, &query);
            if let Some(reply) = &reply {
                check_header(&query, reply, size);
            }
            let told = told::told(reply, &asked);
            // What does not fit into 512 bytes is looked at over TCP.
            let cut = size.is_none() && transport == Transport::Udp;
            let answers = |text: &str| text.split(" + ").next().unwrap().to_owned();
            if told != outcome && !(cut && answers(&outcome) == answers(&told)) {
                wrong.push(format!("{name} {rtype} {transport:?} {size:?}\n  {told}\n  {outcome}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is so in each reply of ours.
fn check_header(query: &[u8], reply: &[u8], size: Option<u16>) {
    let message = Message::from_vec(reply).unwrap();
    let meta = &message.metadata;
    assert_eq!(meta.id, 0xabcd);
    let flags = (meta.authoritative, meta.recursion_desired, meta.recursion_available);
    assert_eq!(flags, (true, true, true));
    assert!(!meta.authentic_data && !meta.checking_disabled);
    assert_eq!(message.edns.is_some(), size.is_some());
    let question = query[12..].len() - if size.is_some() { 11 } else { 0 };
    assert_eq!(reply[12..12 + question], query[12..12 + question], "in the client's spelling");
    assert!(message.authorities.len() <= 1);
    for soa in &message.authorities {
        assert_eq!((soa.record_type(), soa.ttl), (RecordType::SOA, 5));
        let zone = soa.name.to_ascii().to_lowercase();
        let asked = message.queries[0].name().to_ascii().to_lowercase();
        assert!(asked.ends_with(&zone), "{asked} is not in {zone}");
    }
    if meta.response_code == hickory_proto::op::ResponseCode::NXDomain {
        assert_eq!(message.authorities.len(), 1);
    }
}

#[test]
fn there_are_rows_of_each_source() {
    let count = |wanted: &str| rows().filter(|(source, ..)| *source == wanted).count();
    let (s, c, d) = (count("S"), count("C"), count("D"));
    assert_eq!(s + c + d, rows().count(), "a row of no known source");
    assert!(s + c + d >= 150 && s >= 80 && c >= 30 && d >= 15, "{s} + {c} + {d}");
}

#[test]
fn without_pod_records_nothing_is_below_pod() {
    let snapshot = fixture::snapshot(&fixture::objects(), PodRecords::Disabled);
    for name in ["pod.cluster.local", "shop.pod.cluster.local", "1-2-3-4.shop.pod.cluster.local"] {
        let query = fixture::question(name, 1, None);
        let (reply, asked) = ask::ask(&snapshot, Transport::Udp, &query);
        assert_eq!(told::told(reply, &asked), "NXDOMAIN", "{name}");
    }
}

#[test]
fn messages_that_are_no_question_are_answered_as_they_deserve() {
    let snapshot = fixture::snapshot(&fixture::objects(), PodRecords::Insecure);
    let name = "web.shop.svc.cluster.local";
    let fine = fixture::question(name, 1, Some(1232));
    let with = |at: usize, value: u8| {
        let mut message = fine.clone();
        message[at] = value;
        message
    };
    let opt = fine.len() - 11;
    let class = opt - 1;
    let twice = [&with(11, 2)[..], &fine[opt..]].concat();
    let rows = [
        ("a question", fine.clone(), "NOERROR"),
        ("a reply", with(2, 0x81), "drop"),
        ("less than a header", fine[..11].to_vec(), "drop"),
        ("nothing", vec![], "drop"),
        ("a notification", with(2, 0x21), "NOTIMP"),
        ("an update", with(2, 0x29), "NOTIMP"),
        ("no question", with(5, 0), "FORMERR"),
        ("two questions", with(5, 2), "FORMERR"),
        ("cut off", fine[..20].to_vec(), "FORMERR"),
        ("a label too long", with(12, 64), "FORMERR"),
        ("a pointer", with(12, 0xc0), "FORMERR"),
        ("class CH", with(class, 3), "REFUSED"),
        ("class ANY", with(class, 255), "REFUSED"),
        ("a transfer", fixture::question(name, 252, None), "REFUSED"),
        ("a transfer of changes", fixture::question(name, 251, None), "REFUSED"),
        ("an OPT record asked for", fixture::question(name, 41, None), "FORMERR"),
        ("EDNS 1", with(opt + 6, 1), "BADSIG"), /* 16 is BADVERS as well */
        ("two OPT records", twice, "FORMERR"),
        ("an OPT record of a name", with(opt, 1), "FORMERR"),
        ("a record past the end", with(fine.len() - 1, 1), "FORMERR"),
    ];
    for (what, message, code) in rows {
        let (reply, asked) = ask::ask(&snapshot, Transport::Udp, &message);
        let told = told::told(reply, &asked);
        assert_eq!(told.split(':').next().unwrap(), code, "{what}");
    }
}
