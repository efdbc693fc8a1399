//! A streaming list that goes on as a watch, or a watch from a version.

use std::{sync::atomic::Ordering, time::Duration};

use http::StatusCode;
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use tokio::time;
use towpath_model::Event;

use super::{
    decoder::{Lines, WatchLine, read},
    error::WatchError,
    relist::Generation,
    request,
    watch::{Resume, Watch},
};

/// What the stream is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Listing, from a quorum or out of a cache.
    List(Option<Generation>),
    Watch,
}

impl Watch {
    pub(super) async fn stream(
        &mut self,
        client: &Client,
        resume: &mut Resume,
    ) -> Result<(), WatchError> {
        let patience = self.settings.patience;
        let lasts = patience.watch.mul_f64(1.0 + self.backoff.share());
        let mut query = format!(
            "watch=1&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion=",
            lasts.as_secs().max(1)
        );
        let phase = match &*resume {
            Resume::Watch { version } => {
                query.push_str(&request::escaped(version));
                Phase::Watch
            }
            Resume::List => {
                let quorum = self.quorum();
                query.push_str(&self.list_version(quorum));
                query.push_str("&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
                Phase::List(quorum)
            }
        };
        let target = format!("{}{query}", self.target());
        let response = match request::get(client, &target, patience.silence).await {
            Err(WatchError::Status(
                StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY,
                why,
                _,
            )) if phase != Phase::Watch => return Err(WatchError::NoStreaming(why)),
            other => other?,
        };
        if phase != Phase::Watch {
            self.health.lists.fetch_add(1, Ordering::Relaxed);
            self.refetch.forget_all();
            self.nameless = false;
            self.send(vec![Event::Init(self.stream.clone())]).await?;
        }
        self.opened(phase == Phase::Watch);
        // A server that does not end the watch when it was asked to is left, a while later.
        let ends = time::sleep(lasts + patience.silence);
        tokio::select! {
            result = self.follow(response.into_body(), resume, phase) => result,
            () = ends => Ok(()),
        }
    }

    /// Reads until the stream ends.
    async fn follow(
        &mut self,
        mut body: Body,
        resume: &mut Resume,
        mut phase: Phase,
    ) -> Result<(), WatchError> {
        let silence: Duration = self.settings.patience.silence;
        let mut lines = Lines::default();
        let mut progress = time::Instant::now();
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = time::sleep_until(progress + silence) => return Err(match phase {
                    Phase::List(_) => WatchError::Stalled(silence),
                    Phase::Watch => WatchError::Silence(silence),
                }),
                object = self.refetch.next(), if phase == Phase::Watch => {
                    self.refetched(object).await?;
                    continue;
                }
                // Not when a quorum is being asked already: another list follows, if it has to.
                () = self.relist.requested(), if !matches!(phase, Phase::List(Some(_))) => {
                    return Err(WatchError::Asked);
                }
            };
            let Some(frame) = frame else {
                return match phase {
                    Phase::List(_) => Err(WatchError::Broken("the list was cut short".to_owned())),
                    Phase::Watch => Ok(()),
                };
            };
            let frame = frame.map_err(|error| WatchError::Broken(error.to_string()))?;
            let Some(chunk) = frame.data_ref() else { continue };
            let mut said = Vec::new();
            let whole = lines.take(chunk, |line| said.push(read(self.stream.kind, line)));
            // Half a line says nothing: a server that sends a byte now and then is silent.
            if !said.is_empty() {
                self.heard(phase == Phase::Watch);
            }
            // A list that only brings bookmarks may do so for ever: nothing would be in force.
            if said.iter().any(|said| phase == Phase::Watch || said.is_progress_of_a_list()) {
                progress = time::Instant::now();
            }
            self.hand_over(said, resume, &mut phase).await?;
            whole?;
        }
    }

    /// Sends on what a chunk said, up to the first line that ends the stream.
    async fn hand_over(
        &mut self,
        said: Vec<WatchLine>,
        resume: &mut Resume,
        phase: &mut Phase,
    ) -> Result<(), WatchError> {
        let mut events = Vec::with_capacity(said.len() + 1);
        let mut delivered = None;
        let mut ended = Ok(());
        for said in said {
            let version = match said {
                WatchLine::Event(event, version) => {
                    if self.is_news(&event, &version) {
                        events.push(event);
                    }
                    version
                }
                WatchLine::Nameless(problem, version) => {
                    self.is_nameless(&problem);
                    self.nameless |= *phase != Phase::Watch;
                    version
                }
                WatchLine::Bookmark(version, end) => {
                    if end && let Phase::List(quorum) = *phase {
                        if version.is_empty() {
                            let why = "a list ends without a version".to_owned();
                            ended = Err(WatchError::Unreadable(why));
                            break;
                        }
                        events.extend(self.end_of_list());
                        delivered = Some(quorum);
                        *phase = Phase::Watch;
                    }
                    version
                }
                WatchLine::Error(code, why) => {
                    ended = Err(of_status(code, why));
                    break;
                }
                WatchLine::Garbage(why) => {
                    ended = Err(WatchError::Unreadable(format!("not a line of a watch: {why}")));
                    break;
                }
            };
            // What was said before the list ended is of no order: only its end counts.
            if *phase == Phase::Watch && !version.is_empty() {
                *resume = Resume::Watch { version };
            }
        }
        self.send(events).await?;
        if let Some(quorum) = delivered {
            self.delivered(quorum);
        }
        if let Resume::Watch { version } = &*resume {
            self.versions.reached(&self.stream, version);
        }
        ended
    }
}

/// An error in the stream is the answer that the request would have had.
fn of_status(code: u16, why: String) -> WatchError {
    match StatusCode::from_u16(code) {
        Ok(StatusCode::GONE) => WatchError::Gone(why),
        Ok(code) => WatchError::Status(code, why, None),
        Err(_no_code) => WatchError::Broken(format!("error {code} in the stream: {why}")),
    }
}
