//! Writes what is due, while this daemon leads.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::{Method, StatusCode};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use towpath_model::{
    Code, Ingress, Key, Kind, Object, ObjectName, Problem, decode, ingress::Published,
};

use super::{
    Board, Pace, ReportMetrics,
    lookup::{addresses_of_service, nodes_of_pods},
    ms,
    reporter::Publish,
    rest::Rests,
    right_missing,
    seen::Due,
    serving::{Adopted, Families, Serving},
};
use crate::{
    backoff::Backoff,
    clock::{Millis, SystemClock},
    source::{
        Health,
        kube::{CallError, Calls, object_path},
    },
};

/// Origins of its notes.
const NOTE: &str = "status of Ingresses";
const NOTE_SOURCE: &str = "addresses of Ingresses";
/// Between two looks at what is due.
const BATCH: usize = 64;
/// Who owns the field, in `metadata.managedFields`.
const MANAGER: &str = "towpath";
/// A watch that says nothing for so long is looked at all the same.
const IDLE: Duration = Duration::from_secs(600);

/// What writes.
pub(super) struct Writer {
    pub(super) calls: Arc<Calls>,
    pub(super) publish: Publish,
    pub(super) families: Families,
    pub(super) pace: Pace,
    pub(super) board: Arc<Board>,
    pub(super) health: Health,
    pub(super) metrics: Arc<ReportMetrics>,
    pub(super) clock: SystemClock,
}

/// One term of leading.
struct Term {
    serving: Serving,
    /// Nodes with a ready pod, or the Service's addresses, once that was asked.
    pods: Option<BTreeSet<ObjectName>>,
    service: Option<Vec<Published>>,
    looks_at: Millis,
    adopted: Adopted,
    rests: Rests,
    /// The Ingress that was tried last.
    tried: Option<ObjectName>,
    backoff: Backoff,
}

impl Writer {
    /// Writes for ever, as often and as long as this daemon leads.
    pub(super) async fn run(&self, mut leads: watch::Receiver<bool>) {
        while leads.wait_for(|leads| *leads).await.is_ok() {
            let writing = leads.clone();
            tokio::select! {
                () = self.term(writing) => {}
                // What was begun is one request at most, and it names the version that it is meant for.
                () = ended(&mut leads) => {}
            }
            // They are the next leader's to say.
            self.health.note(NOTE, Vec::new());
            self.health.note(NOTE_SOURCE, Vec::new());
        }
        std::future::pending().await
    }

    async fn term(&self, leads: watch::Receiver<bool>) {
        let mut term = Term {
            serving: Serving::default(),
            pods: None,
            service: None,
            looks_at: 0,
            adopted: Adopted::default(),
            rests: Rests::default(),
            tried: None,
            backoff: Backoff::new(self.pace.retry, Duration::from_secs(30)),
        };
        loop {
            let now = self.clock.now_ms();
            if now >= term.looks_at {
                self.look(&mut term).await;
                term.looks_at = self.clock.now_ms() + ms(self.pace.look);
            }
            let now = self.clock.now_ms();
            let settled = self.adopt(&mut term, now);
            let wakes = [Some(term.looks_at), settled, term.rests.sweep(now)];
            let rests = |name: &ObjectName| term.rests.holds(name, now);
            let next = (term.tried.as_ref(), BATCH);
            let due = self.board.lock().due(term.adopted.addresses(), rests, next);
            if due.is_empty() {
                let next = wakes.into_iter().flatten().min().unwrap_or(Millis::MAX);
                let wait = Duration::from_millis(next.saturating_sub(self.clock.now_ms()));
                // Either is a reason to look again.
                let _looks = timeout(wait.min(IDLE), self.board.changed()).await;
            }
            for due in due {
                if !*leads.borrow() {
                    return;
                }
                term.tried = Some(due.name().clone());
                let Err(error) = self.write(&mut term, &due).await else {
                    sleep(self.pace.write).await;
                    continue;
                };
                // The others would fail like it.
                sleep(term.backoff.wait().max(error.retry_after())).await;
                break;
            }
        }
    }

    /// Asks for what no watch says. What was known stays when it cannot be had.
    async fn look(&self, term: &mut Term) {
        let outcome = match &self.publish {
            Publish::Nodes => Ok(()),
            Publish::Pods(selector) => {
                nodes_of_pods(&self.calls, selector).await.map(|nodes| term.pods = Some(nodes))
            }
            Publish::Service(name) => addresses_of_service(&self.calls, name)
                .await
                .map(|addresses| term.service = Some(addresses)),
        };
        let mut problem = None;
        if let Publish::Service(name) = &self.publish {
            let absent = matches!(outcome, Err(CallError::Refused(StatusCode::NOT_FOUND, ..)));
            let nowhere = outcome.is_ok() && term.service.as_ref().is_some_and(Vec::is_empty);
            problem = (absent || nowhere).then(|| nothing_to_publish(name, absent));
        }
        if let Err(error) = &outcome {
            let namespace = self.calls.namespace();
            let right = match &self.publish {
                Publish::Service(name) => format!("get the Service {name}"),
                _ => format!("list pods in namespace {namespace}"),
            };
            problem = problem.or_else(|| right_missing(error, &right));
            tracing::warn!(%error, "the addresses of Ingresses are not known anew");
        }
        self.health.note(NOTE_SOURCE, problem.into_iter().collect());
    }

    /// Takes up what is to be published now; answers when a set that waits will be.
    fn adopt(&self, term: &mut Term, now: Millis) -> Option<Millis> {
        let found = match &self.publish {
            Publish::Service(_) => term.service.clone()?,
            _ => {
                let seen = self.board.lock();
                let known = seen.known_nodes();
                let ready = || known.iter().filter(|(_, node)| node.ready);
                let all = match &self.publish {
                    Publish::Pods(_) => term.pods.clone()?,
                    _ => ready().map(|(name, _)| name.clone()).collect(),
                };
                let shown = if term.serving.has_begun() { BTreeSet::new() } else { seen.shown() };
                let times = (now, ms(self.pace.hold));
                term.serving.update(&all, known, (&shown, self.families), times);
                term.serving.addresses(known, self.families)
            }
        };
        term.adopted.offer(found, now, ms(self.pace.settle))
    }

    /// Writes one status, if it is still to be written. An error is one that others would meet, too.
    async fn write(&self, term: &mut Term, due: &Due) -> Result<(), CallError> {
        let outcome = self.attempt(term.adopted.addresses(), due).await;
        term.rests.begin(due.name(), self.clock.now_ms());
        let error = match outcome {
            Ok(result) => {
                term.backoff.reset();
                self.health.note(NOTE, Vec::new());
                if let Some(result) = result {
                    if !due.publish {
                        self.board.lock().taken_back(due.name());
                    }
                    self.metrics.wrote(result);
                    tracing::debug!(ingress = %due.name(), result, "the status of an Ingress");
                }
                return Ok(());
            }
            Err(error) => error,
        };
        // The watch will say what became of the object; until then it rests.
        let alone = match &error {
            CallError::Refused(StatusCode::CONFLICT, ..) => Some("conflict"),
            CallError::Refused(StatusCode::NOT_FOUND, ..) => Some("gone"),
            CallError::Refused(StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY, ..) => {
                tracing::warn!(ingress = %due.name(), %error, "the status is refused");
                Some("refused")
            }
            _ => None,
        };
        if let Some(result) = alone {
            self.metrics.wrote(result);
            return Ok(());
        }
        let right = "get ingresses, and to patch ingresses/status (networking.k8s.io)";
        match right_missing(&error, right) {
            Some(problem) => {
                self.metrics.wrote("refused");
                self.health.note(NOTE, vec![problem]);
            }
            None => self.metrics.wrote("failed"),
        }
        tracing::warn!(ingress = %due.name(), %error, "the status of Ingresses is not written");
        Err(error)
    }

    /// Looks, and writes what differs: for the version that was seen and no other. `None`: nothing was to
    /// be written.
    async fn attempt(
        &self,
        addresses: &[Published],
        due: &Due,
    ) -> Result<Option<&'static str>, CallError> {
        let path = object_path(Kind::Ingress, due.name());
        let fresh = ingress(&self.calls.get(&path).await?)?;
        let wanted = due.wanted(addresses);
        if !due.is_of(&fresh) || *fresh.published == *wanted {
            return Ok(None);
        }
        let entries: Vec<_> = wanted.iter().map(entry).collect();
        // A list is replaced as a whole; null takes it away (RFC 7386).
        let entries = if entries.is_empty() { json!(null) } else { json!(entries) };
        let patch = json!({
            "metadata": { "resourceVersion": &*fresh.meta.resource_version },
            "status": { "loadBalancer": { "ingress": entries } },
        });
        let path = format!("{path}/status?fieldManager={MANAGER}");
        let merge = "application/merge-patch+json";
        self.calls.send(Method::PATCH, &path, merge, patch.to_string()).await?;
        Ok(Some(if due.publish { "published" } else { "taken_back" }))
    }
}

async fn ended(leads: &mut watch::Receiver<bool>) {
    // An error is the end of what elects: the same.
    let _over = leads.wait_for(|leads| !*leads).await.is_ok();
}

fn ingress(body: &[u8]) -> Result<Arc<Ingress>, CallError> {
    match decode(Kind::Ingress, body) {
        Ok(Object::Ingress(ingress)) => Ok(ingress),
        _ => Err(CallError::Unreached("the answer is no Ingress".to_owned())),
    }
}

fn entry(published: &Published) -> serde_json::Value {
    let Published { hostname, ip } = published;
    if ip.is_empty() { json!({ "hostname": hostname }) } else { json!({ "ip": ip }) }
}

fn nothing_to_publish(name: &ObjectName, absent: bool) -> Problem {
    let key = Key { kind: Kind::Service, name: name.clone() };
    let state = if absent { "does not exist" } else { "has no address" };
    let why = format!("it {state}; the statuses of Ingresses stay as they are");
    let action = "give it an address, or name another Service in ingress.publishService";
    Problem::new(Code::NothingToPublish, Some(key), "", &why, action)
}
