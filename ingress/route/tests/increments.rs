//! Any sequence of changes leads to what a plan from scratch has, and both to what the specification
//! says, read word by word.

mod cluster;

use std::collections::BTreeMap;

use cluster::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use towpath_model::Kind;
use towpath_route::{RoutePlan, Settings};

const NAMES: [&str; 4] = ["i0", "i1", "i2", "i3"];
const SERVICES: [&str; 3] = ["a", "b", "c"];
const HOSTS: [&str; 4] = ["h.example", "*.h.example", "x.h.example", ""];
const ASKED_HOSTS: [&str; 5] =
    ["h.example", "x.h.example", "y.h.example", "z.y.h.example", "o.example"];
const PATHS: [&str; 8] = ["/", "", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/a/b/c"];
const ASKED_PATHS: [&str; 8] = ["/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/a/b/c/d", "/q"];

/// One rule: host, exact, path, Service.
type Rule = (usize, bool, usize, usize);

#[derive(Clone, Debug)]
struct Written {
    created: u8,
    class: &'static str,
    rules: Vec<Rule>,
    default: Option<usize>,
}

#[derive(Clone, Debug)]
enum Op {
    Ingress(usize, Option<Written>),
    Class(bool),
    Service(usize, bool),
    Slice(usize, u8),
}

fn op() -> impl Strategy<Value = Op> {
    let rule = (0..HOSTS.len(), any::<bool>(), 0..PATHS.len(), 0..SERVICES.len());
    let class = prop_oneof![4 => Just("ours"), 1 => Just("theirs"), 2 => Just("wavers")];
    let written = (0..3u8, class, prop::collection::vec(rule, 0..5), prop::option::of(0..3usize));
    let written = written.prop_map(|(created, class, rules, default)| Written {
        created,
        class,
        rules,
        default,
    });
    prop_oneof![
        6 => (0..NAMES.len(), prop::option::weighted(0.8, written)).prop_map(|(at, to)| Op::Ingress(at, to)),
        1 => any::<bool>().prop_map(Op::Class),
        1 => (0..SERVICES.len(), any::<bool>()).prop_map(|(at, there)| Op::Service(at, there)),
        2 => (0..SERVICES.len(), 0..3u8).prop_map(|(at, last)| Op::Slice(at, last)),
    ]
}

fn object(name: &str, written: &Written) -> Value {
    let rules: Vec<_> = written
        .rules
        .iter()
        .map(|(host, exact, path, service)| {
            let kind = if *exact { "Exact" } else { "Prefix" };
            (HOSTS[*host], kind, PATHS[*path], SERVICES[*service])
        })
        .collect();
    let mut object = ingress(name, &rules);
    object["metadata"]["creationTimestamp"] = json!(format!("202{}", written.created));
    object["spec"]["ingressClassName"] = json!(written.class);
    if written.created > 0 {
        let name = "nginx.ingress.kubernetes.io/proxy-ssl-name";
        object["metadata"]["annotations"] = json!({ name: format!("n{}", written.created) });
    }
    if let Some(service) = written.default {
        object["spec"]["defaultBackend"] = backend(SERVICES[service]);
    }
    object
}

/// What the specification says: no table, no order of looking, every rule tried.
fn naive(known: &BTreeMap<usize, Written>, wavers: bool, host: &str, path: &str) -> String {
    let served =
        |written: &Written| written.class == "ours" || (written.class == "wavers" && wavers);
    let mut all: Vec<(u8, usize, &Written)> = known
        .iter()
        .filter(|(_, written)| served(written))
        .map(|(at, written)| (written.created, *at, written))
        .collect();
    all.sort_by_key(|(created, at, _)| (*created, *at));
    let wildcard = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
    let order = [Some(host.to_owned()), wildcard, Some(String::new())];
    let named = |of: &str| {
        all.iter().any(|(_, _, written)| written.rules.iter().any(|rule| HOSTS[rule.0] == of))
    };
    let catch_all =
        all.iter().find(|(_, _, written)| written.rules.is_empty() && written.default.is_some());
    let catch_all = catch_all.and_then(|(_, _, written)| written.default);
    let of_host = order.iter().flatten().find(|of| named(of)).and_then(|of| {
        let elements = |text: &str| -> Vec<String> {
            text.split('/').filter(|element| !element.is_empty()).map(str::to_owned).collect()
        };
        let rules = all.iter().flat_map(|(_, _, written)| &written.rules);
        let mut best: Option<(usize, bool, usize)> = None;
        for (_, exact, written, service) in rules.filter(|rule| HOSTS[rule.0] == of) {
            let written = if PATHS[*written].is_empty() { "/" } else { PATHS[*written] };
            let matches = match exact {
                true => written == path,
                false => elements(path).starts_with(&elements(written)),
            };
            // The longest path, then Exact; among equals the first, which is the oldest.
            let rank = (if *exact { usize::MAX } else { elements(written).len() }, *exact);
            if matches && best.is_none_or(|best| rank > (best.0, best.1)) {
                best = Some((rank.0, rank.1, *service));
            }
        }
        best.map(|best| best.2).or_else(|| {
            let has = |written: &Written| written.rules.iter().any(|rule| HOSTS[rule.0] == of);
            all.iter()
                .filter(|(_, _, written)| has(written))
                .find_map(|(_, _, written)| written.default)
        })
    });
    of_host.or(catch_all).map_or_else(|| "404".to_owned(), |service| SERVICES[service].to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn increments_equal_a_plan_from_scratch(ops in prop::collection::vec(op(), 1..24)) {
        let mut cluster = Cluster::new(Settings::default());
        cluster.update();
        let mut known = BTreeMap::new();
        let mut wavers = false;
        for op in &ops {
            match op {
                Op::Ingress(at, Some(written)) => {
                    known.insert(*at, written.clone());
                    cluster.apply(Kind::Ingress, &object(NAMES[*at], written));
                }
                Op::Ingress(at, None) => {
                    known.remove(at);
                    cluster.delete(Kind::Ingress, NAMES[*at]);
                }
                Op::Class(ours) => {
                    wavers = *ours;
                    let controller = if *ours { "towpath.io/ingress" } else { "other/one" };
                    cluster.apply(Kind::IngressClass, &class("wavers", controller, "2020", false));
                }
                Op::Service(at, true) => cluster.apply(Kind::Service, &service(SERVICES[*at])),
                Op::Service(at, false) => cluster.delete(Kind::Service, SERVICES[*at]),
                Op::Slice(at, last) => {
                    let address = format!("10.0.0.{last}");
                    cluster.apply(Kind::EndpointSlice, &slice(SERVICES[*at], &[&address]));
                }
            }
            // A reader may have the table of before and the sets of now.
            let before = std::sync::Arc::clone(cluster.plan.table());
            cluster.update();
            for (_, table) in before.hosts() {
                for route in table.routes() {
                    if let towpath_route::Target::Service(slot) = route.target {
                        prop_assert!(cluster.plan.sets().get(slot).is_some());
                    }
                }
            }
            let mut scratch = RoutePlan::new(Settings::default());
            let (view, _) = cluster.store.commit();
            scratch.update(&view, None);
            let mut problems = [Vec::new(), Vec::new()];
            cluster.plan.problems(&mut problems[0]);
            scratch.problems(&mut problems[1]);
            problems.iter_mut().for_each(|list| list.sort());
            prop_assert_eq!(&problems[0], &problems[1]);
            prop_assert_eq!(cluster.plan.certificates(), scratch.certificates());
            prop_assert_eq!(cluster.plan.endpoint_tls(), scratch.endpoint_tls());
            for host in ASKED_HOSTS {
                for path in ASKED_PATHS {
                    let answer = cluster.ask(host, path);
                    prop_assert_eq!(&answer, &naive(&known, wavers, host, path), "{} {}", host, path);
                    let set = |plan: &RoutePlan| match plan.table().find(host, path) {
                        towpath_route::Found::Route(route) => match route.target {
                            towpath_route::Target::Service(slot) => plan.sets().get(slot).cloned(),
                            _ => None,
                        },
                        _ => None,
                    };
                    prop_assert_eq!(set(&cluster.plan), set(&scratch));
                }
            }
        }
    }
}
