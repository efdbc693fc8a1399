//! One kind: list, then watch, for ever.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::{sync::Notify, time};
use towpath_model::{Event, Kind, wire::decode_list};

use super::{
    KubeSettings,
    address::Api,
    backoff::Backoff,
    lines::{Lines, Said, TooLong, event_of_bad, read},
};
use crate::source::{Feed, KindHealth, LoopEnded};

/// A list page of an old server, whole: far above what 500 objects take.
const PAGE_BYTES_MAX: usize = 256 << 20;
const PAGE_OBJECTS: u32 = 500;
/// A stream that lived this long was a success: the next failure waits little again.
const HEALTHY: Duration = Duration::from_secs(120);

/// The loop of one kind.
pub(super) struct Watch {
    kind: Kind,
    api: Arc<Api>,
    feed: Feed,
    relist: Arc<Notify>,
    health: Arc<KindHealth>,
    settings: KubeSettings,
    backoff: Backoff,
    /// The server refuses streaming lists.
    no_streaming: bool,
    /// The list under way had an object without a name.
    nameless: bool,
    /// A list was complete before.
    listed: bool,
}

/// Where the loop stands.
enum Stand {
    /// Everything has to be listed; from a quorum when a list was doubted.
    List { quorum: bool },
    /// Listed; the watch goes on from here.
    Watch { version: String },
}

/// Why a list or a watch ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Loop(#[from] LoopEnded),
    #[error("the store asks for a new list")]
    Asked,
    #[error("the version is too old: {0}")]
    Gone(String),
    #[error("the server does not stream lists: {0}")]
    NoStreaming(String),
    #[error("nothing was heard for {0:?}")]
    Silence(Duration),
    #[error("the server answers {0}: {1}")]
    Status(StatusCode, String, Option<Duration>),
    #[error("{0}")]
    Broken(String),
    #[error("the server ended the stream")]
    End,
}

impl From<TooLong> for Ended {
    fn from(error: TooLong) -> Self {
        Self::Broken(error.to_string())
    }
}

impl Watch {
    pub(super) fn new(
        kind: Kind,
        api: Arc<Api>,
        feed: Feed,
        relist: Arc<Notify>,
        health: Arc<KindHealth>,
        settings: KubeSettings,
    ) -> Self {
        let backoff = Backoff::new(settings.patience.wait_min, settings.patience.wait_max);
        Self {
            kind,
            api,
            feed,
            relist,
            health,
            settings,
            backoff,
            no_streaming: false,
            nameless: false,
            listed: false,
        }
    }

    /// Runs until the control loop has ended.
    pub(super) async fn run(mut self) -> LoopEnded {
        let mut stand = Stand::List { quorum: false };
        loop {
            let Some((number, client)) = self.api.client() else { return LoopEnded };
            let began = Instant::now();
            let ended = self.turn(&client, &mut stand).await;
            self.health.connected.store(false, Ordering::Relaxed);
            if began.elapsed() > HEALTHY {
                self.backoff.reset();
            }
            let wait = match ended {
                Ended::Loop(ended) => return ended,
                Ended::Asked => {
                    stand = Stand::List { quorum: true };
                    continue;
                }
                Ended::Gone(why) => {
                    tracing::info!(kind = %self.kind, why, "listing again");
                    stand = Stand::List { quorum: false };
                    continue;
                }
                Ended::NoStreaming(why) => {
                    tracing::info!(kind = %self.kind, why, "falling back to paged lists");
                    self.no_streaming = true;
                    continue;
                }
                Ended::End => Duration::from_millis(10),
                Ended::Status(_, _, Some(after)) => after,
                Ended::Silence(_) | Ended::Status(..) | Ended::Broken(_) => self.backoff.wait(),
            };
            if !matches!(ended, Ended::End) {
                self.health.errors.fetch_add(1, Ordering::Relaxed);
                self.api.failed(number);
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(kind = %self.kind, wait_ms, reason = %ended, "the watch broke");
            }
            time::sleep(wait).await;
        }
    }

    /// One list, one watch, or both in one stream; answers why it ended.
    async fn turn(&mut self, client: &kube::Client, stand: &mut Stand) -> Ended {
        let result = match stand {
            Stand::List { .. } if self.no_streaming => self.paged_list(client, stand).await,
            Stand::List { .. } | Stand::Watch { .. } => self.stream(client, stand).await,
        };
        match result {
            Ok(()) => Ended::End,
            Err(ended) => ended,
        }
    }

    fn path(&self) -> &'static str {
        match self.kind {
            Kind::Service => "/api/v1/services",
            Kind::EndpointSlice => "/apis/discovery.k8s.io/v1/endpointslices",
            Kind::Node => "/api/v1/nodes",
        }
    }

    async fn get(&self, client: &kube::Client, query: &str) -> Result<http::Response<Body>, Ended> {
        let request = Request::get(format!("{}?{query}", self.path()))
            // A newer server leaves managedFields out when asked (KEP-5958); older ones ignore it.
            .header(
                header::ACCEPT,
                "application/json;drop=metadata.managedFields, application/json",
            )
            .body(Body::empty())
            .map_err(|error| Ended::Broken(error.to_string()))?;
        let silence = self.settings.patience.silence;
        let response = time::timeout(silence, client.send(request))
            .await
            .map_err(|_elapsed| Ended::Silence(silence))?
            .map_err(|error| Ended::Broken(super::address::causes(&error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(|seconds: u64| Duration::from_secs(seconds.min(60)));
        let body = http_body_util::Limited::new(response.into_body(), 64 << 10).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        let text: String = String::from_utf8_lossy(&body).chars().take(300).collect();
        Err(Ended::Status(status, text, after))
    }

    /// A streaming list that goes on as a watch, or a watch from a version.
    async fn stream(&mut self, client: &kube::Client, stand: &mut Stand) -> Result<(), Ended> {
        let patience = self.settings.patience;
        let seconds = patience.watch.mul_f64(1.0 + self.backoff.share()).as_secs().max(1);
        let mut query =
            format!("watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion=");
        let mut listing = false;
        match &*stand {
            Stand::Watch { version } => query.push_str(version),
            Stand::List { quorum } => {
                query.push_str(if *quorum { "" } else { "0" });
                query.push_str("&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
                listing = true;
            }
        }
        let response = match self.get(client, &query).await {
            Err(Ended::Status(StatusCode::GONE, why, _)) => return Err(Ended::Gone(why)),
            Err(Ended::Status(
                StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY,
                why,
                _,
            )) if listing => return Err(Ended::NoStreaming(why)),
            other => other?,
        };
        if listing {
            self.health.lists.fetch_add(1, Ordering::Relaxed);
            self.feed.send(vec![Event::Init(self.kind)]).await?;
        }
        self.heard();
        let mut body = response.into_body();
        let mut lines = Lines::default();
        loop {
            let frame = tokio::select! {
                frame = time::timeout(patience.silence, body.frame()) => {
                    frame.map_err(|_elapsed| Ended::Silence(patience.silence))?
                }
                () = self.relist.notified(), if !listing => return Err(Ended::Asked),
            };
            let Some(frame) = frame else {
                return if listing {
                    Err(Ended::Broken("the list was cut short".to_owned()))
                } else {
                    Ok(())
                };
            };
            let frame = frame.map_err(|error| Ended::Broken(error.to_string()))?;
            let Some(chunk) = frame.data_ref() else { continue };
            let mut said = Vec::new();
            lines.take(chunk, |line| said.push(read(self.kind, line)))?;
            self.heard();
            self.hand_over(said, stand, &mut listing).await?;
        }
    }

    /// Sends on what a chunk said.
    async fn hand_over(
        &mut self,
        said: Vec<Said>,
        stand: &mut Stand,
        listing: &mut bool,
    ) -> Result<(), Ended> {
        let mut events = Vec::with_capacity(said.len() + 1);
        let mut ended = None;
        for said in said {
            let version = match said {
                Said::Event(event, version) => {
                    if let Event::Apply(object) = &event {
                        self.api.notice(object);
                    }
                    if let Event::Bad(key, problem) = &event {
                        self.health.bad_objects.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(%key, %problem, "its last good version stays in force");
                    }
                    events.push(event);
                    version
                }
                Said::Nameless(problem, version) => {
                    self.health.bad_objects.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(kind = %self.kind, %problem, "an object without a name");
                    self.nameless |= *listing;
                    version
                }
                Said::Bookmark(version, end) => {
                    if end && *listing {
                        events.extend(self.end_of_list());
                        *listing = false;
                        *stand = Stand::Watch { version: version.clone() };
                    }
                    version
                }
                Said::Error(410, why) => {
                    ended = Some(Ended::Gone(why));
                    break;
                }
                Said::Error(code, why) => {
                    ended = Some(Ended::Broken(format!("error {code} in the stream: {why}")));
                    break;
                }
                Said::Garbage(why) => {
                    ended = Some(Ended::Broken(format!("not a line of a watch: {why}")));
                    break;
                }
            };
            if let Stand::Watch { version: at } = stand
                && !version.is_empty()
            {
                *at = version;
            }
        }
        if !events.is_empty() {
            self.feed.send(events).await?;
        }
        ended.map_or(Ok(()), Err)
    }

    /// Pages, for servers that do not stream lists.
    async fn paged_list(&mut self, client: &kube::Client, stand: &mut Stand) -> Result<(), Ended> {
        let quorum = matches!(stand, Stand::List { quorum: true });
        self.health.lists.fetch_add(1, Ordering::Relaxed);
        let mut token = String::new();
        let mut begun = false;
        loop {
            let mut query = format!("limit={PAGE_OBJECTS}");
            if !token.is_empty() {
                query.push_str("&continue=");
                query.push_str(&token);
            } else if !quorum {
                query.push_str("&resourceVersion=0");
            }
            let response = match self.get(client, &query).await {
                Err(Ended::Status(StatusCode::GONE, why, _)) => return Err(Ended::Gone(why)),
                other => other?,
            };
            let body = http_body_util::Limited::new(response.into_body(), PAGE_BYTES_MAX);
            let silence = self.settings.patience.silence;
            let body = time::timeout(silence, body.collect())
                .await
                .map_err(|_elapsed| Ended::Silence(silence))?
                .map_err(|error| Ended::Broken(error.to_string()))?;
            let mut events = Vec::new();
            if !begun {
                events.push(Event::Init(self.kind));
                begun = true;
            }
            let mut nameless = false;
            let meta = decode_list(self.kind, &body.to_bytes(), |item| match item {
                Ok(object) => {
                    self.api.notice(&object);
                    events.push(Event::Apply(object));
                }
                Err(bad) => {
                    self.health.bad_objects.fetch_add(1, Ordering::Relaxed);
                    match event_of_bad(bad) {
                        Ok(event) => events.push(event),
                        Err(problem) => {
                            tracing::warn!(%problem, "an object without a name");
                            nameless = true;
                        }
                    }
                }
            })
            .map_err(|problem| Ended::Broken(problem.to_string()))?;
            self.nameless |= nameless;
            token = meta.r#continue;
            if token.is_empty() {
                events.extend(self.end_of_list());
                self.feed.send(events).await?;
                *stand = Stand::Watch { version: meta.resource_version };
                self.heard();
                return Ok(());
            }
            self.feed.send(events).await?;
            self.heard();
        }
    }

    /// What ends a list. Nothing that was known may go because of a list with an object that could
    /// not even be named: it may be the very one. What is really gone goes with the next list.
    fn end_of_list(&mut self) -> Option<Event> {
        let doubtful = std::mem::take(&mut self.nameless) && self.listed;
        self.listed = true;
        (!doubtful).then_some(Event::InitDone(self.kind))
    }

    fn heard(&self) {
        self.health.heard(self.settings.clock.now_ms());
    }
}
