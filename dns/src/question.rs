//! What an upstream is asked, and what it answered.

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record},
    serialize::binary::BinEncodable as _,
};

/// A question to others; two that are equal have the same answer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Question {
    /// The name in wire form and lower case.
    pub(crate) name: Box<[u8]>,
    /// The type.
    pub(crate) rtype: u16,
    /// DNSSEC records are wanted.
    pub(crate) dnssec_ok: bool,
    /// The client checks for itself.
    pub(crate) checking_disabled: bool,
}

impl Question {
    /// The name as the library has it; `None` when it knows no such name.
    pub(crate) fn parsed(&self) -> Option<Name> {
        parse(&self.name)
    }
}

/// A name from its wire form.
pub(crate) fn parse(wire: &[u8]) -> Option<Name> {
    let mut labels = Vec::new();
    let mut rest = wire;
    while let Some((&length, more)) = rest.split_first().filter(|(length, _)| **length > 0) {
        let (label, more) = more.split_at_checked(usize::from(length))?;
        labels.push(label);
        rest = more;
    }
    Name::from_labels(labels).ok()
}

/// What a client is given.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Given {
    /// The answer, with TTLs as they are now.
    pub(crate) answer: Answer,
    /// It does not hold any more, and there is none better.
    pub(crate) stale: bool,
}

/// What came of a question.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Answer {
    /// The code.
    pub(crate) code: ResponseCode,
    /// Records that lead from the name to what was asked for, in that order.
    pub(crate) answers: Vec<Record>,
    /// The SOA record that says how long a negative answer holds.
    pub(crate) authority: Vec<Record>,
}

impl Answer {
    /// No upstream could be asked.
    pub(crate) const fn failed() -> Self {
        Self { code: ResponseCode::ServFail, answers: Vec::new(), authority: Vec::new() }
    }

    /// Is it an answer, be it that there is nothing?
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self.code, ResponseCode::NoError | ResponseCode::NXDomain)
    }

    /// About how much memory it takes.
    pub(crate) fn size(&self) -> usize {
        let records = self.answers.iter().chain(&self.authority);
        size_of::<Self>() + records.map(record_size).sum::<usize>()
    }
}

/// Bytes of a record's data at most.
const TEXT_MAX: usize = 65_535;

/// A record in place, its names, and what its data may keep behind pointers: of text each string, which is
/// one byte on the wire at least, has a pointer and a length.
fn record_size(record: &Record) -> usize {
    let data = match &record.data {
        RData::A(_) | RData::AAAA(_) => 0,
        data => data.to_bytes().map_or(TEXT_MAX, |bytes| bytes.len()) * 16,
    };
    size_of::<Record>() + record.name.len() * 2 + data
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::TXT;

    use super::*;

    #[test]
    fn text_counts_with_all_that_it_keeps() {
        let name = Name::from_ascii("a.example.").unwrap();
        let text = TXT::from_bytes(vec![&b""[..]; 30_000]);
        let record = Record::from_rdata(name, 60, RData::TXT(text));
        let answer =
            Answer { code: ResponseCode::NoError, answers: vec![record], authority: Vec::new() };
        // Each empty string is a pointer and a length.
        assert!(answer.size() >= 30_000 * 16, "{}", answer.size());
    }
}
