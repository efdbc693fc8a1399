use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    run: RunArgs,
}

fn machine() -> Environment {
    Environment {
        node_name: None,
        host_name: "Worker-1.Example".to_owned(),
        in_cluster: true,
        mounts: "proc /proc proc rw 0 0\ncgroup2 /sys/fs/my\\040cgroup cgroup2 rw 0 0\n".to_owned(),
        own_cgroup_namespace: false,
    }
}

/// Flags and the text of a file, resolved on `environment`.
fn resolved(flags: &str, text: &str, environment: &Environment) -> Result<Config, Faults> {
    let words = ["towpath"].into_iter().chain(flags.split_whitespace());
    let mut args = Command::parse_from(words).run;
    args.config = Some(PathBuf::from("/etc/towpath.yaml"));
    let path = Path::new("/etc/towpath.yaml");
    let file = file::parse(path, text).map_err(|fault| Faults(vec![fault]))?;
    resolve(&args, &file, environment)
}

fn message(flags: &str, text: &str) -> String {
    resolved(flags, text, &machine())
        .map(|c| format!("{c:?}"))
        .map_err(|f| f.to_string())
        .unwrap_err()
}

#[test]
fn nothing_said_gives_the_defaults() {
    let config = resolved("", "", &machine()).unwrap();
    assert_eq!(config.node_name, "worker-1.example");
    assert_eq!(
        config.source,
        SourceConfig::Kube { access: Access::InCluster, api_servers: Vec::new() }
    );
    assert_eq!(config.kernel.cgroup_root, Path::new("/sys/fs/my cgroup"));
    assert_eq!(config.kernel.bpffs, Path::new("/sys/fs/bpf/towpath"));
    assert_eq!(config.kernel.capacities, towpath_image::Capacities::default());
    assert_eq!(config.run_dir, Path::new("/run/towpath"));
    assert_eq!(config.services.socket_lb, SocketLb::All);
    assert!(config.services.external_ips.is_empty());
    assert_eq!(config.admin.healthz, Some("0.0.0.0:10256".parse().unwrap()));
    assert_eq!(config.admin.metrics, Some("127.0.0.1:10249".parse().unwrap()));
    assert_eq!(config.admin.socket, Path::new("/run/towpath/control.sock"));
    assert_eq!(config.log, LogConfig::default());
}

const EVERYTHING: &str = "\
nodeName: w2
source:
  kubeconfig: /etc/kubernetes/towpath.conf
apiServers: [https://10.0.0.1:6443, 'https://[fd00::1]:6443']
cgroupRoot: /cg
bpffs: /sys/fs/bpf/other
runDir: /run/other
controlDir: /run/control
socketLB: hostOnly
externalIPs: [203.0.113.0/24, 2001:db8::1]
capacities: {frontends: 10, services: 11, backends: 12, nodeAddresses: 13}
healthzBindAddress: '[::]:1'
metricsBindAddress: off
log: {format: json, level: 'info,kube=debug'}
";

#[test]
fn the_file_sets_everything() {
    let config = resolved("", EVERYTHING, &machine()).unwrap();
    assert_eq!(config.node_name, "w2");
    let SourceConfig::Kube { access, api_servers } = config.source else { panic!("not kube") };
    assert_eq!(access, Access::Kubeconfig("/etc/kubernetes/towpath.conf".into()));
    assert_eq!(api_servers.len(), 2);
    assert_eq!(config.kernel.cgroup_root, Path::new("/cg"));
    let sizes = config.kernel.capacities;
    let sizes = (sizes.frontends, sizes.services, sizes.backends, sizes.node_addresses);
    assert_eq!(sizes, (10, 11, 12, 13));
    assert_eq!(config.admin.socket, Path::new("/run/control/control.sock"));
    assert_eq!(config.services.socket_lb, SocketLb::HostOnly);
    let blocks = &config.services.external_ips;
    assert!(blocks[0].contains("203.0.113.9".parse().unwrap()));
    assert!(blocks[1].contains("2001:db8::1".parse().unwrap()));
    assert!(!blocks[1].contains("2001:db8::2".parse().unwrap()));
    assert_eq!(config.admin.healthz, Some("[::]:1".parse::<SocketAddr>().unwrap()));
    assert_eq!(config.admin.metrics, None);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.level, "info,kube=debug");
}

#[test]
fn flags_win_over_the_file() {
    let flags = "--manifests /m --node-name flag --run-dir /r --socket-lb all \
                 --external-ips 192.0.2.0/24,198.51.100.0/24 --metrics-bind-address 0.0.0.0 \
                 --log-level debug --log-format text --cgroup-root /x --bpffs /y \
                 --healthz-bind-address off";
    let config = resolved(flags, EVERYTHING, &machine()).unwrap();
    let SourceConfig::Manifests { directory, cluster_ip_ranges } = config.source else {
        panic!("not manifests")
    };
    assert_eq!(directory, Path::new("/m"));
    assert_eq!(cluster_ip_ranges.len(), 2);
    assert_eq!(config.node_name, "flag");
    assert_eq!(config.run_dir, Path::new("/r"));
    assert_eq!(config.services.socket_lb, SocketLb::All);
    assert_eq!(config.services.external_ips.len(), 2);
    assert_eq!(config.admin.metrics, Some("0.0.0.0:10249".parse().unwrap()));
    assert_eq!(config.admin.healthz, None);
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.log.format, LogFormat::Text);
    assert_eq!((config.kernel.cgroup_root, config.kernel.bpffs), ("/x".into(), "/y".into()));
}

#[test]
fn the_variable_names_the_node_before_the_host_does() {
    let environment = Environment { node_name: Some(" W3 ".to_owned()), ..machine() };
    assert_eq!(resolved("", "", &environment).unwrap().node_name, "w3");
    assert_eq!(resolved("--node-name x", "", &environment).unwrap().node_name, "x");
}

#[test]
fn messages_say_what_where_why_and_what_next() {
    let rows: &[(&str, &str, &str)] = &[
        (
            "",
            "nodeName: a\nrundir: /x\n",
            "/etc/towpath.yaml:2: rundir: no such setting; did you mean \"runDir\"?",
        ),
        (
            "",
            "log:\n  colour: red\n",
            "/etc/towpath.yaml:2: colour: no such setting; known are format, level",
        ),
        (
            "",
            "runDir: /a\nrunDir: /b\n",
            "/etc/towpath.yaml:2: runDir: given twice; keep one of the two",
        ),
        (
            "",
            "externalIPs:\n- 10.0.0.0/8\n- 10.0.0/8\n- 1.2.3.4/33\n",
            "/etc/towpath.yaml:3: externalIPs: \"10.0.0/8\" is not a block of addresses; write it \
             as 192.0.2.0/24 or 2001:db8::/32\n\
             /etc/towpath.yaml:4: externalIPs: \"1.2.3.4/33\" is not a block of addresses; write \
             it as 192.0.2.0/24 or 2001:db8::/32",
        ),
        (
            "--socket-lb hostonly --log-format jsno --log-level trce",
            "",
            "--socket-lb: socketLB: \"hostonly\" is neither all nor hostOnly; did you mean \
             \"hostOnly\"?\n\
             --log-format: log.format: \"jsno\" is neither text nor json; did you mean \"json\"?\n\
             --log-level: log.level: \"trce\" is not a level; did you mean \"trace\"?",
        ),
        (
            "",
            "capacities:\n  services: 0\n",
            "/etc/towpath.yaml:2: capacities.services: 0 is not a capacity; give a number from 1 \
             to 16777216",
        ),
        (
            "--metrics-bind-address localhost:1",
            "",
            "--metrics-bind-address: metricsBindAddress: \"localhost:1\" is not an address to \
             listen on; write it as 127.0.0.1:10249, or \"off\"",
        ),
        (
            "--node-name a_b",
            "",
            "--node-name: nodeName: \"a_b\" is not the name of a Node; give --node-name, as \
             `kubectl get nodes` shows it",
        ),
        (
            "",
            "source:\n  kubeconfig: /a\n  manifests: /b\n",
            "/etc/towpath.yaml:3: source: both kubeconfig and manifests are given; keep one of \
             the two: there is one source of cluster state",
        ),
        (
            "--api-server 10.0.0.1:6443",
            "",
            "--api-server: apiServers: \"10.0.0.1:6443\" is not the URL of a server; write it as \
             https://ADDRESS:PORT",
        ),
        (
            "--manifests /m",
            "source:\n  clusterIPRanges: [10.0.0.0/30, 10.1.0.0/16, 10.2.0.0/16]\n",
            "/etc/towpath.yaml:2: source.clusterIPRanges: \"10.0.0.0/30\" holds fewer than 8 \
             addresses; give a larger block\n\
             /etc/towpath.yaml:2: source.clusterIPRanges: \"10.2.0.0/16\" is the second block of \
             its family; give one IPv4 and one IPv6 block at most",
        ),
    ];
    for (flags, text, expected) in rows {
        assert_eq!(message(flags, text), *expected, "{flags} {text}");
    }
}

#[test]
fn broken_yaml_names_the_line() {
    for text in ["\nrunDir: {a: 1}\n", "\ncapacities: {services: -1}\n", "\nlog: text\n"] {
        let said = message("", text);
        assert!(said.starts_with("/etc/towpath.yaml:2: "), "{said}");
        assert!(said.ends_with("; correct this line") && !said.contains('\n'), "{said}");
    }
    assert!(message("", "runDir: [a\n").starts_with("/etc/towpath.yaml:"));
}

#[test]
fn a_bare_machine_is_told_what_to_give() {
    let bare = Environment { host_name: "h".to_owned(), ..Environment::default() };
    let said = resolved("", "", &bare).unwrap_err().to_string();
    assert_eq!(
        said,
        "this machine: source: no source of cluster state is given, and this is not a pod with a \
         service account; give --kubeconfig FILE, or --manifests DIR to run without a cluster\n\
         this machine: cgroupRoot: no cgroup2 hierarchy is mounted (/proc/mounts); mount one \
         (mount -t cgroup2 none DIR), into the container too, or give --cgroup-root"
    );
}

#[test]
fn a_cgroup_root_that_is_only_the_containers_own_is_refused() {
    let inside = Environment { own_cgroup_namespace: true, ..machine() };
    let said = resolved("", "", &inside).unwrap_err().to_string();
    let wanted = "this machine: cgroupRoot: the cgroup2 hierarchy found at /sys/fs/my cgroup may be \
                  this container's own: the process is in a cgroup namespace of its own, and no pod's \
                  sockets would be routed; mount the host's hierarchy into the container (the chart \
                  does, at /host/cgroup) and give that directory as cgroupRoot";
    assert_eq!(said, wanted);
    // What is given is taken: a container may have the host's mounted.
    let config = resolved("--cgroup-root /host/cgroup", "", &inside).unwrap();
    assert_eq!(config.kernel.cgroup_root, Path::new("/host/cgroup"));
}

#[test]
fn a_missing_file_is_named() {
    let args = RunArgs { config: Some("/nonexistent/t.yaml".into()), ..RunArgs::default() };
    let said = Config::load(&args, &machine()).unwrap_err().to_string();
    assert_eq!(
        said,
        "/nonexistent/t.yaml: configuration file: can not be read: No such file or directory (os \
         error 2); check the path given to --config"
    );
}

/// The page for users names every flag, every key and every default that there is.
#[test]
fn the_reference_is_complete() {
    let page = include_str!("../../docs/configuration.md");
    for flag in <Command as clap::CommandFactory>::command().get_arguments() {
        let flag = format!("`--{}`", flag.get_long().unwrap());
        assert!(
            page.contains(flag.trim_end_matches('`')),
            "{flag} is not in docs/configuration.md"
        );
    }
    // The parser's own list of keys, as a mistake spells it out.
    let sections = ["source", "capacities", "log", "features", "dns", "ingress"];
    for section in [""].into_iter().chain(sections) {
        let prefix = if section.is_empty() { String::new() } else { format!("{section}.") };
        let text = if section.is_empty() {
            "zzzzzz: 1".to_owned()
        } else {
            format!("{section}: {{zzzzzz: 1}}")
        };
        let message = message("", &text);
        let (_, keys) = message.split_once("known are ").unwrap();
        for key in keys.split([',', ' ', '\n']).filter(|key| !key.is_empty() && *key != "or") {
            if !sections.contains(&key) {
                let row = format!("| `{prefix}{key}` |");
                assert!(page.contains(&row), "{row} is not in docs/configuration.md");
            }
        }
    }
    let sizes = towpath_image::Capacities::default();
    for size in [sizes.frontends, sizes.services, sizes.backends, sizes.node_addresses] {
        assert!(page.contains(&format!("| {size} |")), "{size}");
    }
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    assert_eq!(resolved("", example, &machine()).unwrap().node_name, "worker-1");
}
