//! An answer in words.

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::RecordType,
};

/// The outcome in words, as rows have it: `CODE: answers + additional`.
pub(crate) fn told(reply: Option<Vec<u8>>, asked: &str) -> String {
    let Some(reply) = reply else { return asked.to_owned() };
    let message = Message::from_vec(&reply).unwrap();
    // A reply to what could not be read has no question.
    let asked_for = message.queries.first().map(|question| question.name().to_lowercase());
    let records = |records: &[hickory_proto::rr::Record]| {
        let text = |record: &hickory_proto::rr::Record| {
            let owner = match Some(record.name.to_lowercase()) == asked_for {
                true => String::new(),
                false => format!("{} ", short(&record.name.to_string())),
            };
            let ttl = match record.ttl {
                30 => String::new(),
                ttl => format!(" ttl={ttl}"),
            };
            let data = record.data.to_string();
            let data: Vec<_> = data.split(' ').map(short).collect();
            format!("{owner}{} {}{ttl}", record.record_type(), data.join(" "))
        };
        let mut all: Vec<_> = records.iter().map(text).collect();
        all.sort();
        all.join(", ")
    };
    let meta = &message.metadata;
    let negative = message.authorities.iter().any(|r| r.record_type() == RecordType::SOA);
    let mut told = match meta.response_code {
        ResponseCode::NoError if negative => "NODATA".to_owned(),
        code => format!("{code:?}").to_uppercase(),
    };
    let (answers, additional) = (records(&message.answers), records(&message.additionals));
    if !asked.is_empty() {
        told = asked.to_owned();
    }
    if !answers.is_empty() {
        told += &format!(": {answers}");
    }
    if !additional.is_empty() {
        told += &format!(" + {additional}");
    }
    if meta.truncation {
        told += " TC";
    }
    told
}

/// `Z` for the domain, no last dot.
fn short(name: &str) -> String {
    name.trim_end_matches('.').replace("cluster.local", "Z")
}
