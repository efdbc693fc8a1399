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
    admin::{
        Admin, Answers, HealthSnapshot, HealthTracker, Metrics,
        api::{self, API_VERSION, FrontendKind, ServicesReply, StatusReply},
    },
    config::{AdminConfig, control_socket},
};
use towpath_model::{Key, Kind, ObjectName, Problem};

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
fn metric_names() {
    check("metrics.txt", &(Metrics::names().unwrap().join("\n") + "\n"));
}

/// A reply with every field at work.
fn status() -> StatusReply {
    let key = Key { kind: Kind::Service, name: ObjectName::new("shop", "cart") };
    let problem = Problem::new(Some(key), "spec.externalIPs[0]", "not allowed", "allow it");
    StatusReply {
        api_version: API_VERSION.into(),
        version: "0.1.0".into(),
        node: "w1".into(),
        cluster: "5b8b0c4e".into(),
        uptime_seconds: 12.5,
        health: api::HealthReply {
            healthy: true,
            node_eligible: true,
            synced: true,
            why: String::new(),
        },
        source: api::SourceReply {
            kind: "kube".into(),
            location: "https://10.0.0.1:6443".into(),
            kinds: vec![api::KindReply {
                kind: "Service".into(),
                connected: true,
                last_event_age_seconds: Some(1.5),
                objects: 3,
                bad_objects: 1,
                lists: 2,
                errors: 1,
            }],
        },
        kernel: api::KernelReply {
            layout: 1,
            cgroup_root: "/sys/fs/cgroup".into(),
            pins: "/sys/fs/bpf/towpath".into(),
            programs: vec![api::ProgramReply { name: "connect4".into(), attached: true }],
            maps: vec![api::MapReply {
                name: "FRONTENDS".into(),
                entries: 7,
                capacity: 100,
                memory_bytes: 4096,
            }],
        },
        services: api::ServicesSummary {
            services: 3,
            ports: 4,
            frontends: 7,
            endpoints: 9,
            refused: vec!["shop/huge".into()],
        },
        not_served: vec![api::NotServed {
            what: "source ranges".into(),
            instead: "left untranslated".into(),
            objects: Some(1),
        }],
        problems: vec![api::ProblemReply::from(&problem)],
        audit: api::Audit { age_seconds: Some(30.0), divergences: 0 },
        brake: api::Brake { held: vec!["Service".into()], objects: 60 },
    }
}

fn services() -> ServicesReply {
    let backend = api::Backend { address: "10.1.0.2".into(), port: 8080, node: "w1".into() };
    let set = |name: &str, when_empty: &str, backends| api::SetView {
        name: name.into(),
        why: "ready endpoints".into(),
        when_empty: when_empty.into(),
        backends,
    };
    let frontend = |kind| api::Frontend {
        address: "10.96.0.9".into(),
        port: 80,
        kind,
        set: "cluster".into(),
        not_served: String::new(),
    };
    let kinds = [
        FrontendKind::ClusterIp,
        FrontendKind::NodePort,
        FrontendKind::LoadBalancer,
        FrontendKind::ExternalIp,
    ];
    let port = api::PortReply {
        name: "http".into(),
        protocol: "TCP".into(),
        family: "IPv4".into(),
        frontends: kinds.map(frontend).into(),
        ready: 1,
        serving: 1,
        terminating: 0,
        sets: vec![set("cluster", "", vec![backend]), set("local", "leave", Vec::new())],
        kernel: Some(api::KernelView {
            index: 3,
            sets: vec!["cluster base=0 count=1 epoch=1".into()],
            agrees: true,
        }),
        counters: api::ServiceCounts { translated: 1, refused: 2, no_local: 3, untranslated: 4 },
    };
    let service = api::ServiceReply {
        service: "shop/cart".into(),
        service_type: "LoadBalancer".into(),
        not_routed: String::new(),
        affinity_seconds: Some(10800),
        ports: vec![port],
    };
    ServicesReply { api_version: API_VERSION.into(), services: vec![service] }
}

struct Daemon {
    status: StatusReply,
}

impl Answers for Daemon {
    fn status(&self) -> StatusReply {
        self.status.clone()
    }
    fn services(&self, name: Option<&str>) -> ServicesReply {
        let mut reply = services();
        reply.services.retain(|service| name.is_none_or(|name| service.service == name));
        reply
    }
    fn health(&self) -> HealthSnapshot {
        HealthTracker::default().snapshot(1)
    }
    fn gather(&self) {}
}

/// A daemon that answers `status`, and its run directory.
fn daemon(status: StatusReply) -> (Admin, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let socket = control_socket(dir.path());
    let config = AdminConfig { healthz: None, metrics: None, socket: socket.clone() };
    let metrics = Arc::new(Metrics::new().unwrap());
    let admin = Admin::start(&config, Arc::new(Daemon { status }), metrics).unwrap();
    let began = Instant::now();
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "no control socket");
        std::thread::sleep(Duration::from_millis(5));
    }
    (admin, dir)
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
    let (_admin, dir) = daemon(status());
    let json = towpath(&["status", "-o", "json"], dir.path());
    assert_eq!(json.status.code(), Some(1), "a problem was found");
    check("status.json", text(&json.stdout));
    check("status.txt", text(&towpath(&["status"], dir.path()).stdout));
}

#[test]
fn a_well_daemon_is_code_0() {
    let well = StatusReply { problems: Vec::new(), brake: api::Brake::default(), ..status() };
    let (_admin, dir) = daemon(well);
    let shown = towpath(&["status"], dir.path());
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stdout));
    assert!(text(&shown.stdout).ends_with("\nNo problems.\n"));
}

#[test]
fn services_json_and_tables() {
    let (_admin, dir) = daemon(status());
    let json = towpath(&["services", "-o", "json"], dir.path());
    assert_eq!(json.status.code(), Some(0), "{}", text(&json.stderr));
    check("services.json", text(&json.stdout));
    check("services.txt", text(&towpath(&["services"], dir.path()).stdout));
    check("service.txt", text(&towpath(&["services", "shop/cart"], dir.path()).stdout));
    let unknown = towpath(&["services", "shop/none"], dir.path());
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).starts_with("error: the daemon knows no Service shop/none\n"));
    let vague = towpath(&["services", "cart"], dir.path());
    assert_eq!(vague.status.code(), Some(2));
    assert!(text(&vague.stderr).contains("write it as NAMESPACE/NAME"), "{}", text(&vague.stderr));
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
    for command in ["run", "status", "services", "cleanup", "version"] {
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
    let expected = serde_json::json!({"apiVersion": API_VERSION, "dryRun": true, "removed": []});
    assert_eq!(reply, expected);
}
