//! What was written over the wire, for who wants to know what a daemon wrote.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

/// Of a server that runs for hours the latest are kept.
const KEPT: usize = 10_000;

/// One request that was no question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// The whole path.
    pub path: String,
    /// The query as sent; empty where there is none.
    pub query: String,
    /// The body; null where it is no JSON.
    pub body: Value,
    /// The code of the answer.
    pub status: u16,
}

#[derive(Debug, Default)]
pub(crate) struct Writes {
    all: Mutex<VecDeque<Write>>,
}

impl Writes {
    pub(super) fn note(&self, write: Write) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == KEPT {
            all.pop_front();
        }
        all.push_back(write);
    }

    pub(super) fn all(&self) -> Vec<Write> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
