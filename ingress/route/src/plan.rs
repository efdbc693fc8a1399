//! Keeps the snapshots true. What is compiled is proportional to the hosts and Services that changed; a
//! snapshot that differs is a copy of the pointers of the one before.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use towpath_model::{Changes, Code, ObjectName, Problem, View};

use crate::{
    BackendRef, Certificates, EndpointSets, EndpointTls, HostTable, Missing, Origin, Route,
    RouteTable, Settings, Slot, Target, Wish,
    build::{Build, taken},
    class::{Age, Classes, age},
    endpoints,
    read::Served,
    slots::Slots,
};

mod told;

/// Everything that is wanted, and what it was made of.
#[derive(Debug)]
pub struct RoutePlan {
    settings: Settings,
    classes: Classes,
    /// How TLS to endpoints is made, with the Ingresses that ask for it so.
    endpoint_tls: BTreeMap<Arc<EndpointTls>, BTreeSet<ObjectName>>,
    served: BTreeMap<ObjectName, Served>,
    /// The Ingresses that have a part in a host, the oldest first.
    by_host: BTreeMap<Box<str>, BTreeSet<Age>>,
    catch_alls: BTreeSet<Age>,
    /// What the table of each host uses.
    uses: BTreeMap<Box<str>, Vec<BackendRef>>,
    catch_all_uses: Vec<BackendRef>,
    conflicts: BTreeMap<Box<str>, Vec<Problem>>,
    catch_all_conflicts: Vec<Problem>,
    slots: Slots,
    /// Slots that no table names since the last update: a reader may still have the one before.
    leaving: Vec<Slot>,
    /// Slots that left with the update before: no reader has a table that names them.
    left: Vec<Slot>,
    missing: BTreeMap<BackendRef, Missing>,
    table: Arc<RouteTable>,
    sets: Arc<EndpointSets>,
    certificates: Arc<Certificates>,
}

/// What an update made different. To be brought into force in the order of the fields: a table names no
/// slot before its set is there.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// New endpoint sets.
    pub sets: Option<Arc<EndpointSets>>,
    /// New certificates.
    pub certificates: Option<Arc<Certificates>>,
    /// A new table.
    pub table: Option<Arc<RouteTable>>,
    /// It is different how TLS to endpoints is to be made, or for which Ingresses.
    pub endpoint_tls: bool,
    /// Ingresses that were read anew and are served.
    pub touched: BTreeSet<ObjectName>,
    /// Ingresses that are served no longer.
    pub gone: BTreeSet<ObjectName>,
}

impl RoutePlan {
    /// Nothing is served yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            classes: Classes::default(),
            endpoint_tls: BTreeMap::new(),
            served: BTreeMap::new(),
            by_host: BTreeMap::new(),
            catch_alls: BTreeSet::new(),
            uses: BTreeMap::new(),
            catch_all_uses: Vec::new(),
            conflicts: BTreeMap::new(),
            catch_all_conflicts: Vec::new(),
            slots: Slots::default(),
            leaving: Vec::new(),
            left: Vec::new(),
            missing: BTreeMap::new(),
            table: Arc::default(),
            sets: Arc::default(),
            certificates: Arc::default(),
        }
    }

    /// Brings the plan up to date. `changes`: since the last update; `None`: everything is new.
    pub fn update(&mut self, view: &View<'_>, changes: Option<&Changes>) -> Update {
        let mut update = Update::default();
        let dirty = self.read(view, changes, &mut update);
        let mut fresh = BTreeSet::new();
        // Copied at the first difference.
        let mut table = Arc::clone(&self.table);
        for host in &dirty.hosts {
            let compiled = self.compile_host(host, &mut fresh);
            if compiled.as_ref() != table.slot_of(host) {
                Arc::make_mut(&mut table).put(host, compiled);
            }
        }
        // The configured default is there before any Ingress is.
        if dirty.catch_all || changes.is_none() {
            let compiled = self.compile_catch_all(&mut fresh);
            if compiled != table.catch_all {
                Arc::make_mut(&mut table).catch_all = compiled;
            }
        }
        if !Arc::ptr_eq(&table, &self.table) {
            self.table = table;
            update.table = Some(Arc::clone(&self.table));
        }
        update.certificates = self.wishes(&dirty.hosts);
        update.sets = self.endpoints(view, changes, fresh);
        update
    }

    /// Reads what changed, and says what is to be compiled for it.
    fn read(&mut self, view: &View<'_>, changes: Option<&Changes>, update: &mut Update) -> Dirty {
        let mut dirty = Dirty::default();
        let classes = Classes::of(view, &self.settings);
        let all = changes.is_none() || classes != self.classes;
        self.classes = classes;
        let names: BTreeSet<ObjectName> = match changes {
            Some(changes) if !all => {
                changes.ingresses.iter().map(|change| change.name.clone()).collect()
            }
            _ => {
                let known = self.served.keys().cloned();
                known.chain(view.ingresses().map(|ingress| ingress.meta.name.clone())).collect()
            }
        };
        for name in names {
            let ingress = view.ingress(&name);
            let ingress = ingress.filter(|it| self.classes.serve(it, &self.settings));
            let was = self.served.remove(&name);
            if let Some(was) = &was {
                let age = age(&was.ingress);
                update.endpoint_tls |= self.asks_for_tls(was, false);
                dirty.catch_all |= self.catch_alls.remove(&age);
                for host in was.hosts() {
                    if let Some(ages) = self.by_host.get_mut(host) {
                        ages.remove(&age);
                    }
                    dirty.hosts.insert(host.into());
                }
            }
            let Some(ingress) = ingress else {
                update.gone.extend(was.map(|_| name));
                continue;
            };
            let served = Served::new(ingress, &self.settings);
            for host in served.hosts() {
                self.by_host.entry(host.into()).or_default().insert(age(ingress));
                dirty.hosts.insert(host.into());
            }
            if served.is_catch_all() {
                self.catch_alls.insert(age(ingress));
                dirty.catch_all = true;
            }
            update.endpoint_tls |= self.asks_for_tls(&served, true);
            self.served.insert(name.clone(), served);
            update.touched.insert(name);
        }
        dirty
    }

    /// Notes that an Ingress asks for its kind of TLS to endpoints, or does no more. Does it?
    fn asks_for_tls(&mut self, served: &Served, asks: bool) -> bool {
        let Some(tls) = &served.read.policy.tls else { return false };
        let asking = self.endpoint_tls.entry(Arc::clone(tls)).or_default();
        if asks {
            asking.insert(served.name().clone());
        } else {
            asking.remove(served.name());
        }
        if asking.is_empty() {
            self.endpoint_tls.remove(tls);
        }
        true
    }

    fn compile_host(
        &mut self,
        host: &str,
        fresh: &mut BTreeSet<BackendRef>,
    ) -> Option<Arc<HostTable>> {
        let ages = self.by_host.get(host).filter(|ages| !ages.is_empty()).cloned();
        let mut build = Build::new(&mut self.slots);
        let mut table = HostTable::default();
        let mut has_rule = false;
        for (_, name) in ages.iter().flatten() {
            let Some(served) = self.served.get(name) else { continue };
            let mut rules = served.rules_of(host).peekable();
            has_rule |= rules.peek().is_some();
            let default = served.default_backend().filter(|_| rules.peek().is_some());
            for path in rules.flat_map(|rule| &rule.paths) {
                build.add(&mut table, served, host, path);
            }
            if let Some(backend) = default.filter(|_| table.default.is_none()) {
                table.default = Some(build.route(served, host, "".into(), backend));
            }
        }
        let Build { uses, conflicts, .. } = build;
        let had = match ages {
            Some(_) => {
                fresh.extend(uses.iter().cloned());
                self.conflicts.insert(host.into(), conflicts);
                self.uses.insert(host.into(), uses)
            }
            None => {
                self.by_host.remove(host);
                self.conflicts.remove(host);
                self.uses.remove(host)
            }
        };
        self.release(had.into_iter().flatten());
        // A host that a rule names is that host's, also without a path: no other rule serves it.
        has_rule.then(|| Arc::new(table))
    }

    fn compile_catch_all(&mut self, fresh: &mut BTreeSet<BackendRef>) -> Option<Route> {
        self.catch_all_conflicts.clear();
        let mut build = Build::new(&mut self.slots);
        let mut catch_all: Option<Route> = None;
        for (_, name) in &self.catch_alls {
            let Some(served) = self.served.get(name) else { continue };
            let Some(backend) = served.default_backend() else { continue };
            match &catch_all {
                None => catch_all = Some(build.route(served, "", "".into(), backend)),
                Some(older) => {
                    let why = taken(&older.origin);
                    let action = "give it rules with hosts";
                    let field = "spec.defaultBackend";
                    let problem = served.problem(Code::RouteTaken, field, &why, action);
                    self.catch_all_conflicts.push(problem);
                }
            }
        }
        if let (None, Some(backend)) = (&catch_all, &self.settings.default_backend) {
            let slot = build.slot(backend.clone());
            let origin = Origin { ingress: backend.service.clone(), path: "".into() };
            let policy = Arc::default();
            let target = Target::Service(slot);
            catch_all =
                Some(Route { origin, pattern: None, target, asked: None, policy, to_https: false });
        }
        let now = build.uses;
        fresh.extend(now.iter().cloned());
        let had = std::mem::replace(&mut self.catch_all_uses, now);
        self.release(had);
        catch_all
    }

    /// A table that is gone, or new, does not use these any more.
    fn release(&mut self, had: impl IntoIterator<Item = BackendRef>) {
        for backend in had {
            if let Some(slot) = self.slots.release(&backend) {
                self.leaving.push(slot);
                self.missing.remove(&backend);
            }
        }
    }

    /// The certificates of these hosts; answers them all when one is different.
    fn wishes(&mut self, hosts: &BTreeSet<Box<str>>) -> Option<Arc<Certificates>> {
        // Copied at the first difference.
        let mut now = Arc::clone(&self.certificates);
        for host in hosts {
            let mut won: Option<Wish> = None;
            for (_, name) in self.by_host.get(host).into_iter().flatten() {
                let Some(served) = self.served.get(name) else { continue };
                for (secret, at) in served.tls_of(host) {
                    match &won {
                        None => {
                            let ingress = name.clone();
                            won = Some(Wish { secret: secret.clone(), ingress });
                        }
                        Some(won) if won.secret != *secret => {
                            let why =
                                format!("Ingress {} has another Secret for {host}", won.ingress);
                            let action = "name the same Secret in both";
                            let field = format!("spec.tls[{at}].secretName");
                            let problem = served.problem(Code::RouteTaken, &field, &why, action);
                            self.conflicts.entry(host.clone()).or_default().push(problem);
                        }
                        Some(_) => {}
                    }
                }
            }
            match won {
                same if now.hosts.get(host) == same.as_ref() => None,
                Some(wish) => Arc::make_mut(&mut now).hosts.insert(host.clone(), wish),
                None => Arc::make_mut(&mut now).hosts.remove(host),
            };
        }
        if Arc::ptr_eq(&now, &self.certificates) {
            return None;
        }
        self.certificates = now;
        Some(Arc::clone(&self.certificates))
    }

    /// Compiles the sets of slots that are new and of Services that changed.
    fn endpoints(
        &mut self,
        view: &View<'_>,
        changes: Option<&Changes>,
        mut stale: BTreeSet<BackendRef>,
    ) -> Option<Arc<EndpointSets>> {
        match changes {
            // A node's zone decides which endpoints are near.
            Some(changes) if changes.nodes.is_empty() => {
                let services = changes.services.iter().map(|change| change.name.clone());
                let slices = changes.slices.iter();
                let owners = slices.flat_map(|change| [&change.old, &change.new]);
                let owners = owners.flatten().map(|slice| slice.service.clone());
                let names: BTreeSet<ObjectName> = services.chain(owners).collect();
                for name in &names {
                    stale.extend(self.slots.of(name).map(|(backend, _)| backend.clone()));
                }
            }
            _ => stale = self.slots.iter().map(|(backend, _)| backend.clone()).collect(),
        }
        let used: BTreeMap<BackendRef, Slot> = stale
            .into_iter()
            .filter_map(|backend| self.slots.get(&backend).map(|slot| (backend, slot)))
            .collect();
        let mut now = None;
        for (backend, slot) in used {
            let set = endpoints::compile(view, &backend);
            match set.missing {
                Some(missing) => self.missing.insert(backend, missing),
                None => self.missing.remove(&backend),
            };
            if self.sets.get(slot).map(|set| &**set) != Some(&set) {
                let now = now.get_or_insert_with(|| EndpointSets::clone(&self.sets));
                now.sets.insert(slot, Arc::new(set));
            }
        }
        for slot in std::mem::replace(&mut self.left, std::mem::take(&mut self.leaving)) {
            now.get_or_insert_with(|| EndpointSets::clone(&self.sets)).sets.remove(&slot);
        }
        self.sets = Arc::new(now?);
        Some(Arc::clone(&self.sets))
    }
}

/// What is to be compiled anew.
#[derive(Debug, Default)]
struct Dirty {
    hosts: BTreeSet<Box<str>>,
    catch_all: bool,
}
