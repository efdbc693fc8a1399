//! What others rely on: metric names, the JSON of the command line, its exit codes.
//!
//! Golden files are in `tests/contract/`; `TOWPATH_BLESS=1` rewrites them, and the diff is the review.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};

use towpath::{
    admin::{self, Admin, AdminMetrics, Ports, Route, Servers},
    agent::metric_names,
    api::{
        self, StatusReply, VERSION,
        explain::{self as explain_api, ExplainAnswer, ExplainReply, Outcome},
        services::{self as services_api, ServicesReply},
    },
    clock::SystemClock,
    config::{AdminConfig, control_socket},
    metrics::Registry,
    vitals::Vitals,
};

/// Compares with a golden file, or rewrites it.
fn check(file: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract").join(file);
    if std::env::var_os("TOWPATH_BLESS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(
        expected == actual,
        "{} is not what it was; TOWPATH_BLESS=1 rewrites it\n--- expected\n{expected}\n--- actual\n{actual}",
        path.display()
    );
}

#[test]
fn metric_names_are_what_they_were() {
    check("metrics.txt", &(metric_names().unwrap().join("\n") + "\n"));
}

#[test]
fn every_metric_is_documented_and_nothing_else_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut documented: Vec<_> = rows.map(str::to_owned).collect();
    documented.sort();
    assert_eq!(documented, metric_names().unwrap());
}

/// A reply with every field at work.
fn status() -> StatusReply {
    let map = |name: &str| api::MapReply { name: name.into(), entries: 7, capacity: 100 };
    StatusReply {
        api_version: VERSION.into(),
        version: "0.1.0".into(),
        pid: 4711,
        node: "w1".into(),
        uptime_ms: 12_500,
        source: api::SourceReply {
            kind: "kube".into(),
            streams: vec![api::StreamReply {
                kind: "Service".into(),
                connected: true,
                last_event_age_ms: Some(1_500),
                lists: 2,
                errors: 1,
                bad_objects: 1,
                restarts: 1,
            }],
        },
        state: api::StateReply {
            synced: true,
            services: 3,
            endpoint_slices: 4,
            nodes: 2,
            problems: vec!["Service shop/cart: spec.externalIPs[0]: not allowed; allow it".into()],
            kernel: api::KernelReply {
                maps: vec![map("FRONTENDS"), map("SERVICES")],
                pending: false,
                longest_write_us: 42,
                programs_reattached: 0,
            },
            audit: Some(api::AuditReply { age_ms: 30_000, differences: Vec::new() }),
        },
        map_bytes: 4096,
        stale_udp: Some(api::StaleUdpReply { ended: 3, in_pods_at_most: 2 }),
        ports: vec!["healthz: can not listen on 0.0.0.0:10256".into()],
        not_served: vec!["SCTP".into()],
    }
}

fn services() -> ServicesReply {
    let backend = services_api::BackendReply { address: "10.1.0.2".into(), port: 8080 };
    let set = |name: &str, why: &str, backends| services_api::SetReply {
        name: name.into(),
        why: why.into(),
        backends,
        agrees: true,
    };
    let frontend = |kind: &str| services_api::FrontendReply {
        address: "10.96.0.9".into(),
        port: 80,
        kind: kind.into(),
        served: kind != "LoadBalancer",
        not_served: (kind == "LoadBalancer").then(|| "it has source ranges".into()),
    };
    let port = services_api::PortReply {
        name: "http".into(),
        port: 80,
        protocol: "TCP".into(),
        family: "IPv4".into(),
        frontends: ["ClusterIP", "NodePort", "LoadBalancer", "ExternalIP"].map(frontend).into(),
        no_endpoints: Vec::new(),
        ready: 1,
        serving: 1,
        terminating: 0,
        affinity_seconds: Some(10_800),
        sets: vec![
            set("cluster", "ready endpoints", vec![backend]),
            set("local", "no local endpoint", Vec::new()),
        ],
        kernel_index: Some(3),
        counters: services_api::CountersReply {
            translated: 1,
            refused: 2,
            no_local: 3,
            untranslated: 4,
        },
    };
    let service = services_api::ServiceReply {
        name: "shop/cart".into(),
        ports: vec![port],
        problems: Vec::new(),
        last_change: Some(services_api::LastChangeReply {
            age_ms: 5_000,
            took_us: 90,
            failed: None,
        }),
    };
    let refused = services_api::ServiceReply {
        name: "shop/refused".into(),
        ports: Vec::new(),
        problems: vec!["Service shop/refused: spec.ports[0].port: 0 is no port; correct it".into()],
        last_change: Some(services_api::LastChangeReply {
            age_ms: 5_000,
            took_us: 90,
            failed: Some("no room".into()),
        }),
    };
    let not_routed = services_api::NotRoutedReply {
        name: "shop/legacy".into(),
        why: "TP2002 Service shop/legacy: spec.ports[0].port: no".into(),
        wrong: true,
    };
    ServicesReply {
        api_version: VERSION.into(),
        unlisted: Vec::new(),
        services: vec![service, refused],
        not_routed: vec![not_routed],
    }
}

fn party(kind: &str, name: &str, node: &str, ip: &str) -> explain_api::PartyReply {
    explain_api::PartyReply {
        kind: kind.into(),
        name: Some(name.into()),
        node: Some(node.into()),
        addresses: vec![ip.into()],
        notes: Vec::new(),
    }
}

/// Where it dies: two ends, each with its policies.
fn destination() -> explain_api::DestinationReply {
    let rule = |at: &str, lacks| explain_api::RuleReply { rule: at.into(), lacks };
    let policy = explain_api::PolicyReply {
        name: "shop/db".into(),
        rules: vec![
            rule("ingress[0]", explain_api::Lacks::Peer),
            rule("ingress[1]", explain_api::Lacks::Port),
            rule("ingress[2]", explain_api::Lacks::Both),
        ],
        more_rules: 1,
    };
    let hop = |pod: &str, here, outcome, why: &str| explain_api::PolicyHop {
        pod: pod.into(),
        node: if here { "w1" } else { "w2" }.into(),
        here,
        outcome,
        why: why.into(),
        policies: Vec::new(),
        more_policies: 0,
        kernel: here
            .then(|| explain_api::KernelVerdict { verdict: "allowed".into(), agrees: true }),
    };
    explain_api::DestinationReply {
        address: "10.1.1.3".into(),
        port: 8080,
        party: party("pod", "shop/db-1", "w2", "10.1.1.3"),
        egress: Some(hop("shop/web", true, Outcome::Passes, "no policy selects it for egress")),
        ingress: Some(explain_api::PolicyHop {
            policies: vec![policy],
            more_policies: 2,
            ..hop("shop/db-1", false, Outcome::Dies, "no rule allows it")
        }),
    }
}

/// The Service on the way there.
fn frontend() -> explain_api::FrontendHop {
    let endpoint = |address: &str, used, why: &str| explain_api::EndpointReply {
        address: address.into(),
        port: 8080,
        node: Some("w2".into()),
        zone: Some("z1".into()),
        ready: used,
        serving: used,
        terminating: !used,
        used,
        why: why.into(),
    };
    explain_api::FrontendHop {
        service: "shop/db".into(),
        port: "sql 80/TCP".into(),
        kind: "ClusterIP".into(),
        decided_by: "socket".into(),
        set: Some("cluster".into()),
        policy: "internalTrafficPolicy: Cluster".into(),
        why: "all ready endpoints".into(),
        answer: "Service shop/db: one of 1 endpoint".into(),
        affinity_seconds: Some(10_800),
        kernel_agrees: Some(true),
        endpoints: vec![endpoint("10.1.1.3", true, "ready"), endpoint("10.1.1.4", false, "gone")],
        more_endpoints: 1,
    }
}

/// An explanation with every field at work.
fn explain() -> ExplainReply {
    let result = explain_api::ResultReply {
        outcome: Outcome::Dies,
        why: "ingress of pod shop/db-1 is denied on node w2".into(),
        action: "add a rule".into(),
    };
    let route = explain_api::RouteReply {
        address: "10.96.0.9".into(),
        port: 80,
        service: Some(frontend()),
        destinations: vec![destination()],
        more_destinations: 3,
        result: result.clone(),
    };
    ExplainReply {
        api_version: VERSION.into(),
        node: "w1".into(),
        offline: false,
        from: party("pod", "shop/web", "w1", "10.1.0.2"),
        to: "shop/db".into(),
        protocol: "TCP".into(),
        name: Some(explain_api::NameReply {
            name: "db.shop.svc.cluster.local.".into(),
            answered_by: "the cluster's zone on this node".into(),
            records: vec!["db.shop.svc.cluster.local. A 10.96.0.9".into()],
            outcome: Outcome::Passes,
            why: String::new(),
            question: None,
        }),
        routes: vec![route],
        more_routes: 1,
        drops: Some(explain_api::DropsReply {
            denied_ingress: 1,
            denied_egress: 2,
            spoofed: 3,
            unbound: 4,
            unreadable: 5,
            not_for_it: 6,
        }),
        result,
    }
}

/// An answer to everything but a target that does not exist.
fn explanation(to: Option<String>) -> ExplainAnswer {
    match to.as_deref() {
        Some("none") => ExplainAnswer::NotUnderstood(explain_api::NotUnderstoodReply {
            api_version: VERSION.into(),
            error: "no Service and no pod none is known here".into(),
            action: "name another".into(),
        }),
        _ => ExplainAnswer::Explained(explain()),
    }
}

/// Run directory of a daemon that answers `status`.
fn daemon(status: StatusReply) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let socket = control_socket(dir.path());
    let registry = Arc::new(Registry::new());
    let metrics = AdminMetrics::new(&registry).unwrap();
    let named = |name: Option<String>| {
        let mut reply = services();
        let is_named = |service: &str| name.as_ref().is_none_or(|name| service == *name);
        reply.services.retain(|service| is_named(&service.name));
        reply.not_routed.retain(|service| is_named(&service.name));
        Some(reply)
    };
    let admin = Admin {
        config: AdminConfig { healthz: None, metrics: None, socket: socket.clone() },
        vitals: Arc::new(Vitals::default()),
        registry,
        clock: SystemClock::start(),
        routes: vec![
            Route::json("/v1/status", move |_| Some(status.clone())),
            Route::json("/v1/services", move |asked| named(asked.get("name"))),
            Route::json("/v1/explain", move |asked| Some(explanation(asked.get("to")))),
        ],
        gather: Box::new(|| ()),
        servers: Arc::new(Servers {
            ports: Arc::new(Ports::default()),
            metrics,
            descriptors: 1_024,
            draining: tokio::sync::watch::channel(false).1,
        }),
    };
    admin::start(admin, Vec::new()).unwrap();
    let began = Instant::now();
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "no control socket");
        std::thread::sleep(Duration::from_millis(5));
    }
    dir
}

fn towpath(words: &[&str], run_dir: &Path) -> Output {
    Command::new(PathBuf::from(env!("CARGO_BIN_EXE_towpath")))
        .args(words)
        .arg("--run-dir")
        .arg(run_dir)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn status_json_and_table() {
    let dir = daemon(status());
    let json = towpath(&["status", "-o", "json"], dir.path());
    assert_eq!(json.status.code(), Some(1), "a problem was found");
    check("status.json", text(&json.stdout));
    check("status.txt", text(&towpath(&["status"], dir.path()).stdout));
}

#[test]
fn a_well_daemon_is_code_0() {
    let mut well = StatusReply { ports: Vec::new(), ..status() };
    well.state.problems.clear();
    let dir = daemon(well);
    let shown = towpath(&["status"], dir.path());
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stdout));
    assert!(text(&shown.stdout).starts_with("towpath 0.1.0 on w1, pid 4711, up 12s: well\n"));
}

#[test]
fn services_json_and_tables() {
    let dir = daemon(status());
    let json = towpath(&["services", "-o", "json"], dir.path());
    assert_eq!(json.status.code(), Some(1), "{}", text(&json.stderr));
    check("services.json", text(&json.stdout));
    check("services.txt", text(&towpath(&["services"], dir.path()).stdout));
    let one = towpath(&["services", "shop/cart"], dir.path());
    assert_eq!(one.status.code(), Some(0), "{}", text(&one.stderr));
    check("service.txt", text(&one.stdout));
    let unknown = towpath(&["services", "shop/none"], dir.path());
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).starts_with("error: no Service shop/none exists\n"));
}

#[test]
fn explain_json_and_table() {
    let dir = daemon(status());
    let json = towpath(&["explain", "shop/web", "shop/db", "-o", "json"], dir.path());
    assert_eq!(json.status.code(), Some(1), "{}", text(&json.stderr));
    check("explain.json", text(&json.stdout));
    check("explain.txt", text(&towpath(&["explain", "shop/web -> shop/db"], dir.path()).stdout));
    let unknown = towpath(&["explain", "none"], dir.path());
    assert_eq!((unknown.status.code(), text(&unknown.stdout)), (Some(2), ""));
    let said = "error: no Service and no pod none is known here\n       name another\n";
    assert_eq!(text(&unknown.stderr), said);
}

#[test]
fn an_arrow_that_the_shell_took_for_a_redirection_is_refused_with_the_file_it_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("B:80");
    let done = Command::new(env!("CARGO_BIN_EXE_towpath"))
        .args(["explain", "A", "-"])
        .stdout(std::fs::File::create(&file).unwrap())
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(2));
    let said = text(&done.stderr);
    assert!(said.contains(&format!("has written {}", file.display())), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "", "and nothing is added to it");
}

#[test]
fn without_a_daemon_it_is_code_3_and_says_what_was_tried() {
    let dir = tempfile::tempdir().unwrap();
    let shown = towpath(&["status"], dir.path());
    assert_eq!((shown.status.code(), text(&shown.stdout)), (Some(3), ""));
    let said = text(&shown.stderr).replace(&dir.path().display().to_string(), "RUN");
    assert_eq!(
        said,
        "error: no daemon answers on RUN/control.sock: No such file or directory (os error 2)\n       \
         no daemon runs here with this run directory: start `towpath run`, or name its directory \
         with --run-dir (in a cluster, ask inside the pod of this node)\n"
    );
}

#[test]
fn usage_and_configuration_mistakes_are_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("towpath.yaml");
    std::fs::write(&file, "nodename: w1\n").unwrap();
    let bad = towpath(&["run", "--config", file.to_str().unwrap()], dir.path());
    assert_eq!(bad.status.code(), Some(2));
    let said = text(&bad.stderr).replace(&dir.path().display().to_string(), "DIR");
    let expected =
        "error: DIR/towpath.yaml:1: nodename: no such setting; did you mean \"nodeName\"?\n";
    assert_eq!(said, expected);
    assert_eq!(towpath(&["status", "--colour"], dir.path()).status.code(), Some(2));
    assert_eq!(towpath(&["staus"], dir.path()).status.code(), Some(2));
    let help = Command::new(env!("CARGO_BIN_EXE_towpath")).arg("--help").output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    for command in ["run", "status", "services", "explain", "cleanup", "version"] {
        assert!(text(&help.stdout).contains(&format!("\n  {command}")), "{command}");
    }
}

#[test]
fn cleanup_of_nothing_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let pins = dir.path().join("pins");
    let words = ["cleanup", "--dry-run", "-o", "json", "--bpffs", pins.to_str().unwrap()];
    let done = towpath(&words, dir.path());
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let reply: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let expected =
        serde_json::json!({"apiVersion": VERSION, "dryRun": true, "removed": [], "left": []});
    assert_eq!(reply, expected);
}

#[test]
fn cleanup_touches_nothing_that_is_not_on_a_bpffs() {
    let dir = tempfile::tempdir().unwrap();
    let pins = dir.path().join("pins");
    std::fs::create_dir_all(pins.join("links")).unwrap();
    std::fs::write(pins.join("links/connect4"), "another's").unwrap();
    for dry_run in [true, false] {
        let run_dir = dir.path().join("run");
        let mut words = vec!["cleanup", "--bpffs", pins.to_str().unwrap()];
        words.extend(dry_run.then_some("--dry-run"));
        let done = towpath(&words, &run_dir);
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(said.contains("not in a bpf file system"), "{said}");
        assert!(said.contains("nothing was removed"), "{said}");
        assert!(!run_dir.exists(), "nor is anything made");
    }
    assert_eq!(std::fs::read_to_string(pins.join("links/connect4")).unwrap(), "another's");
}
