//! A list, item by item: a bad item never harms the others.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::decode::{Bad, decode};
use crate::{Code, Kind, Object, Problem};

/// `metadata` of a list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    /// Where a watch goes on.
    pub resource_version: String,
    /// Token for the next page, empty at the end.
    pub r#continue: String,
    /// How many objects follow this page, when the server says so.
    pub remaining_item_count: Option<u64>,
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

/// Reads a list; every item goes to `each`, good or bad.
///
/// # Errors
/// When it is not a list at all.
pub fn decode_list(
    kind: Kind,
    json: &[u8],
    mut each: impl FnMut(Result<Object, Bad>),
) -> Result<ListMeta, Problem> {
    let list: List<'_> = serde_json::from_slice(json).map_err(|error| {
        let why = format!("not a list of {kind}s: {error}");
        Problem::new(
            Code::ListUnreadable,
            None,
            "list",
            &why,
            "is this the address of an API server?",
        )
    })?;
    for item in list.items.unwrap_or_default() {
        each(decode(kind, item.get().as_bytes()));
    }
    Ok(list.metadata)
}
