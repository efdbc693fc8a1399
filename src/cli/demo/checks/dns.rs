//! DNS: from pods of both nodes and from a node itself, both families of server, UDP and TCP; then
//! each kind of name.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::json;
use towpath_testbed::probe::{Agent, Ask, Resolved};

use super::{
    super::scene::{DNS, EXTERNAL_NAME, EXTERNAL_NAME_IP, Scene, WEB, ip, service},
    Area, Check, Checked,
};

/// Who asks.
#[derive(Clone, Copy)]
enum From {
    /// The client pod of a node.
    Pod(usize),
    /// The first node itself.
    Host,
}

/// A question: name, type of record, what must be answered.
#[derive(Clone)]
struct Question {
    name: String,
    record: &'static str,
    code: &'static str,
    answers: Vec<String>,
}

impl Question {
    fn new(name: &str, record: &'static str, answers: &[&str]) -> Self {
        let answers = answers.iter().map(|&answer| answer.to_owned()).collect();
        Self { name: name.to_owned(), record, code: "NOERROR", answers }
    }
}

fn traffic(
    name: impl Into<String>,
    run: impl Fn(&mut Scene) -> Result<Checked> + 'static,
) -> Check {
    Check::traffic(Area::Dns, name, run)
}

pub(super) fn checks(scene: &Scene) -> Vec<Check> {
    let mut checks = Vec::new();
    let froms = [
        (From::Pod(0), "pod of node 1"),
        (From::Pod(1), "pod of node 2"),
        (From::Host, "node 1 itself"),
    ];
    for (from, from_name) in froms {
        for (v6, family) in [(0, "IPv4"), (1, "IPv6")] {
            for (tcp, transport) in [(false, "udp"), (true, "tcp")] {
                let name =
                    format!("{from_name}, {family}, {transport}: a Service has its clusterIPs");
                let both = [("A", WEB[0]), ("AAAA", WEB[1])];
                let questions = both.map(|(record, ip)| {
                    Question::new("web.default.svc.cluster.local.", record, &[ip])
                });
                checks.push(traffic(name, move |s| all(s, from, v6, tcp, &questions)));
            }
        }
    }
    let endpoint = &*scene.cluster.pod(1, 0).v4().to_string();
    let target = "0 100 8080 db-0.db.default.svc.cluster.local.";
    let pairs = [
        (
            "an endpoint of a headless Service has its address",
            "db-0.db.default.svc.cluster.local.",
            "A",
            endpoint,
        ),
        (
            "a headless Service has its endpoints' addresses",
            "db.default.svc.cluster.local.",
            "A",
            endpoint,
        ),
        (
            "SRV leads to port and endpoint",
            "_http._tcp.db.default.svc.cluster.local.",
            "SRV",
            target,
        ),
        (
            "a clusterIP has its Service's name",
            "10.0.96.10.in-addr.arpa.",
            "PTR",
            "web.default.svc.cluster.local.",
        ),
    ];
    for (check, name, record, answer) in pairs {
        let question = Question::new(name, record, &[answer]);
        checks.push(both_transports(check, question));
    }
    let absent =
        Question { code: "NXDOMAIN", ..Question::new("no.default.svc.cluster.local.", "A", &[]) };
    checks.push(both_transports("what is not there does not exist", absent));
    let other = Question::new(EXTERNAL_NAME, "A", &[EXTERNAL_NAME_IP]);
    checks.push(both_transports("a name outside the cluster comes from an upstream", other));
    let absent = Question { code: "NXDOMAIN", ..Question::new("no.external.test.", "A", &[]) };
    checks.push(both_transports("so does that there is no such name", absent));
    checks.push(traffic("a new Service has its name", follows));
    checks
}

/// One question from a pod, over UDP and over TCP.
fn both_transports(check: &str, question: Question) -> Check {
    traffic(check, move |scene| {
        let questions = [question.clone()];
        let mut last = Ok(String::new());
        for tcp in [false, true] {
            last = all(scene, From::Pod(0), 0, tcp, &questions)?;
            if last.is_err() {
                break;
            }
        }
        Ok(last)
    })
}

fn ask(
    scene: &mut Scene,
    from: From,
    v6: usize,
    tcp: bool,
    question: &Question,
) -> Result<Resolved> {
    let ask = Ask::Resolve {
        server: SocketAddr::new(ip(DNS[v6]), 53),
        name: question.name.clone(),
        record: question.record.to_owned(),
        tcp,
        timeout_ms: scene.patience_ms,
    };
    let agent: &mut Agent = match from {
        From::Pod(node) => &mut scene.pods[node],
        From::Host => &mut scene.hosts[0],
    };
    agent.ask_for(&ask)
}

/// Each question has its answer, at once or soon: a daemon that has just started may need a moment.
fn all(
    scene: &mut Scene,
    from: From,
    v6: usize,
    tcp: bool,
    questions: &[Question],
) -> Result<Checked> {
    let mut said = Vec::new();
    for question in questions {
        let began = Instant::now();
        loop {
            let found = ask(scene, from, v6, tcp, question)?;
            if found.code == question.code && found.answers == question.answers {
                said.push(format!("{} {}", found.code, found.answers.join(" ")));
                break;
            }
            if began.elapsed() > Duration::from_millis(2 * scene.patience_ms) {
                let what = format!("{} {}: {found:?}", question.name, question.record);
                return Ok(Err(what));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(Ok(said.join(", ").trim().to_owned()))
}

fn follows(scene: &mut Scene) -> Result<Checked> {
    const NEW: [&str; 2] = ["10.96.0.77", "fd00:96::77"];
    scene.api.put(service("new", NEW, json!({})))?;
    let began = Instant::now();
    let question = [Question::new("new.default.svc.cluster.local.", "A", &[NEW[0]])];
    let found = all(scene, From::Pod(0), 0, false, &question)?;
    Ok(found.map(|found| format!("{found} after {} ms", began.elapsed().as_millis())))
}
