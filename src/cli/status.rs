//! `towpath status`.

use std::{fmt::Write as _, process::ExitCode};

use super::{
    Ask, OK, Output, PROBLEM, UNREACHABLE, client, complain, print,
    table::{ago, table},
};
use crate::admin::api::StatusReply;

pub(super) fn run(ask: &Ask) -> ExitCode {
    let reply: StatusReply = match client::get(&ask.run_dir, "/v1/status") {
        Ok(reply) => reply,
        Err(error) => {
            complain(&error.to_string());
            return UNREACHABLE.into();
        }
    };
    match ask.output {
        Output::Json => print(&serde_json::to_string_pretty(&reply).unwrap_or_default()),
        Output::Table => print(&text(&reply)),
    }
    if healthy(&reply) { OK.into() } else { PROBLEM.into() }
}

fn healthy(reply: &StatusReply) -> bool {
    let state = &reply.state;
    state.synced
        && state.problems.is_empty()
        && reply.ports.is_empty()
        && !state.kernel.pending
        && state.audit.as_ref().is_none_or(|audit| audit.differences.is_empty())
}

fn text(reply: &StatusReply) -> String {
    let state = &reply.state;
    let mut out = String::new();
    let line = |out: &mut String, name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _infallible = writeln!(out, "{name:<12}{value}");
    };
    line(
        &mut out,
        "towpath",
        &format!(
            "{} on {}, pid {}, up {}",
            reply.version,
            reply.node,
            reply.pid,
            ago(reply.uptime_ms)
        ),
    );
    let sync = if state.synced { "everything listed" } else { "waiting for the first lists" };
    line(&mut out, "source", &format!("{}, {sync}", reply.source.kind));
    for stream in &reply.source.streams {
        let open = if stream.connected { "connected" } else { "NOT CONNECTED" };
        let age =
            stream.last_event_age_ms.map_or_else(|| "never".to_owned(), |ms| ago(ms) + " ago");
        let mut text = format!("{open}, last heard {age}");
        if stream.bad_objects > 0 {
            let _infallible = write!(text, ", {} bad objects", stream.bad_objects);
        }
        line(&mut out, "", &format!("{:<14} {text}", stream.kind));
    }
    line(
        &mut out,
        "routes",
        &format!(
            "{} Services, {} slices, {} nodes",
            state.services, state.endpoint_slices, state.nodes
        ),
    );
    let mut maps = table(&["map", "in use", "of"]);
    for map in &state.kernel.maps {
        maps.add_row([map.name.clone(), map.entries.to_string(), map.capacity.to_string()]);
    }
    let pending = if state.kernel.pending { ", CHANGES ARE WAITING" } else { "" };
    line(&mut out, "kernel", &format!("{} KiB of maps{pending}", reply.map_bytes >> 10));
    for row in maps.to_string().lines() {
        line(&mut out, "", row.trim_end());
    }
    let audit = state.audit.as_ref().map_or_else(
        || "none yet".to_owned(),
        |audit| format!("{} differences, {} ago", audit.differences.len(), ago(audit.age_ms)),
    );
    line(&mut out, "audit", &audit);
    list(&mut out, "ports", &reply.ports, "all served");
    list(&mut out, "problems", &state.problems, "none");
    list(&mut out, "not served", &reply.not_served, "");
    out.trim_end().to_owned()
}

fn list(out: &mut String, name: &str, items: &[String], none: &str) {
    let mut name = name;
    if items.is_empty() {
        let _infallible = writeln!(out, "{name:<12}{none}");
    }
    for item in items {
        let _infallible = writeln!(out, "{name:<12}{item}");
        name = "";
    }
}
