//! Pod, in a form of which a hundred thousand can be kept.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use crate::{
    ObjectName, Problem,
    store::{Kept, Pool},
    wire::pod::PodPort,
};

/// A Pod. Some 140 bytes with its name: what many Pods have in common is kept once.
#[derive(Clone, Eq, Debug)]
pub struct Pod {
    /// Name.
    pub name: ObjectName,
    /// `metadata.resourceVersion`, 0 when it is no number.
    pub(crate) version: u64,
    /// What it has in common with the others that its workload made.
    pub template: Arc<PodTemplate>,
    /// `spec.nodeName`.
    pub node: Option<Arc<str>>,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
    flags: u8,
}

/// What the Pods of a workload have in common.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PodTemplate {
    /// Labels, sorted by their names.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// Container ports that have a name.
    pub ports: Box<[PodPort]>,
    /// What was wrong and could be read around.
    pub problems: Box<[Problem]>,
}

/// What is true or false of a Pod.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PodState {
    /// Condition Ready; absent: ready when it has an address.
    pub ready: bool,
    /// It has a deletion timestamp.
    pub terminating: bool,
    /// Its phase is Succeeded or Failed: its addresses may be another's.
    pub finished: bool,
    /// It has the network of its node.
    pub host_network: bool,
}

impl Pod {
    pub(crate) fn new(
        (name, version): (ObjectName, u64),
        template: PodTemplate,
        node: Option<Arc<str>>,
        ips: &[IpAddr],
        state: PodState,
    ) -> Self {
        let v4 = ips.iter().find_map(|ip| match ip {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        });
        let v6 = ips.iter().find_map(|ip| match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(*v6),
        });
        let PodState { ready, terminating, finished, host_network } = state;
        let flags = [ready, terminating, finished, host_network];
        let flags = flags.iter().rev().fold(0, |all, flag| all << 1 | u8::from(*flag));
        Self { name, version, template: Arc::new(template), node, v4, v6, flags }
    }

    /// Its addresses, one of each family at most.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    /// What is true of it.
    #[must_use]
    pub const fn state(&self) -> PodState {
        PodState {
            ready: self.flags & 1 != 0,
            terminating: self.flags & 2 != 0,
            finished: self.flags & 4 != 0,
            host_network: self.flags & 8 != 0,
        }
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        let labels = &self.template.labels;
        let at = labels.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        labels.get(at).map(|(_, value)| &**value)
    }
}

/// Equal when everything but the version is, as [`crate::Meta`] is.
impl PartialEq for Pod {
    fn eq(&self, other: &Self) -> bool {
        let Self { name, version: _, template, node, v4, v6, flags } = self;
        (name, v4, v6, flags) == (&other.name, &other.v4, &other.v6, &other.flags)
            && (template, node) == (&other.template, &other.node)
    }
}

impl Kept for Pod {
    fn name(&self) -> &ObjectName {
        &self.name
    }

    fn version(&self) -> Option<u64> {
        (self.version != 0).then_some(self.version)
    }

    fn problems(&self) -> &[Problem] {
        &self.template.problems
    }

    fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    fn share(this: &mut Arc<Self>, pool: &mut Pool) {
        let pod = Arc::make_mut(this);
        pool.text(&mut pod.name.namespace);
        pod.node.iter_mut().for_each(|node| pool.text(node));
        pool.template(&mut pod.template);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Kind, Object, Store, decode};

    fn pod(number: usize) -> Event {
        let json = format!(
            r#"{{"metadata":{{"name":"cart-7d9f8b6c5d-x2x{number:02}","namespace":"shop","uid":"{number}",
                "resourceVersion":"{number}","labels":{{"app":"cart","pod-template-hash":"7d9f8b6c5d"}}}},
                "spec":{{"nodeName":"node-{}","containers":[{{"ports":[{{"name":"http","containerPort":80}}]}}]}},
                "status":{{"podIPs":[{{"ip":"10.244.0.{number}"}},{{"ip":"fd00::{number}"}}]}}}}"#,
            number % 3
        );
        Event::Apply(decode(Kind::Pod, json.as_bytes()).unwrap())
    }

    /// What an `Arc` costs besides what it holds.
    const ARC: usize = 16;

    #[test]
    fn a_pod_is_kept_in_some_140_bytes() {
        let mut store = Store::new("n");
        (1..=30).for_each(|number| drop(store.feed(pod(number))));
        let view = store.view();
        let all: Vec<&Arc<Pod>> = view.pods().collect();
        let one = all[0];
        let bytes = ARC + size_of::<Pod>() + ARC + one.name.name.len();
        assert!(one.name.name.len() == 21 && bytes <= 141, "{bytes}");
        for other in &all {
            assert!(Arc::ptr_eq(&one.template, &other.template), "labels and ports are kept once");
            assert!(Arc::ptr_eq(&one.name.namespace, &other.name.namespace), "namespaces too");
        }
        let nodes: std::collections::BTreeSet<_> =
            all.iter().map(|pod| Arc::as_ptr(pod.node.as_ref().unwrap()).addr()).collect();
        assert_eq!(nodes.len(), 3, "and nodes");
    }

    #[test]
    fn what_was_shared_goes_with_the_last_that_had_it() {
        let mut store = Store::new("n");
        (1..=300).for_each(|number| {
            let Event::Apply(Object::Pod(mut object)) = pod(1) else { panic!() };
            let labels = Box::new([("number".into(), number.to_string().into())]);
            Arc::make_mut(&mut Arc::make_mut(&mut object).template).labels = labels;
            store.feed(Event::Apply(Object::Pod(object)));
            store.commit();
        });
        assert_eq!(store.view().pods().len(), 1);
        assert!(store.tables.pods.shared() <= 128, "{}", store.tables.pods.shared());
    }
}
