//! `towpath services [NAME]`.

use std::{fmt::Write as _, process::ExitCode};

use super::{
    Ask, OK, Output, PROBLEM, UNREACHABLE, client, complain, print,
    table::{ago, table},
};
use crate::admin::api::{PortReply, ServiceReply, ServicesReply};

pub(super) fn run(name: Option<&str>, ask: &Ask) -> ExitCode {
    let path = name.map_or_else(|| "/v1/services".to_owned(), |n| format!("/v1/services?name={n}"));
    let reply: ServicesReply = match client::get(&ask.run_dir, &path) {
        Ok(reply) => reply,
        Err(error) => {
            complain(&error.to_string());
            return UNREACHABLE.into();
        }
    };
    if let (Some(name), true) = (name, reply.services.is_empty()) {
        complain(&format!(
            "no Service {name} is routed: it does not exist, is headless, of type ExternalName, or \
             another proxy's; `towpath services` lists those that are"
        ));
        return PROBLEM.into();
    }
    match (ask.output, name) {
        (Output::Json, _) => print(&serde_json::to_string_pretty(&reply).unwrap_or_default()),
        (Output::Table, None) => print(&overview(&reply)),
        (Output::Table, Some(_)) => {
            let all: Vec<String> = reply.services.iter().map(detail).collect();
            print(&all.join("\n"));
        }
    }
    OK.into()
}

fn overview(reply: &ServicesReply) -> String {
    let mut rows =
        table(&["service", "port", "frontends", "ready", "serving", "terminating", "in force"]);
    for service in &reply.services {
        for port in &service.ports {
            let frontends: Vec<String> =
                port.frontends.iter().map(|f| format!("{}:{}", f.address, f.port)).collect();
            let force: Vec<&str> = port.sets.iter().map(|set| set.why.as_str()).collect();
            rows.add_row([
                service.name.clone(),
                title(port),
                frontends.join(" "),
                port.ready.to_string(),
                port.serving.to_string(),
                port.terminating.to_string(),
                force.join("; "),
            ]);
        }
    }
    rows.to_string()
}

fn title(port: &PortReply) -> String {
    let name = if port.name.is_empty() { String::new() } else { format!("{} ", port.name) };
    format!("{name}{}/{} {}", port.port, port.protocol, port.family)
}

fn detail(service: &ServiceReply) -> String {
    let mut out = format!("{}\n", service.name);
    if let Some(change) = &service.last_change {
        let outcome = change.failed.as_ref().map_or_else(
            || format!("in force {} µs after it was received", change.took_us),
            |why| format!("NOT IN FORCE: {why}"),
        );
        let _infallible = writeln!(out, "  last change {} ago, {outcome}", ago(change.age_ms));
    }
    for problem in &service.problems {
        let _infallible = writeln!(out, "  problem: {problem}");
    }
    for port in &service.ports {
        let _infallible = writeln!(
            out,
            "  {}: {} ready, {} serving, {} terminating",
            title(port),
            port.ready,
            port.serving,
            port.terminating
        );
        for f in &port.frontends {
            let not = if f.served { "" } else { " (not served: it has source ranges)" };
            let _infallible = writeln!(out, "    {} {} port {}{not}", f.kind, f.address, f.port);
        }
        for set in &port.sets {
            let kernel = if set.agrees { "kernel agrees" } else { "KERNEL DIFFERS" };
            let _infallible = writeln!(out, "    {} set: {} ({kernel})", set.name, set.why);
            for backend in &set.backends {
                let _infallible = writeln!(out, "      {} port {}", backend.address, backend.port);
            }
        }
        let c = &port.counters;
        let _infallible = writeln!(
            out,
            "    flows: {} translated, {} refused, {} without a local endpoint, {} untranslated",
            c.translated, c.refused, c.no_local, c.untranslated
        );
    }
    out
}
