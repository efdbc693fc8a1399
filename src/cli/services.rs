//! `towpath services [NAMESPACE/NAME]`.

use std::io::Write;

use super::{
    client::{Target, escaped},
    output::{self, Exit, Failure, Format},
    status::read,
    table::{Paint, Table, printable},
};
use crate::admin::api::{PortReply, ServiceReply, ServicesReply, SetView};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this Service, in detail
    #[arg(value_name = "NAMESPACE/NAME")]
    name: Option<String>,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Failure> {
    let question = match &args.name {
        Some(name) if !name.contains('/') => {
            return Err(Failure {
                exit: Exit::Usage,
                what: format!("\"{}\" does not say which namespace", printable(name)),
                next: format!("write it as NAMESPACE/NAME, such as default/{}", printable(name)),
            });
        }
        Some(name) => format!("/v1/services?name={}", escaped(name)),
        None => "/v1/services".to_owned(),
    };
    let value = args.target.ask(&question)?;
    let reply: ServicesReply = read(&value)?;
    if let (Some(name), true) = (&args.name, reply.services.is_empty()) {
        return Err(Failure::problem(
            format!("the daemon knows no Service {}", printable(name)),
            "compare with `kubectl get services -A`; `towpath status` says how well it hears",
        ));
    }
    match (args.output, &args.name) {
        (Format::Json, _) => output::json(out, &value)?,
        (Format::Table, None) => out.write_all(list(&reply).as_bytes())?,
        (Format::Table, Some(_)) => {
            for service in &reply.services {
                out.write_all(detail(service, Paint::of_stdout()).as_bytes())?;
            }
        }
    }
    let agrees = |port: &PortReply| port.kernel.as_ref().is_none_or(|kernel| kernel.agrees);
    let agree = reply.services.iter().all(|service| service.ports.iter().all(agrees));
    Ok(if agree { Exit::Well } else { Exit::Problem })
}

/// One line for each port and family.
fn list(reply: &ServicesReply) -> String {
    let mut table = Table::new(&[
        "SERVICE",
        "TYPE",
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
    ]);
    for service in &reply.services {
        for port in &service.ports {
            table.row([
                service.service.clone(),
                service.service_type.clone(),
                port_name(port),
                summary(port),
                port.ready.to_string(),
                port.serving.to_string(),
                port.terminating.to_string(),
                port.counters.translated.to_string(),
                port.counters.refused.to_string(),
                port.counters.no_local.to_string(),
                port.counters.untranslated.to_string(),
                agreement(port).to_owned(),
            ]);
        }
        if service.ports.is_empty() {
            let mut cells = [const { String::new() }; 12];
            cells[0].clone_from(&service.service);
            cells[1].clone_from(&service.service_type);
            cells[3] = format!("not routed: {}", service.not_routed);
            table.row(cells);
        }
    }
    table.render("")
}

fn port_name(port: &PortReply) -> String {
    let name = if port.name.is_empty() { "-" } else { &port.name };
    format!("{name}/{} {}", port.protocol, port.family)
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

fn agreement(port: &PortReply) -> &'static str {
    match &port.kernel {
        None => "absent",
        Some(kernel) if kernel.agrees => "agrees",
        Some(_) => "DIFFERS",
    }
}

/// Everything about one Service.
fn detail(service: &ServiceReply, paint: Paint) -> String {
    let title = format!("{} ({})", printable(&service.service), printable(&service.service_type));
    let mut text = format!("{}\n", paint.heading(&title));
    if !service.not_routed.is_empty() {
        text.push_str(&format!("  not routed: {}\n", printable(&service.not_routed)));
    }
    if let Some(seconds) = service.affinity_seconds {
        text.push_str(&format!("  session affinity by client, {seconds} s\n"));
    }
    for port in &service.ports {
        detail_of_port(&mut text, port, paint);
    }
    text
}

fn detail_of_port(text: &mut String, port: &PortReply, paint: Paint) {
    text.push_str(&format!(
        "\n{}\n  endpoints: {} ready, {} serving, {} terminating\n",
        paint.heading(&format!("port {}", printable(&port_name(port)))),
        port.ready,
        port.serving,
        port.terminating
    ));
    let mut table = Table::new(&["FRONTEND", "KIND", "SET", "NOT SERVED"]);
    for frontend in &port.frontends {
        table.row([
            socket(&frontend.address, frontend.port),
            frontend.kind.as_str().to_owned(),
            frontend.set.clone(),
            frontend.not_served.clone(),
        ]);
    }
    text.push_str(&table.render("  "));
    for set in &port.sets {
        detail_of_set(text, set);
    }
    match &port.kernel {
        None => text.push_str("  kernel: holds nothing\n"),
        Some(kernel) => {
            let verdict = match kernel.agrees {
                true => paint.good("agrees"),
                false => paint.bad("DIFFERS from what is wanted"),
            };
            let words = printable(&kernel.sets.join("; "));
            text.push_str(&format!("  kernel: {verdict}, index {}, {words}\n", kernel.index));
        }
    }
    let counters = &port.counters;
    text.push_str(&format!(
        "  flows: {} translated, {} refused, {} without a local endpoint, {} left untranslated\n",
        counters.translated, counters.refused, counters.no_local, counters.untranslated
    ));
}

fn detail_of_set(text: &mut String, set: &SetView) {
    text.push_str(&format!("  {} set: {}", printable(&set.name), printable(&set.why)));
    if set.backends.is_empty() {
        text.push_str(&format!("; empty: {}\n", printable(&set.when_empty)));
        return;
    }
    text.push('\n');
    for backend in &set.backends {
        let node = if backend.node.is_empty() { "unknown node" } else { &backend.node };
        let address = socket(&backend.address, backend.port);
        text.push_str(&format!("    {} on {}\n", printable(&address), printable(node)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::{Backend, Frontend, FrontendKind, KernelView, ServiceCounts};

    fn service() -> ServiceReply {
        let frontend = |address: &str, port, kind, not_served: &str| Frontend {
            address: address.into(),
            port,
            kind,
            set: "cluster".into(),
            not_served: not_served.into(),
        };
        let backend =
            |node: &str| Backend { address: "fd00::1".into(), port: 8080, node: node.into() };
        let set = |name: &str, why: &str, when: &str, backends| SetView {
            name: name.into(),
            why: why.into(),
            when_empty: when.into(),
            backends,
        };
        let port = PortReply {
            name: "http".into(),
            protocol: "TCP".into(),
            family: "IPv6".into(),
            frontends: vec![
                frontend("fd00:96::4", 80, FrontendKind::ClusterIp, ""),
                frontend("*", 30080, FrontendKind::NodePort, "source ranges"),
            ],
            ready: 2,
            serving: 2,
            terminating: 1,
            sets: vec![
                set("cluster", "ready endpoints", "", vec![backend("w1"), backend("")]),
                set("local", "no endpoint on this node", "leave", Vec::new()),
            ],
            kernel: Some(KernelView {
                index: 3,
                sets: vec!["cluster base=0 count=2 epoch=1".into()],
                agrees: true,
            }),
            counters: ServiceCounts { translated: 9, refused: 1, no_local: 0, untranslated: 2 },
        };
        ServiceReply {
            service: "shop/cart".into(),
            service_type: "NodePort".into(),
            not_routed: String::new(),
            affinity_seconds: Some(10_800),
            ports: vec![port],
        }
    }

    #[test]
    fn the_list_has_a_line_for_each_port() {
        let headless = ServiceReply {
            service: "shop/db".into(),
            service_type: "ClusterIP".into(),
            not_routed: "headless".into(),
            ..ServiceReply::default()
        };
        let reply =
            ServicesReply { services: vec![service(), headless], ..ServicesReply::default() };
        let expected = "\
SERVICE    TYPE       PORT           FRONTENDS             READY  SERVING  TERMINATING  TRANSLATED  REFUSED  NO LOCAL  UNTRANSLATED  KERNEL
shop/cart  NodePort   http/TCP IPv6  [fd00:96::4]:80 +1    2      2        1            9           1        0         2             agrees
shop/db    ClusterIP                 not routed: headless
";
        assert_eq!(list(&reply), expected);
    }

    #[test]
    fn the_detail_says_which_set_and_why() {
        let expected = "\
shop/cart (NodePort)
  session affinity by client, 10800 s

port http/TCP IPv6
  endpoints: 2 ready, 2 serving, 1 terminating
  FRONTEND         KIND       SET      NOT SERVED
  [fd00:96::4]:80  ClusterIP  cluster
  *:30080          NodePort   cluster  source ranges
  cluster set: ready endpoints
    [fd00::1]:8080 on w1
    [fd00::1]:8080 on unknown node
  local set: no endpoint on this node; empty: leave
  kernel: agrees, index 3, cluster base=0 count=2 epoch=1
  flows: 9 translated, 1 refused, 0 without a local endpoint, 2 left untranslated
";
        assert_eq!(detail(&service(), Paint::PLAIN), expected);
    }
}
