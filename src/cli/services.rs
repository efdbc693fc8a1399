//! `towpath services [NAME]`.

use std::io::Write;

use super::{
    client::{Target, escaped},
    output::{self, Exit, Failure, Format},
    status::read,
    table::{Paint, Table, duration, printable},
};
use crate::api::services::{NotRoutedReply, PortReply, ServiceReply, ServicesReply, SetReply};

/// The overview's.
const COLUMNS: [&str; 12] = [
    "SERVICE",
    "PORT",
    "FRONTENDS",
    "READY",
    "SERVING",
    "TERMINATING",
    "TRANSLATED",
    "REFUSED",
    "NO LOCAL",
    "UNTRANSLATED",
    "KERNEL",
    "IN FORCE",
];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this Service, in detail: NAMESPACE/NAME, or a name in any namespace
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Failure> {
    let question = match &args.name {
        Some(name) => format!("/v1/services?name={}", escaped(name)),
        None => "/v1/services".to_owned(),
    };
    let value = args.target.ask(&question)?;
    let reply: ServicesReply = read(&value)?;
    let found = !reply.services.is_empty() || !reply.not_routed.is_empty();
    if let (Some(name), false) = (&args.name, found) {
        return Err(unknown(name, &reply));
    }
    match (args.output, &args.name) {
        (Format::Json, _) => output::json(out, &value)?,
        (Format::Table, None) => {
            out.write_all(overview(&reply, Paint::of_stdout()).as_bytes())?;
        }
        (Format::Table, Some(_)) => {
            for service in &reply.services {
                out.write_all(detail(service, Paint::of_stdout()).as_bytes())?;
            }
            for service in &reply.not_routed {
                out.write_all(not_routed(service, Paint::of_stdout()).as_bytes())?;
            }
        }
    }
    if !reply.unlisted.is_empty() && matches!(args.output, Format::Table) {
        writeln!(out, "{}", unlisted(&reply))?;
    }
    Ok(if all_well(&reply) { Exit::Well } else { Exit::Problem })
}

/// Everything was listed and is in force as wanted.
fn all_well(reply: &ServicesReply) -> bool {
    let wrong = reply.not_routed.iter().any(|service| service.wrong);
    reply.unlisted.is_empty() && !wrong && reply.services.iter().all(is_well)
}

/// No Service of this name is known.
fn unknown(name: &str, reply: &ServicesReply) -> Failure {
    let what = format!("no Service {} exists", printable(name));
    if reply.unlisted.is_empty() {
        Failure::problem(what, "`towpath services` lists those that are routed")
    } else {
        Failure::problem(format!("{what} as far as is known"), unlisted(reply))
    }
}

/// What is said while lists are missing.
fn unlisted(reply: &ServicesReply) -> String {
    format!(
        "not listed yet: {}. Services may be missing here; `towpath status` says how well the daemon \
         hears the API server",
        printable(&reply.unlisted.join(", "))
    )
}

/// A Service that is not routed.
fn not_routed(service: &NotRoutedReply, paint: Paint) -> String {
    let why = printable(&service.why);
    let why = if service.wrong { paint.bad(&why) } else { why };
    format!("{}\n  not routed: {why}\n", paint.heading(&printable(&service.name)))
}

/// In force as wanted.
fn is_well(service: &ServiceReply) -> bool {
    let failed = service.last_change.as_ref().is_some_and(|change| change.failed.is_some());
    service.problems.is_empty() && !failed && service.ports.iter().all(agrees)
}

fn agrees(port: &PortReply) -> bool {
    port.sets.iter().all(|set| set.agrees)
}

/// One line for each port and family, and whatever is not well.
fn overview(reply: &ServicesReply, paint: Paint) -> String {
    let mut table = Table::new(&COLUMNS);
    for service in &reply.services {
        if service.ports.is_empty() {
            let mut cells = [const { String::new() }; COLUMNS.len()];
            (cells[0], cells[1]) = (service.name.clone(), "none".to_owned());
            table.row(cells);
        }
        for port in &service.ports {
            table.row(row(service, port));
        }
    }
    let mut text = table.render("");
    let wrong = reply.not_routed.iter().filter(|service| service.wrong);
    let wrong = wrong.map(|service| match service.why.contains(&service.name) {
        true => format!("not routed: {}", service.why),
        false => format!("Service {}: not routed: {}", service.name, service.why),
    });
    let reasons: Vec<_> = reply.services.iter().flat_map(reasons).chain(wrong).collect();
    if !reasons.is_empty() {
        text.push_str(&format!("\n{}\n", paint.heading("Problems")));
        text.extend(reasons.iter().map(|reason| format!("  - {}\n", printable(reason))));
    }
    text
}

fn row(service: &ServiceReply, port: &PortReply) -> [String; COLUMNS.len()] {
    let counters = &port.counters;
    let why: Vec<_> = port.sets.iter().map(|set| set.why.as_str()).collect();
    [
        service.name.clone(),
        title(port),
        summary(port),
        port.ready.to_string(),
        port.serving.to_string(),
        port.terminating.to_string(),
        counters.translated.to_string(),
        counters.refused.to_string(),
        counters.no_local.to_string(),
        counters.untranslated.to_string(),
        if agrees(port) { "agrees" } else { "DIFFERS" }.to_owned(),
        why.join("; "),
    ]
}

/// Why a Service is not well, apart from what its rows say.
fn reasons(service: &ServiceReply) -> Vec<String> {
    let failed = service.last_change.as_ref().and_then(|change| change.failed.as_ref());
    let failed = failed.map(|why| format!("Service {}: NOT IN FORCE: {why}", service.name));
    let problems = service.problems.iter().map(|problem| match problem.contains(&service.name) {
        true => problem.clone(),
        false => format!("Service {}: {problem}", service.name),
    });
    failed.into_iter().chain(problems).collect()
}

fn title(port: &PortReply) -> String {
    let name = if port.name.is_empty() { String::new() } else { format!("{} ", port.name) };
    format!("{name}{}/{} {}", port.port, port.protocol, port.family)
}

/// The first frontend, and how many more there are.
fn summary(port: &PortReply) -> String {
    let Some(first) = port.frontends.first() else { return "none".to_owned() };
    let more = port.frontends.len() - 1;
    let first = socket(&first.address, first.port);
    if more == 0 { first } else { format!("{first} +{more}") }
}

fn socket(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// Everything about one Service.
fn detail(service: &ServiceReply, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.heading(&printable(&service.name)));
    if let Some(change) = &service.last_change {
        let outcome = match &change.failed {
            None => paint.good(&format!("in force {} us after it was received", change.took_us)),
            Some(why) => paint.bad(&format!("NOT IN FORCE: {}", printable(why))),
        };
        let age = duration(std::time::Duration::from_millis(change.age_ms));
        text.push_str(&format!("  last change {age} ago, {outcome}\n"));
    }
    for problem in &service.problems {
        text.push_str(&format!("  {}\n", paint.bad(&format!("problem: {}", printable(problem)))));
    }
    if service.ports.is_empty() {
        text.push_str("  no port is routed\n");
    }
    for port in &service.ports {
        detail_of_port(&mut text, port, paint);
    }
    text
}

fn detail_of_port(text: &mut String, port: &PortReply, paint: Paint) {
    text.push_str(&format!(
        "\n{}\n  endpoints: {} ready, {} serving, {} terminating\n",
        paint.heading(&format!("port {}", printable(&title(port)))),
        port.ready,
        port.serving,
        port.terminating
    ));
    for slice in &port.no_endpoints {
        text.push_str(&format!("    {}\n", paint.bad(&printable(slice))));
    }
    if let Some(seconds) = port.affinity_seconds {
        text.push_str(&format!("  session affinity by client, {seconds} s\n"));
    }
    let mut table = Table::new(&["KIND", "ADDRESS", "PORT", "SERVED"]);
    for frontend in &port.frontends {
        table.row([
            frontend.kind.clone(),
            frontend.address.clone(),
            frontend.port.to_string(),
            match &frontend.not_served {
                None if frontend.served => "yes".to_owned(),
                None => "no".to_owned(),
                Some(why) => format!("no: {why}"),
            },
        ]);
    }
    text.push_str(&table.render("  "));
    for set in &port.sets {
        detail_of_set(text, set, paint);
    }
    match port.kernel_index {
        Some(index) => text.push_str(&format!("  kernel: index {index}\n")),
        None => text.push_str(&format!("  kernel: {}\n", paint.bad("holds nothing"))),
    }
    let counters = &port.counters;
    text.push_str(&format!(
        "  flows: {} translated, {} refused, {} without a local endpoint, {} untranslated\n",
        counters.translated, counters.refused, counters.no_local, counters.untranslated
    ));
}

fn detail_of_set(text: &mut String, set: &SetReply, paint: Paint) {
    let verdict = match set.agrees {
        true => paint.good("kernel agrees"),
        false => paint.bad("KERNEL DIFFERS"),
    };
    let (name, why) = (printable(&set.name), printable(&set.why));
    text.push_str(&format!("  {name} set: {why} ({verdict})\n"));
    for backend in &set.backends {
        text.push_str(&format!("    {}\n", printable(&socket(&backend.address, backend.port))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::services::{BackendReply, CountersReply, FrontendReply, LastChangeReply};

    fn service() -> ServiceReply {
        let frontend = |kind: &str, address: &str, port, served| FrontendReply {
            address: address.into(),
            port,
            kind: kind.into(),
            served,
            not_served: (!served).then(|| "it has source ranges".into()),
        };
        let backend = |address: &str| BackendReply { address: address.into(), port: 8080 };
        let set = |name: &str, why: &str, backends| SetReply {
            name: name.into(),
            why: why.into(),
            backends,
            agrees: true,
        };
        let port = PortReply {
            name: "http".into(),
            port: 80,
            protocol: "TCP".into(),
            family: "IPv6".into(),
            frontends: vec![
                frontend("ClusterIP", "fd00:96::4", 80, true),
                frontend("NodePort", "every node's addresses", 30080, false),
            ],
            no_endpoints: Vec::new(),
            ready: 2,
            serving: 2,
            terminating: 1,
            affinity_seconds: Some(10_800),
            sets: vec![
                set("cluster", "ready endpoints", vec![backend("fd00::1"), backend("fd00::2")]),
                set("local", "no local endpoint", Vec::new()),
            ],
            kernel_index: Some(3),
            counters: CountersReply { translated: 9, refused: 1, no_local: 0, untranslated: 2 },
        };
        ServiceReply {
            name: "shop/cart".into(),
            ports: vec![port],
            problems: Vec::new(),
            last_change: Some(LastChangeReply { age_ms: 5_000, took_us: 90, failed: None }),
        }
    }

    fn reply(services: Vec<ServiceReply>) -> ServicesReply {
        ServicesReply {
            api_version: String::new(),
            unlisted: Vec::new(),
            services,
            not_routed: Vec::new(),
        }
    }

    #[test]
    fn a_service_that_cannot_be_routed_is_in_the_overview_and_one_that_need_not_be_is_well() {
        let not_routed =
            |why: &str, wrong| NotRoutedReply { name: "shop/cart".into(), why: why.into(), wrong };
        let with = |one| ServicesReply { not_routed: vec![one], ..reply(vec![service()]) };
        let headless = with(not_routed("it is headless", false));
        assert!(all_well(&headless));
        assert!(!overview(&headless, Paint::PLAIN).contains("headless"));
        assert_eq!(
            super::not_routed(&headless.not_routed[0], Paint::PLAIN),
            "shop/cart\n  not routed: it is headless\n"
        );
        let refused = with(not_routed("TP2013 Service shop/cart: spec.ports: refused", true));
        assert!(!all_well(&refused));
        let text = overview(&refused, Paint::PLAIN);
        assert!(text.ends_with("  - not routed: TP2013 Service shop/cart: spec.ports: refused\n"));
    }

    #[test]
    fn while_a_list_is_missing_nothing_is_well() {
        let reply = ServicesReply { unlisted: vec!["Service".into()], ..reply(Vec::new()) };
        assert!(!all_well(&reply));
        assert!(unlisted(&reply).starts_with("not listed yet: Service. "));
        assert!(unknown("cart", &reply).what.contains("as far as is known"));
    }

    #[test]
    fn the_detail_says_what_slices_have_in_place_of_endpoints() {
        let mut service = service();
        service.ports[0].no_endpoints = vec!["EndpointSlice cart-1: it has no endpoints".into()];
        let text = detail(&service, Paint::PLAIN);
        assert!(text.contains("\n    EndpointSlice cart-1: it has no endpoints\n"), "{text}");
    }

    #[test]
    fn the_overview_has_a_line_for_each_port() {
        let reply = reply(vec![service()]);
        let text = overview(&reply, Paint::PLAIN);
        let rows: Vec<_> = text.lines().collect();
        assert_eq!(rows.len(), 2);
        assert!(rows[0].starts_with("SERVICE    PORT              FRONTENDS"), "{text}");
        assert!(rows[1].starts_with("shop/cart  http 80/TCP IPv6  [fd00:96::4]:80 +1"), "{text}");
        assert!(rows[1].ends_with("agrees  ready endpoints; no local endpoint"), "{text}");
    }

    #[test]
    fn the_detail_says_which_set_and_why() {
        let expected = "\
shop/cart
  last change 5.0s ago, in force 90 us after it was received

port http 80/TCP IPv6
  endpoints: 2 ready, 2 serving, 1 terminating
  session affinity by client, 10800 s
  KIND       ADDRESS                 PORT   SERVED
  ClusterIP  fd00:96::4              80     yes
  NodePort   every node's addresses  30080  no: it has source ranges
  cluster set: ready endpoints (kernel agrees)
    [fd00::1]:8080
    [fd00::2]:8080
  local set: no local endpoint (kernel agrees)
  kernel: index 3
  flows: 9 translated, 1 refused, 0 without a local endpoint, 2 untranslated
";
        assert_eq!(detail(&service(), Paint::PLAIN), expected);
    }

    #[test]
    fn a_service_without_ports_has_a_row() {
        let bare = ServiceReply { ports: Vec::new(), ..service() };
        assert!(detail(&bare, Paint::PLAIN).ends_with("  no port is routed\n"));
        let reply = reply(vec![bare]);
        let text = overview(&reply, Paint::PLAIN);
        assert_eq!(text.lines().nth(1), Some("shop/cart  none"), "{text}");
    }

    #[test]
    fn what_is_not_in_force_is_said_and_counts() {
        assert!(is_well(&service()));
        type Change = fn(&mut ServiceReply);
        let failed = |s: &mut ServiceReply| {
            s.last_change =
                Some(LastChangeReply { age_ms: 1, took_us: 1, failed: Some("full".into()) });
        };
        let rows: [(Change, &str); 3] = [
            (failed, "NOT IN FORCE: full\n"),
            (
                |s| s.problems.push("two ports of one name".into()),
                "problem: two ports of one name\n",
            ),
            (|s| s.ports[0].sets[0].agrees = false, "(KERNEL DIFFERS)\n"),
        ];
        for (change, said) in rows {
            let mut changed = service();
            change(&mut changed);
            assert!(detail(&changed, Paint::PLAIN).contains(said), "{said}");
            assert!(!is_well(&changed), "{said}");
            // The overview says it too, with the Service's name.
            let well = ServiceReply { name: "shop/well".into(), ..service() };
            let reply = reply(vec![well, changed]);
            let text = overview(&reply, Paint::PLAIN);
            let said = said.trim_start_matches("problem: ").trim_matches(['(', ')', '\n']);
            let word = said.trim_start_matches("KERNEL ");
            let line = text.lines().find(|line| line.contains(word));
            assert!(line.is_some_and(|line| line.contains("shop/cart")), "{word}: {text}");
        }
    }
}
