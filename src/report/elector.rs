//! Keeps the Lease, or waits for it.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use serde_json::Value;
use tokio::{sync::watch, time};

use super::{
    Board, ReportMetrics,
    election::{Election, Step},
    lookup, right_missing,
};
use crate::{
    backoff::Backoff,
    clock::{Clock as _, SystemClock},
    source::{
        Health,
        kube::{CallError, Calls, escaped},
    },
};

/// Origin of its notes.
const NOTE: &str = "lease of Ingress statuses";
/// To let go of the Lease, at the end.
const RELEASE: Duration = Duration::from_secs(2);
/// While the API server is away it is asked for the Lease no more often than after this, in the end.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// One candidate, and the way to the Lease.
pub(super) struct Elector {
    pub(super) calls: Arc<Calls>,
    pub(super) lease: String,
    pub(super) election: Election,
    pub(super) retry: Duration,
    pub(super) board: Arc<Board>,
    pub(super) health: Health,
    pub(super) metrics: Arc<ReportMetrics>,
    pub(super) clock: SystemClock,
}

impl Elector {
    /// Takes the Lease when it is free and renews it, for ever; says in `leading` which of the two is.
    pub(super) async fn run(&mut self, leading: &watch::Sender<bool>) {
        let mut backoff = Backoff::new(self.retry, WAIT_MAX);
        loop {
            let outcome = self.attempt().await;
            let now = self.clock.now_ms();
            self.announce(leading, now);
            let nodes = self.board.lock().known_nodes().len();
            let mut wait = self.election.wait(now, nodes, backoff.share());
            match outcome {
                Ok(()) => {
                    self.health.note(NOTE, Vec::new());
                    backoff.reset();
                }
                Err(error) => {
                    let right = format!(
                        "create Leases in namespace {}, and to get and update {}",
                        self.calls.namespace(),
                        self.lease
                    );
                    if let Some(problem) = right_missing(&error, &right) {
                        self.health.note(NOTE, vec![problem]);
                    }
                    tracing::debug!(%error, lease = self.lease, "asking for the Lease");
                    // One that leads has until its deadline.
                    if !self.election.leads(now) {
                        wait = wait.max(backoff.wait()).max(error.retry_after());
                    }
                }
            }
            self.rest(wait, leading).await;
        }
    }

    /// Waits; the end of a term that could not be renewed is announced on time.
    async fn rest(&self, wait: Duration, leading: &watch::Sender<bool>) {
        let end = time::Instant::now() + wait;
        if !*leading.borrow() {
            return time::sleep_until(end).await;
        }
        while time::Instant::now() < end {
            let step = end.min(time::Instant::now() + self.retry / 4);
            time::sleep_until(step).await;
            self.announce(leading, self.clock.now_ms());
        }
    }

    fn announce(&self, leading: &watch::Sender<bool>, now: u64) {
        let leads = self.election.leads(now);
        let changed = leading.send_if_modified(|was| std::mem::replace(was, leads) != leads);
        if changed {
            let lease = &self.lease;
            tracing::info!(leads, lease, "who writes the status of Ingresses");
            self.metrics.leader(leads);
        }
    }

    fn path(&self) -> String {
        let namespace = escaped(self.calls.namespace());
        format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
    }

    async fn attempt(&mut self) -> Result<(), CallError> {
        let one = format!("{}/{}", self.path(), escaped(&self.lease));
        // One that leads knows the record: it is the one that writes it.
        if !self.election.leads(self.clock.now_ms()) {
            self.read(&one).await?;
        }
        let began = self.clock.now();
        let (method, path, object) = match self.election.step(&self.lease, began.ms(), began.wall) {
            None => return Ok(()),
            Some(Step::Create(object)) => (Method::POST, self.path(), object),
            Some(Step::Update(object)) => (Method::PUT, one.clone(), object),
        };
        match self.calls.send(method, &path, "application/json", object.to_string()).await {
            Ok(body) => {
                self.election.taken(readable(&body)?, began.ms());
                Ok(())
            }
            // Another one was faster, or this one's version is not the latest.
            Err(CallError::Refused(StatusCode::CONFLICT | StatusCode::NOT_FOUND, ..)) => {
                self.read(&one).await
            }
            Err(error) => Err(error),
        }
    }

    async fn read(&mut self, path: &str) -> Result<(), CallError> {
        let object = match self.calls.get(path).await {
            Ok(body) => Some(readable(&body)?),
            Err(CallError::Refused(StatusCode::NOT_FOUND, ..)) => None,
            Err(error) => return Err(error),
        };
        let now = self.clock.now();
        self.election.observe(object, now.ms(), now.wall);
        Ok(())
    }

    /// Lets go of the Lease, if it is held: the next leader need not wait for its end.
    pub(super) async fn release(&mut self, leading: &watch::Sender<bool>) {
        leading.send_replace(false);
        self.metrics.leader(false);
        let one = format!("{}/{}", self.path(), escaped(&self.lease));
        let releasing = async {
            loop {
                let wall = self.clock.now().wall;
                let Some(object) = self.election.released(wall) else { return Ok(()) };
                let body = object.to_string();
                match self.calls.send(Method::PUT, &one, "application/json", body).await {
                    Ok(_) => return Ok(()),
                    // A renewal was under way when it was told to stop.
                    Err(CallError::Refused(StatusCode::CONFLICT, ..)) => self.read(&one).await?,
                    Err(error) => return Err(error),
                }
            }
        };
        match time::timeout(RELEASE, releasing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(%error, "the Lease is not released: it runs out"),
            Err(_elapsed) => tracing::info!("the Lease is not released in time: it runs out"),
        }
    }
}

/// A Lease, as far as [`Election`] changes it in place.
fn readable(body: &[u8]) -> Result<Value, CallError> {
    let lease: Value = lookup::readable(body)?;
    let fits = lease.is_object() && (lease["spec"].is_null() || lease["spec"].is_object());
    fits.then_some(lease).ok_or_else(|| CallError::Unreached("the answer is no Lease".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_lease_is_an_error() {
        for body in ["[]", "\"ok\"", "1", "null", "", r#"{"spec":"x"}"#, r#"{"spec":[]}"#] {
            assert!(readable(body.as_bytes()).is_err(), "{body}");
        }
        for body in ["{}", r#"{"spec":null}"#, r#"{"spec":{"holderIdentity":5}}"#] {
            assert!(readable(body.as_bytes()).is_ok(), "{body}");
        }
    }
}
