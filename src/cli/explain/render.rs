//! An explanation for people.

use super::super::table::{Paint, Table, printable};
use crate::api::explain::{
    DestinationReply, EndpointReply, ExplainReply, FrontendHop, Lacks, NameReply, Outcome,
    PartyReply, PolicyHop, PolicyReply, ResultReply, RouteReply,
};

/// Endpoints, and destinations that nothing stops, that are spelled out.
const SHOWN: usize = 12;

pub(super) fn text(reply: &ExplainReply, paint: Paint) -> String {
    let mut text = String::new();
    let here = if reply.offline { "from manifests, no kernel" } else { "the daemon" };
    text.push_str(&format!("from      {}\n", party(&reply.from)));
    for note in &reply.from.notes {
        text.push_str(&format!("          {}\n", printable(note)));
    }
    let (to, protocol) = (printable(&reply.to), printable(&reply.protocol));
    text.push_str(&format!("to        {to} {protocol}\n"));
    text.push_str(&format!("asked     {here} of node {}\n", printable(&reply.node)));
    if let Some(name) = &reply.name {
        name_hop(&mut text, name, paint);
    }
    for one in &reply.routes {
        route(&mut text, one, paint);
    }
    if reply.more_routes > 0 {
        text.push_str(&format!("\n{} more addresses are not followed\n", reply.more_routes));
    }
    text.push('\n');
    // What pods lost says something where it is doubted that they lose anything.
    if let Some(drops) = reply.drops.filter(|_| reply.result.outcome != Outcome::Passes) {
        text.push_str(&format!(
            "dropped at this node's pods, in packets: {} denied to them, {} denied from them, {} spoofed, {} at \
             unknown devices, {} unreadable, {} for others\n",
            drops.denied_ingress,
            drops.denied_egress,
            drops.spoofed,
            drops.unbound,
            drops.unreadable,
            drops.not_for_it
        ));
    }
    result(&mut text, &reply.result, paint);
    text
}

fn word(outcome: Outcome, paint: Paint) -> String {
    match outcome {
        Outcome::Passes => paint.good("passes"),
        Outcome::Dies => paint.bad("DIES"),
        Outcome::Unknown => paint.bad("CANNOT BE TOLD"),
    }
}

fn result(text: &mut String, result: &ResultReply, paint: Paint) {
    let verdict = word(result.outcome, paint);
    if !result.action.is_empty() {
        text.push_str(&format!("do:     {}\n", printable(&result.action)));
    }
    text.push_str(&format!("result: {verdict}: {}\n", printable(&result.why)));
}

fn party(party: &PartyReply) -> String {
    let addresses = party.addresses.join(", ");
    let said = match (&*party.kind, &party.name, &party.node) {
        ("pod", Some(name), Some(node)) => format!("pod {name} ({addresses}) on node {node}"),
        ("pod", None, Some(node)) => format!("a pod ({addresses}) on node {node}"),
        ("pod", name, _) => format!("pod {} ({addresses})", name.as_deref().unwrap_or("unknown")),
        ("host", Some(name), _) => format!("node {name} itself ({addresses})"),
        ("node", Some(name), _) => format!("node {name} ({addresses})"),
        ("outside", ..) => format!("{addresses}, outside the cluster as far as is known"),
        (_, name, _) => name.clone().unwrap_or_default(),
    };
    printable(&said)
}

fn name_hop(text: &mut String, name: &NameReply, paint: Paint) {
    text.push_str(&format!("\n{}  {}: ", paint.heading("name"), printable(&name.name)));
    let by = printable(&name.answered_by);
    match name.outcome {
        Outcome::Passes => text.push_str(&format!("resolves ({by})\n")),
        other => {
            text.push_str(&format!("{}: {} ({by})\n", word(other, paint), printable(&name.why)));
        }
    }
    for record in name.records.iter().take(SHOWN) {
        text.push_str(&format!("  {}\n", printable(record)));
    }
    let more = name.records.len().saturating_sub(SHOWN);
    if more > 0 {
        text.push_str(&format!("  and {more} more records\n"));
    }
    if let Some(question) = &name.question {
        let at = socket(&question.address, question.port);
        let verdict = word(question.result.outcome, paint);
        text.push_str(&format!("  the question goes to {at} UDP: {verdict}\n"));
        for one in
            question.destinations.iter().filter(|_| question.result.outcome != Outcome::Passes)
        {
            destination(text, one, paint);
        }
    }
}

fn socket(address: &str, port: u16) -> String {
    let address = printable(address);
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn route(text: &mut String, route: &RouteReply, paint: Paint) {
    let at = socket(&route.address, route.port);
    text.push_str(&format!("\n{}  ", paint.heading(&at)));
    match &route.service {
        None => text.push_str("no Service's address: left alone\n"),
        Some(hop) => frontend(text, hop, paint),
    }
    let stopped = |one: &&DestinationReply| {
        let hops = [&one.egress, &one.ingress];
        hops.into_iter().flatten().any(|hop| hop.outcome != Outcome::Passes)
    };
    // Those that something stops come first, all of them.
    let stops = route.destinations.iter().filter(stopped);
    let mut passes = route.destinations.iter().filter(|one| !stopped(one));
    stops.chain(passes.by_ref().take(SHOWN)).for_each(|one| destination(text, one, paint));
    let more = passes.count() as u64;
    if more > 0 {
        text.push_str(&format!("  and {more} more that nothing stops\n"));
    }
    if route.more_destinations > 0 {
        text.push_str(&format!("  {} more are not judged\n", route.more_destinations));
    }
}

fn frontend(text: &mut String, hop: &FrontendHop, paint: Paint) {
    let hop_port = printable(&hop.port);
    let port = if hop_port.is_empty() { String::new() } else { format!(", port {hop_port}") };
    text.push_str(&format!(
        "{} of Service {}{port}\n",
        printable(&hop.kind),
        printable(&hop.service)
    ));
    let by = match &*hop.decided_by {
        "packet" => "when its first packet comes in",
        _ => "when the socket connects",
    };
    text.push_str(&format!("  {} (decided {by})\n", printable(&hop.answer)));
    if let Some(set) = &hop.set {
        let (set, why, policy) = (printable(set), printable(&hop.why), printable(&hop.policy));
        text.push_str(&format!("  {set} set: {why} ({policy})\n"));
    }
    match hop.kernel_agrees {
        Some(true) => text.push_str(&format!("  {}\n", paint.good("kernel agrees"))),
        Some(false) => text.push_str(&format!("  {}\n", paint.bad("KERNEL DIFFERS"))),
        None => text.push_str("  the kernel was not asked\n"),
    }
    endpoints(text, hop);
}

fn endpoints(text: &mut String, hop: &FrontendHop) {
    if hop.endpoints.is_empty() {
        return;
    }
    let mut table =
        Table::new(&["ENDPOINT", "NODE", "ZONE", "READY", "SERVING", "TERMINATING", "USED", "WHY"]);
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
    for one in hop.endpoints.iter().take(SHOWN) {
        let EndpointReply { address, port, node, zone, ready, serving, terminating, used, why } =
            one;
        table.row([
            socket(address, *port),
            name(node),
            name(zone),
            yes(*ready),
            yes(*serving),
            yes(*terminating),
            yes(*used),
            why.clone(),
        ]);
    }
    text.push_str(&table.render("  "));
    let more = hop.endpoints.len().saturating_sub(SHOWN) as u64 + hop.more_endpoints;
    if more > 0 {
        text.push_str(&format!("  and {more} more endpoints\n"));
    }
}

fn destination(text: &mut String, one: &DestinationReply, paint: Paint) {
    text.push_str(&format!("  -> {}: {}\n", socket(&one.address, one.port), party(&one.party)));
    for note in &one.party.notes {
        text.push_str(&format!("     {}\n", printable(note)));
    }
    for (way, hop) in [("egress", &one.egress), ("ingress", &one.ingress)] {
        if let Some(hop) = hop {
            policy(text, way, hop, paint);
        }
    }
}

fn policy(text: &mut String, way: &str, hop: &PolicyHop, paint: Paint) {
    let verdict = match hop.outcome {
        Outcome::Dies => paint.bad("DENIED"),
        other => word(other, paint),
    };
    let (pod, why) = (printable(&hop.pod), printable(&hop.why));
    text.push_str(&format!("     {way} of {pod}: {verdict}: {why}"));
    match (&hop.kernel, hop.here) {
        (Some(kernel), _) if kernel.agrees => {
            text.push_str(&format!(" ({})", paint.good("kernel agrees")));
        }
        (Some(kernel), _) => {
            let said = printable(&kernel.verdict);
            text.push_str(&format!(" ({}: {said})", paint.bad("KERNEL DIFFERS")));
        }
        (None, false) if !hop.node.is_empty() => {
            text.push_str(&format!(
                " (node {} decides; as far as is known here)",
                printable(&hop.node)
            ));
        }
        (None, _) => {}
    }
    text.push('\n');
    for one in hop.policies.iter().filter(|_| hop.outcome == Outcome::Dies) {
        rules(text, way, one);
    }
    if hop.more_policies > 0 {
        text.push_str(&format!("       and {} more policies\n", hop.more_policies));
    }
}

fn rules(text: &mut String, way: &str, policy: &PolicyReply) {
    let name = printable(&policy.name);
    if policy.rules.is_empty() {
        text.push_str(&format!("       {name}: it has no {way} rule\n"));
    }
    for rule in &policy.rules {
        let lacks = match rule.lacks {
            Lacks::Peer => "the port is right, the other end is not among its peers",
            Lacks::Port => "the other end is right, the port is not among its ports",
            Lacks::Both => "neither the other end nor the port is among its own",
        };
        text.push_str(&format!("       {name} {}: {lacks}\n", printable(&rule.rule)));
    }
    if policy.more_rules > 0 {
        text.push_str(&format!("       {name}: and {} more rules\n", policy.more_rules));
    }
}
