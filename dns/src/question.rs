//! What an upstream is asked, and what it answered.

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, Record},
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
        // A record holds two names in place and its data; text and keys are behind a pointer.
        let records = self.answers.len() + self.authority.len();
        size_of::<Self>() + records * (size_of::<Record>() + 64)
    }
}
