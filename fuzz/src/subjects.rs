//! The daemon's own parsers that are private to it, by their source files. `tests/fuzz.rs` uses this
//! file too, so that `cargo test` finds a parser that was moved.
#![allow(dead_code, unreachable_pub, reason = "only parsers are called")]

#[path = "../../src/admin/http.rs"]
mod http_server;
#[path = "manifests.rs"]
mod manifests;
#[path = "../../src/source/kube/decoder.rs"]
mod watch_lines;

use std::sync::Arc;

use towpath_model::{Event, Kind};

pub(crate) use crate::config;
pub(crate) use manifests::{Directory, RANGES};

/// Splits chunks into lines; `None` when one is too long.
pub(crate) fn lines(chunks: &[&[u8]]) -> Option<Vec<Vec<u8>>> {
    let mut splitter = watch_lines::Lines::default();
    let mut all = Vec::new();
    for chunk in chunks {
        splitter.take(chunk, |line| all.push(line.to_vec())).ok()?;
    }
    Some(all)
}

/// What a line of a watch says to the store, if anything.
pub(crate) fn said(kind: Kind, line: &[u8]) -> Option<Event> {
    match watch_lines::read(kind, line) {
        watch_lines::WatchLine::Event(event, _version) => Some(event),
        _ => None,
    }
}

/// The value of a query parameter.
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    http_server::parameter(query, name)
}

/// Sends bytes to the small HTTP server; answers what it replies.
pub(crate) fn http_exchange(bytes: &[u8]) -> Vec<u8> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.unwrap().block_on(async {
        let (client, server) = tokio::io::duplex(1 << 20);
        let handler = |asked: http_server::Asked| async move {
            let name = http_server::parameter(&asked.query, "name").unwrap_or_default();
            http_server::text(http::StatusCode::OK, format!("{} {name}", asked.path))
        };
        let serving = http_server::serve(server, Arc::new(handler), http_server::Busy::default());
        let asking = async {
            let (mut reader, mut writer) = tokio::io::split(client);
            // The server may have heard enough before it was all written.
            drop(writer.write_all(bytes).await);
            drop(writer.shutdown().await);
            let mut reply = Vec::new();
            drop(reader.read_to_end(&mut reply).await);
            reply
        };
        tokio::join!(serving, asking).1
    })
}
