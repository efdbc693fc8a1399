//! `towpath status`.

use std::{io::Write, path::Path};

use super::{
    check,
    client::Target,
    output::{self, Exit, Failure, Format},
    table::{Paint, Table, bytes, duration, printable},
};
use crate::{
    api::{SourceReply, StateReply, StatusReply},
    config::{BPFFS, RUN_DIR},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Failure> {
    let value = args.target.ask("/v1/status").map_err(|failure| {
        // A daemon that was given another run directory was given another bpffs too.
        if failure.exit != Exit::Unreachable || args.target.run_dir != Path::new(RUN_DIR) {
            return failure;
        }
        let features = check::look(None, BPFFS.into());
        with_missing(failure, &check::missing(&features, true))
    })?;
    let reply: StatusReply = read(&value)?;
    match args.output {
        Format::Json => output::json(out, &value)?,
        Format::Table => out.write_all(render(&reply, Paint::of_stdout()).as_bytes())?,
    }
    Ok(if is_well(&reply) { Exit::Well } else { Exit::Problem })
}

/// Perhaps no daemon answers because none can run here.
fn with_missing(mut failure: Failure, missing: &[String]) -> Failure {
    if !missing.is_empty() {
        let lines = missing.join("\n         - ");
        failure.next.push_str(&format!(
            "\n       this kernel lacks what a daemon needs (`towpath check`):\n         - {lines}"
        ));
    }
    failure
}

/// The typed reply.
pub(super) fn read<T>(value: &serde_json::Value) -> Result<T, Failure>
where
    T: serde::de::DeserializeOwned,
{
    T::deserialize(value).map_err(|error| {
        let what = format!("the daemon's reply is not understood: {error}");
        Failure::problem(what, "use the towpath of the daemon's own image")
    })
}

/// Everything listed, heard and written, and nothing to complain about.
fn is_well(reply: &StatusReply) -> bool {
    let state = &reply.state;
    state.synced
        && !state.kernel.pending
        && state.problems.is_empty()
        && reply.ports.is_empty()
        && state.audit.as_ref().is_none_or(|audit| audit.differences.is_empty())
        && reply.source.streams.iter().all(|stream| stream.connected)
}

fn render(reply: &StatusReply, paint: Paint) -> String {
    let state = &reply.state;
    let verdict = if is_well(reply) { paint.good("well") } else { paint.bad("NOT WELL") };
    let mut text = format!(
        "towpath {} on {}, pid {}, up {}: {verdict}\n",
        printable(&reply.version),
        printable(&reply.node),
        reply.pid,
        age(reply.uptime_ms)
    );
    text.push_str(&format!(
        "routes {} Services from {} slices, {} nodes\n",
        state.services, state.endpoint_slices, state.nodes
    ));
    source(&mut text, &reply.source, state.synced, paint);
    kernel(&mut text, reply, paint);
    audit(&mut text, state, paint);
    stale_udp(&mut text, reply);
    list(&mut text, paint, "Ports not open", &reply.ports);
    list(&mut text, paint, "Problems", &state.problems);
    list(
        &mut text,
        paint,
        "Not served yet: passes as if Towpath were not there",
        &reply.not_served,
    );
    text
}

fn age(ms: u64) -> String {
    duration(std::time::Duration::from_millis(ms))
}

fn source(text: &mut String, source: &SourceReply, synced: bool, paint: Paint) {
    let listed = match synced {
        true => paint.good("everything listed"),
        false => paint.bad("waiting for the first lists"),
    };
    let title = paint.heading(&format!("Source {}", printable(&source.kind)));
    text.push_str(&format!("\n{title}: {listed}\n"));
    let titles = ["KIND", "STREAM", "LAST HEARD", "LISTS", "ERRORS", "BAD OBJECTS", "RESTARTS"];
    let mut table = Table::new(&titles);
    for stream in &source.streams {
        let heard = stream.last_event_age_ms;
        table.row([
            stream.kind.clone(),
            if stream.connected { "connected" } else { "LOST" }.to_owned(),
            heard.map_or_else(|| "never".to_owned(), |ms| format!("{} ago", age(ms))),
            stream.lists.to_string(),
            stream.errors.to_string(),
            stream.bad_objects.to_string(),
            stream.restarts.to_string(),
        ]);
    }
    text.push_str(&table.render("  "));
}

fn kernel(text: &mut String, reply: &StatusReply, paint: Paint) {
    let kernel = &reply.state.kernel;
    let pending = match kernel.pending {
        true => paint.bad("CHANGES ARE WAITING"),
        false => paint.good("up to date"),
    };
    let title = paint.heading("Kernel");
    text.push_str(&format!(
        "\n{title}: {pending}, {} of maps, longest write {} us\n",
        bytes(reply.map_bytes),
        kernel.longest_write_us
    ));
    let mut table = Table::new(&["MAP", "ENTRIES", "CAPACITY", "USED"]);
    for map in &kernel.maps {
        table.row([
            map.name.clone(),
            map.entries.to_string(),
            map.capacity.to_string(),
            format!("{}%", map.entries.saturating_mul(100) / map.capacity.max(1)),
        ]);
    }
    text.push_str(&table.render("  "));
}

fn audit(text: &mut String, state: &StateReply, paint: Paint) {
    let Some(audit) = &state.audit else {
        text.push_str("  no audit yet\n");
        return;
    };
    let found = match audit.differences.len() {
        0 => paint.good("no differences"),
        many => paint.bad(&format!("{many} DIFFERENCES")),
    };
    text.push_str(&format!("  last audit {} ago: {found}\n", age(audit.age_ms)));
    if state.kernel.programs_reattached > 0 {
        let many = state.kernel.programs_reattached;
        let what = "programs or pins of maps were detached or removed from outside, and are back";
        text.push_str(&format!("  {many} {what}\n"));
    }
    for difference in &audit.differences {
        text.push_str(&format!("    {}\n", printable(difference)));
    }
}

/// What the numbers mean stands beside them: one is an upper bound.
fn stale_udp(text: &mut String, reply: &StatusReply) {
    let Some(found) = &reply.stale_udp else { return };
    text.push_str(&format!(
        "  connected UDP sockets whose endpoint is gone: {} of the host ended, {} inside pods at most \
         (closed ones count until their record is displaced; a client that gets no answers must \
         connect again)\n",
        found.ended, found.in_pods_at_most
    ));
}

fn list(text: &mut String, paint: Paint, title: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    text.push_str(&format!("\n{}\n", paint.heading(title)));
    for item in items {
        text.push_str(&format!("  - {}\n", printable(item)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AuditReply, KernelReply, MapReply, StaleUdpReply, StreamReply};

    fn stream(connected: bool) -> StreamReply {
        StreamReply {
            kind: "Service".into(),
            connected,
            last_event_age_ms: connected.then_some(2_000),
            lists: 1,
            errors: 0,
            bad_objects: 0,
            restarts: 0,
        }
    }

    fn reply() -> StatusReply {
        StatusReply {
            api_version: "towpath/v1".into(),
            version: "0.1.0".into(),
            pid: 7,
            node: "w1".into(),
            uptime_ms: 3_720_000,
            source: SourceReply { kind: "kube".into(), streams: vec![stream(true)] },
            state: StateReply {
                synced: true,
                services: 3,
                endpoint_slices: 4,
                nodes: 2,
                problems: Vec::new(),
                kernel: KernelReply {
                    maps: vec![MapReply { name: "BACKENDS".into(), entries: 5, capacity: 10 }],
                    pending: false,
                    longest_write_us: 42,
                    programs_reattached: 0,
                },
                audit: Some(AuditReply { age_ms: 60_000, differences: Vec::new() }),
            },
            map_bytes: 8_192,
            stale_udp: None,
            ports: Vec::new(),
            not_served: vec!["SCTP".into()],
        }
    }

    #[test]
    fn a_well_daemon_reads_like_this() {
        assert!(is_well(&reply()));
        let expected = "\
towpath 0.1.0 on w1, pid 7, up 1h 2m: well
routes 3 Services from 4 slices, 2 nodes

Source kube: everything listed
  KIND     STREAM     LAST HEARD  LISTS  ERRORS  BAD OBJECTS  RESTARTS
  Service  connected  2.0s ago    1      0       0            0

Kernel: up to date, 8 KiB of maps, longest write 42 us
  MAP       ENTRIES  CAPACITY  USED
  BACKENDS  5        10        50%
  last audit 1m 0s ago: no differences

Not served yet: passes as if Towpath were not there
  - SCTP
";
        assert_eq!(render(&reply(), Paint::PLAIN), expected);
    }

    #[test]
    fn what_happened_to_sockets_and_programs_is_said() {
        let mut changed = reply();
        changed.stale_udp = Some(StaleUdpReply { ended: 3, in_pods_at_most: 2 });
        changed.state.kernel.programs_reattached = 8;
        let text = render(&changed, Paint::PLAIN);
        let sockets = "endpoint is gone: 3 of the host ended, 2 inside pods at most";
        assert!(
            text.contains(sockets) && text.contains("8 programs or pins of maps were detached"),
            "{text}"
        );
        assert!(is_well(&changed), "nothing of it needs a person now");
    }

    #[test]
    fn where_no_daemon_answers_what_the_kernel_lacks_is_said() {
        let silent =
            || Failure { exit: Exit::Unreachable, what: "w".into(), next: "start it".into() };
        let missing = ["bpffs: mount it (statfs)".to_owned()];
        let said = with_missing(silent(), &missing).next;
        assert!(
            said.starts_with("start it\n")
                && said.ends_with("\n         - bpffs: mount it (statfs)")
        );
        assert_eq!(with_missing(silent(), &[]).next, "start it");
    }

    #[test]
    fn whatever_is_wrong_is_said_and_counts() {
        type Change = fn(&mut StatusReply);
        let rows: [(Change, &str); 6] = [
            (|r| r.state.synced = false, "Source kube: waiting for the first lists\n"),
            (|r| r.state.kernel.pending = true, "Kernel: CHANGES ARE WAITING"),
            (|r| r.state.problems.push("a/b: x\u{1b}".into()), "Problems\n  - a/b: x\\u{1b}\n"),
            (|r| r.ports.push("healthz: taken".into()), "Ports not open\n  - healthz: taken\n"),
            (|r| r.source.streams.push(stream(false)), "  Service  LOST       never "),
            (
                |r| r.state.audit = Some(AuditReply { age_ms: 1, differences: vec!["d".into()] }),
                "ago: 1 DIFFERENCES\n    d\n",
            ),
        ];
        for (change, said) in rows {
            let mut changed = reply();
            change(&mut changed);
            let text = render(&changed, Paint::PLAIN);
            assert!(text.contains(said), "{said}\n--\n{text}");
            assert!(text.contains(": NOT WELL\n") && !is_well(&changed), "{said}");
        }
    }
}
