//! A question, and what comes of it.

use towpath_zone::{Client, Outcome, Snapshot, Transport, answer};

/// What came of a question: the reply, or the name that an upstream is to be asked for.
pub(crate) fn ask(
    snapshot: &Snapshot,
    transport: Transport,
    query: &[u8],
) -> (Option<Vec<u8>>, String) {
    let mut out = vec![0xee; 65_535];
    match answer(snapshot, Client { transport, rotation: 0 }, query, &mut out) {
        Outcome::Reply(reply) => {
            out.truncate(reply.length);
            (Some(out), String::new())
        }
        Outcome::Miss(miss) => {
            let mut name = String::new();
            let mut rest = miss.name();
            while let Some((&length, more)) = rest.split_first().filter(|(length, _)| **length > 0)
            {
                let (label, more) = more.split_at(usize::from(length));
                name += std::str::from_utf8(label).unwrap();
                name.push('.');
                rest = more;
            }
            out.truncate(miss.written);
            ((miss.written > 0).then_some(out), format!("ask {name}").trim_end().to_owned())
        }
        Outcome::Drop => (None, "drop".to_owned()),
    }
}
