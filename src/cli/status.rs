//! `towpath status`.

use std::io::Write;

use super::{
    client::Target,
    output::{self, Exit, Failure, Format},
    table::{Paint, Table, bytes, duration, printable},
};
use crate::admin::api::{KernelReply, NotServed, ProblemReply, SourceReply, StatusReply};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Failure> {
    let value = args.target.ask("/v1/status")?;
    let reply: StatusReply = read(&value)?;
    match args.output {
        Format::Json => output::json(out, &value)?,
        Format::Table => out.write_all(render(&reply, Paint::of_stdout()).as_bytes())?,
    }
    Ok(if is_well(&reply) { Exit::Well } else { Exit::Problem })
}

/// The typed reply.
pub(super) fn read<T: serde::de::DeserializeOwned>(
    value: &serde_json::Value,
) -> Result<T, Failure> {
    T::deserialize(value).map_err(|error| {
        let what = format!("the daemon's reply is not understood: {error}");
        Failure::problem(what, "use the towpath of the daemon's own image")
    })
}

/// Healthy, attached, connected, and nothing to complain about.
fn is_well(reply: &StatusReply) -> bool {
    reply.health.healthy
        && reply.problems.is_empty()
        && reply.brake.held.is_empty()
        && reply.kernel.programs.iter().all(|program| program.attached)
        && reply.source.kinds.iter().all(|kind| kind.connected)
}

fn render(reply: &StatusReply, paint: Paint) -> String {
    let mut text = format!(
        "towpath {} on {}, up {}: {}\n",
        printable(&reply.version),
        printable(&reply.node),
        duration(reply.uptime_seconds),
        health(reply, paint)
    );
    if !reply.cluster.is_empty() {
        text.push_str(&format!("cluster {}\n", printable(&reply.cluster)));
    }
    let counts = &reply.services;
    text.push_str(&format!(
        "serves {} services, {} ports, {} frontends, {} endpoints\n",
        counts.services, counts.ports, counts.frontends, counts.endpoints
    ));
    if !counts.refused.is_empty() {
        let names = printable(&counts.refused.join(", "));
        text.push_str(&format!("{}\n", paint.bad(&format!("refused: {names}"))));
    }
    text.push_str(&match reply.audit.age_seconds {
        Some(age) => format!(
            "last audit {} ago, {} elements differed\n",
            duration(age),
            reply.audit.divergences
        ),
        None => "no audit yet\n".to_owned(),
    });
    if !reply.brake.held.is_empty() {
        text.push_str(&paint.bad(&format!(
            "holding back the removal of {} objects ({}) until a second list agrees",
            reply.brake.objects,
            printable(&reply.brake.held.join(", "))
        )));
        text.push('\n');
    }
    source(&mut text, &reply.source, paint);
    kernel(&mut text, &reply.kernel, paint);
    not_served(&mut text, &reply.not_served, paint);
    problems(&mut text, &reply.problems, paint);
    text
}

fn health(reply: &StatusReply, paint: Paint) -> String {
    let health = &reply.health;
    if health.healthy {
        return paint.good(if health.synced { "healthy" } else { "healthy, still listing" });
    }
    let why = match health.why.is_empty() && !health.node_eligible {
        true => "the Node is being deleted",
        false => &health.why,
    };
    paint.bad(&format!("unhealthy: {}", printable(why)))
}

fn heading(text: &mut String, paint: Paint, words: &str) {
    text.push_str(&format!("\n{}\n", paint.heading(words)));
}

fn source(text: &mut String, source: &SourceReply, paint: Paint) {
    let words = format!("Source: {} {}", printable(&source.kind), printable(&source.location));
    heading(text, paint, words.trim_end());
    let mut table =
        Table::new(&["KIND", "STREAM", "LAST EVENT", "OBJECTS", "BAD", "LISTS", "ERRORS"]);
    for kind in &source.kinds {
        table.row([
            kind.kind.clone(),
            if kind.connected { "open" } else { "LOST" }.to_owned(),
            kind.last_event_age_seconds
                .map_or_else(|| "never".to_owned(), |age| format!("{} ago", duration(age))),
            kind.objects.to_string(),
            kind.bad_objects.to_string(),
            kind.lists.to_string(),
            kind.errors.to_string(),
        ]);
    }
    text.push_str(&table.render("  "));
}

fn kernel(text: &mut String, kernel: &KernelReply, paint: Paint) {
    let words = format!(
        "Kernel: layout {}, sockets below {}, pins in {}",
        kernel.layout,
        printable(&kernel.cgroup_root),
        printable(&kernel.pins)
    );
    heading(text, paint, &words);
    let mut missing = Vec::new();
    let mut attached = Vec::new();
    for program in &kernel.programs {
        let list = if program.attached { &mut attached } else { &mut missing };
        list.push(printable(&program.name));
    }
    text.push_str(&format!("  attached: {}\n", listed(&attached)));
    if !missing.is_empty() {
        text.push_str(&format!(
            "  {}\n",
            paint.bad(&format!("NOT attached: {}", listed(&missing)))
        ));
    }
    let mut table = Table::new(&["MAP", "ENTRIES", "CAPACITY", "USED", "MEMORY"]);
    for map in &kernel.maps {
        table.row([
            map.name.clone(),
            map.entries.to_string(),
            map.capacity.to_string(),
            format!("{}%", map.entries.saturating_mul(100) / map.capacity.max(1)),
            bytes(map.memory_bytes),
        ]);
    }
    text.push_str(&table.render("  "));
}

fn listed(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn not_served(text: &mut String, list: &[NotServed], paint: Paint) {
    if list.is_empty() {
        return;
    }
    heading(text, paint, "Not served yet");
    let mut table = Table::new(&["WHAT", "OBJECTS", "INSTEAD"]);
    for entry in list {
        let objects = entry.objects.map_or_else(|| "-".to_owned(), |count| count.to_string());
        table.row([entry.what.clone(), objects, entry.instead.clone()]);
    }
    text.push_str(&table.render("  "));
}

fn problems(text: &mut String, list: &[ProblemReply], paint: Paint) {
    if list.is_empty() {
        text.push_str("\nNo problems.\n");
        return;
    }
    heading(text, paint, &format!("Problems: {}", list.len()));
    for problem in list {
        let about = [&problem.kind, &problem.object, &problem.field];
        let about: Vec<_> =
            about.iter().filter(|word| !word.is_empty()).map(|word| printable(word)).collect();
        let why = paint.bad(&printable(&problem.why));
        text.push_str(&format!("  {}: {why}\n", about.join(" ")));
        text.push_str(&format!("      {}\n", printable(&problem.action)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::{Audit, Brake, HealthReply, KindReply, MapReply, ProgramReply};

    fn reply() -> StatusReply {
        StatusReply {
            version: "0.1.0".into(),
            node: "w1".into(),
            uptime_seconds: 3_720.0,
            health: HealthReply {
                healthy: true,
                node_eligible: true,
                synced: true,
                why: String::new(),
            },
            source: SourceReply {
                kind: "manifests".into(),
                location: "/m".into(),
                kinds: vec![KindReply {
                    kind: "Service".into(),
                    connected: true,
                    last_event_age_seconds: Some(2.0),
                    objects: 7,
                    ..KindReply::default()
                }],
            },
            kernel: KernelReply {
                layout: 1,
                cgroup_root: "/sys/fs/cgroup".into(),
                pins: "/sys/fs/bpf/towpath".into(),
                programs: vec![ProgramReply { name: "connect4".into(), attached: true }],
                maps: vec![MapReply {
                    name: "BACKENDS".into(),
                    entries: 5,
                    capacity: 10,
                    memory_bytes: 8_192,
                }],
            },
            audit: Audit { age_seconds: Some(60.0), divergences: 0 },
            ..StatusReply::default()
        }
    }

    #[test]
    fn a_well_daemon_reads_like_this() {
        assert!(is_well(&reply()));
        let expected = "\
towpath 0.1.0 on w1, up 1h 2m: healthy
serves 0 services, 0 ports, 0 frontends, 0 endpoints
last audit 1m 0s ago, 0 elements differed

Source: manifests /m
  KIND     STREAM  LAST EVENT  OBJECTS  BAD  LISTS  ERRORS
  Service  open    2.0s ago    7        0    0      0

Kernel: layout 1, sockets below /sys/fs/cgroup, pins in /sys/fs/bpf/towpath
  attached: connect4
  MAP       ENTRIES  CAPACITY  USED  MEMORY
  BACKENDS  5        10        50%   8 KiB

No problems.
";
        assert_eq!(render(&reply(), Paint::PLAIN), expected);
    }

    #[test]
    fn whatever_is_wrong_is_said_and_counts() {
        let problem = ProblemReply {
            kind: "Service".into(),
            object: "a/b".into(),
            field: "spec.ports[0]".into(),
            why: "bad".into(),
            action: "mend it".into(),
        };
        let lost = KindReply { kind: "Node".into(), ..KindReply::default() };
        let loose = ProgramReply { name: "recvmsg6".into(), attached: false };
        let held = Brake { held: vec!["Service".into()], objects: 60 };
        let sick = HealthReply { why: "map FRONTENDS is full".into(), ..HealthReply::default() };
        let mut rows: Vec<(StatusReply, &str)> = Vec::new();
        let mut row = |change: &dyn Fn(&mut StatusReply), said| {
            let mut changed = reply();
            change(&mut changed);
            rows.push((changed, said));
        };
        row(
            &|r| r.problems = vec![problem.clone()],
            "  Service a/b spec.ports[0]: bad\n      mend it\n",
        );
        row(&|r| r.source.kinds.push(lost.clone()), "  Node     LOST    never ");
        row(&|r| r.kernel.programs.push(loose.clone()), "  NOT attached: recvmsg6\n");
        row(&|r| r.brake = held.clone(), "holding back the removal of 60 objects (Service)");
        row(&|r| r.health = sick.clone(), "up 1h 2m: unhealthy: map FRONTENDS is full\n");
        row(&|r| r.health = HealthReply::default(), "unhealthy: the Node is being deleted\n");
        for (changed, said) in rows {
            let text = render(&changed, Paint::PLAIN);
            assert!(text.contains(said), "{said}\n--\n{text}");
            assert!(!is_well(&changed), "{said}");
        }
    }
}
