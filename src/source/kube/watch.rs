//! One stream: list, then watch, for ever.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::StatusCode;
use tokio::time::{self, Instant};
use towpath_model::{Event, Object, Stream};

use super::{
    KubeSettings,
    address::Api,
    error::WatchError,
    refetch::Refetch,
    relist::{Generation, RelistRequest},
    request,
    versions::Versions,
};
use crate::{
    backoff::{Backoff, Next},
    source::{Feed, Health, LoopEnded, StreamHealth},
};

/// So many failures one after another are said in `status`.
const LASTING: u32 = 5;

/// A watch that ends within this time and says nothing was not ended because its time was over
/// (client-go's measure of a "very short watch").
const AT_ONCE: Duration = Duration::from_secs(1);

/// What the loops of all streams share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) api: Arc<Api>,
    pub(super) feed: Feed,
    pub(super) health: Health,
    pub(super) settings: KubeSettings,
    pub(super) versions: Arc<Versions>,
}

/// The loop of one stream.
pub(super) struct Watch {
    pub(super) stream: Stream,
    pub(super) api: Arc<Api>,
    pub(super) feed: Feed,
    pub(super) relist: Arc<RelistRequest>,
    pub(super) health: Arc<StreamHealth>,
    pub(super) settings: KubeSettings,
    pub(super) versions: Arc<Versions>,
    pub(super) backoff: Backoff,
    pub(super) refetch: Refetch,
    /// The server refuses streaming lists.
    pub(super) no_streaming: bool,
    /// A token of a paged list expired: the next one is asked for as a whole.
    pub(super) no_pages: bool,
    /// The list under way had an object without a name.
    pub(super) nameless: bool,
    notes: Health,
    /// The server does not have what other streams have heard: its past was replaced.
    replaced: bool,
    /// The requests that the last list that was asked for can fulfil.
    asked: Option<Generation>,
    /// Failures since something was heard.
    failures: u32,
    /// Watches in a row that were accepted, said nothing and ended at once.
    empty: u32,
    /// When this turn began, when its request was taken, and when something was heard in it.
    began: Instant,
    opened: Option<Instant>,
    heard: Option<Instant>,
    /// The server said something in it.
    said: bool,
}

/// Where the loop stands.
pub(super) enum Resume {
    /// Everything has to be listed.
    List,
    /// Listed; the watch goes on from here.
    Watch { version: String },
}

impl Watch {
    pub(super) fn new(stream: Stream, relist: Arc<RelistRequest>, shared: Shared) -> Self {
        let Shared { api, feed, health: notes, settings, versions } = shared;
        let patience = settings.patience;
        let refetch =
            Refetch::new(stream.kind, Arc::clone(&api), patience.look_again, patience.silence);
        Self {
            health: notes.of(&stream),
            stream,
            api,
            feed,
            relist,
            versions,
            backoff: Backoff::new(patience.wait_min, patience.wait_max),
            settings,
            refetch,
            no_streaming: false,
            no_pages: false,
            nameless: false,
            notes,
            replaced: false,
            asked: None,
            failures: 0,
            empty: 0,
            began: Instant::now(),
            opened: None,
            heard: None,
            said: false,
        }
    }

    /// Runs until the control loop has ended.
    pub(super) async fn run(mut self) -> LoopEnded {
        let mut resume = Resume::List;
        loop {
            let (number, client) = self.api.client();
            (self.began, self.opened) = (Instant::now(), None);
            (self.heard, self.said) = (None, false);
            let was_watch = matches!(resume, Resume::Watch { .. });
            let ended = match &resume {
                Resume::List if self.no_streaming => self.paged_list(&client, &mut resume).await,
                Resume::List | Resume::Watch { .. } => self.stream(&client, &mut resume).await,
            };
            self.health.connected.store(false, Ordering::Relaxed);
            let mut ended = ended.err().unwrap_or(WatchError::End);
            if was_watch {
                ended = self.end_of_watch(ended);
            }
            if ended.loses_the_version() {
                resume = Resume::List;
            }
            let wait = match ended {
                WatchError::Loop(ended) => return ended,
                WatchError::Asked => continue,
                WatchError::NoStreaming(why) => {
                    tracing::info!(stream = %self.stream, why, "falling back to paged lists");
                    self.no_streaming = true;
                    continue;
                }
                WatchError::End => self.after_end(),
                WatchError::Gone(why) => {
                    tracing::info!(stream = %self.stream, why, "listing again");
                    self.after_end_of_version()
                }
                WatchError::Status(StatusCode::NOT_FOUND, ..)
                    if self.stream.kind.row().optional =>
                {
                    match self.absent().await {
                        Ok(()) => continue,
                        Err(ended) => return ended,
                    }
                }
                failure => {
                    self.no_streaming |= matches!(failure, WatchError::Stalled(_));
                    let next =
                        if matches!(resume, Resume::List) { Next::List } else { Next::Watch };
                    self.after_failure(&failure, number, next).await
                }
            };
            if let Err(ended) = self.rest(wait).await {
                return ended;
            }
        }
    }

    /// An end is a failure when the watch that it ends was accepted a moment ago and said nothing.
    fn end_of_watch(&mut self, ended: WatchError) -> WatchError {
        let Some(opened) = self.opened else { return ended };
        if self.said || opened.elapsed() >= AT_ONCE {
            self.watch_lives();
            return ended;
        }
        let why = match &ended {
            WatchError::End | WatchError::Broken(_) => ended.to_string(),
            _ => return ended,
        };
        self.empty = self.empty.saturating_add(1);
        WatchError::Empty { times: self.empty, why }
    }

    /// A watch ended as watches do; a page of a list is the beginning of one.
    fn after_end(&mut self) -> Duration {
        let lived = self.heard.map_or(Duration::ZERO, |_| self.began.elapsed());
        self.backoff.after_end(lived, Next::Watch)
    }

    /// A version is too old. What lived is the list that it is from.
    fn after_end_of_version(&mut self) -> Duration {
        self.backoff.after_end(self.relist.since_listed(self.now_ms()), Next::List)
    }

    /// The server does not know the kind; it is asked again later, or as soon as that is doubted.
    async fn absent(&mut self) -> Result<(), LoopEnded> {
        self.send(vec![Event::Absent(self.stream.kind)]).await?;
        let asked = self.asked.take();
        self.delivered(asked);
        self.health.heard(self.now_ms());
        let wait = self.settings.patience.absent.mul_f64(1.0 + 0.5 * self.backoff.share());
        let relist = Arc::clone(&self.relist);
        tokio::select! {
            rested = self.rest(wait) => rested,
            () = relist.requested() => Ok(()),
        }
    }

    async fn after_failure(&mut self, ended: &WatchError, number: u64, next: Next) -> Duration {
        self.health.errors.fetch_add(1, Ordering::Relaxed);
        self.failures = self.failures.saturating_add(1);
        let lasting = self.failures.max(self.empty) >= LASTING;
        if let Some(problem) = ended.problem(&self.stream, lasting) {
            self.notes.note(self.stream.to_string(), vec![problem]);
        }
        self.replaced |= ended.is_of_another_past();
        let mut number = Some(number);
        if ended.blames_the_address() {
            number = number.and_then(|number| self.api.failed(number));
        }
        if let Some(number) = number.filter(|_| ended.asks_for_credentials()) {
            self.api.renew(number).await;
        }
        let lived = match (ended, self.heard) {
            // The silence at its end is no life.
            (WatchError::Silence(_), Some(heard)) => heard.duration_since(self.began),
            (_, Some(_)) => self.began.elapsed(),
            (_, None) => Duration::ZERO,
        };
        let mut wait = self.backoff.after_failure(lived, next);
        if let WatchError::Status(_, _, Some(after)) = ended {
            // Not before, and not with all the others who were told the same.
            wait = wait.max(after.mul_f64(1.0 + 0.5 * self.backoff.share()));
        }
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(stream = %self.stream, wait_ms, reason = %ended, "the watch broke");
        wait
    }

    /// Waits; bad objects are looked at all the while.
    async fn rest(&mut self, wait: Duration) -> Result<(), LoopEnded> {
        let end = time::sleep(wait);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return Ok(()),
                object = self.refetch.next() => self.refetched(object).await?,
            }
        }
    }

    /// An object can be understood again.
    pub(super) async fn refetched(&self, object: Object) -> Result<(), LoopEnded> {
        let events = vec![Event::Apply(object)];
        self.api.notice(&events);
        self.feed.send(events).await
    }

    /// Events of a list or a watch, on their way to the loop.
    pub(super) async fn send(&self, events: Vec<Event>) -> Result<(), LoopEnded> {
        if events.is_empty() {
            return Ok(());
        }
        self.api.notice(&events);
        self.feed.send(events).await
    }

    /// What an event means for bad objects; `false`: it is older than what is known.
    pub(super) fn is_news(&mut self, event: &Event, version: &str) -> bool {
        let name = match event {
            Event::Apply(object) => object.name(),
            Event::Bad(key, _) => &key.name,
            Event::Delete(_, name) => name,
            _ => return true,
        };
        if self.refetch.is_old_news(name, version) {
            return false;
        }
        if let Event::Bad(key, problem) = event {
            self.health.bad_objects.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%key, %problem, "cannot be read");
            self.refetch.look_at(name);
        } else {
            self.refetch.forget(name);
        }
        true
    }

    /// An object that cannot even be named.
    pub(super) fn is_nameless(&self, problem: &towpath_model::Problem) {
        self.health.bad_objects.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(stream = %self.stream, %problem, "an object without a name");
    }

    /// What ends a list. Nothing that was known may go because of a list with an object that could
    /// not even be named: it may be the very one. What is really gone goes with the next list.
    pub(super) fn end_of_list(&mut self) -> Option<Event> {
        let doubtful = std::mem::take(&mut self.nameless) && self.relist.was_listed();
        (!doubtful).then_some(Event::InitDone(self.stream.clone()))
    }

    /// The end of a list was sent; `quorum`: which requests it fulfils.
    pub(super) fn delivered(&mut self, quorum: Option<Generation>) {
        self.replaced = false;
        self.relist.delivered(quorum, self.now_ms());
        self.healthy();
    }

    /// Which requests the next list can fulfil; `None`: it may be a cached one.
    pub(super) fn quorum(&mut self) -> Option<Generation> {
        self.asked = self.relist.wants_quorum(self.now_ms()).then(|| self.relist.generation());
        self.asked
    }

    /// The version that a list is asked for: the newest, or out of a cache one that is not behind what
    /// other streams of the kind have said. They may be about the same objects.
    pub(super) fn list_version(&self, quorum: Option<Generation>) -> String {
        match quorum {
            Some(_) => String::new(),
            None if self.replaced => "0".to_owned(),
            None => self.versions.of_others(&self.stream).to_string(),
        }
    }

    /// What is asked, up to where the rest of the query follows.
    pub(super) fn target(&self) -> String {
        request::stream(&self.stream, &self.settings.node_name)
    }

    /// The server took the request. A watch is connected from here on, a list when it has begun.
    pub(super) fn opened(&mut self, watch: bool) {
        self.opened = Some(Instant::now());
        self.heard = self.opened;
        if watch {
            self.health.connected.store(true, Ordering::Relaxed);
            self.healthy();
        }
    }

    /// The server said something: a whole line, in a watch or not, or a whole page.
    pub(super) fn heard(&mut self, in_watch: bool) {
        (self.heard, self.said) = (Some(Instant::now()), true);
        self.health.heard(self.now_ms());
        if in_watch {
            self.watch_lives();
        }
    }

    /// Watches bring something again, or last.
    fn watch_lives(&mut self) {
        if std::mem::take(&mut self.empty) >= LASTING {
            self.notes.note(self.stream.to_string(), Vec::new());
        }
    }

    /// A list was delivered, or a watch is open: whatever was wrong is over.
    pub(super) fn healthy(&mut self) {
        if std::mem::take(&mut self.failures) > 0 && self.empty < LASTING {
            self.notes.note(self.stream.to_string(), Vec::new());
        }
    }

    fn now_ms(&self) -> u64 {
        self.settings.clock.now_ms()
    }
}
