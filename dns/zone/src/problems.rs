//! What is wrong with a Service's names, in words for the person who wrote it.

use towpath_model::{Code, Key, Kind, ObjectName, Problem};

/// A Service of which some name cannot exist.
pub(crate) fn service(name: &ObjectName, field: &str, why: &str, action: &str) -> Problem {
    let key = Key { kind: Kind::Service, name: name.clone() };
    Problem::new(Code::NameImpossible, Some(key), field, why, action)
}
