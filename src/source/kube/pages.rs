//! A list in pages, for servers that do not stream lists.

use std::sync::atomic::Ordering;

use kube::Client;
use towpath_model::{Event, wire::decode_list};

use super::{
    decoder::event_of_bad,
    error::WatchError,
    request,
    watch::{Resume, Watch},
};

/// A page, or a whole list of a server that takes no limit together with version 0: far above what
/// the largest cluster has.
const PAGE_BYTES_MAX: usize = 256 << 20;
const PAGE_OBJECTS: u32 = 500;

impl Watch {
    pub(super) async fn paged_list(
        &mut self,
        client: &Client,
        resume: &mut Resume,
    ) -> Result<(), WatchError> {
        let quorum = self.quorum();
        let silence = self.settings.patience.silence;
        self.health.lists.fetch_add(1, Ordering::Relaxed);
        self.nameless = false;
        let mut token = String::new();
        loop {
            let first = token.is_empty();
            let mut query = Vec::new();
            if !self.no_pages {
                query.push(format!("limit={PAGE_OBJECTS}"));
            }
            if !first {
                query.push(format!("continue={}", request::escaped(&token)));
            } else if quorum.is_none() {
                let version = self.list_version(quorum);
                query.push(format!("resourceVersion={version}"));
                if version != "0" {
                    query.push("resourceVersionMatch=NotOlderThan".to_owned());
                }
            }
            let target = format!("{}{}", self.target(), query.join("&"));
            let response = request::get(client, &target, silence).await.inspect_err(|ended| {
                // Lists that take longer than a token lives would never end.
                self.no_pages |= !first && matches!(ended, WatchError::Gone(_));
            })?;
            let body = request::whole(response.into_body(), PAGE_BYTES_MAX, silence).await?;
            let mut events = Vec::new();
            if first {
                self.refetch.forget_all();
                events.push(Event::Init(self.stream.clone()));
            }
            let meta = self.read_page(&body, &mut events)?;
            if meta.resource_version.is_empty() {
                // Anything else in JSON would be an empty list: everything would be deleted.
                return Err(WatchError::Unreadable("a list without a version".to_owned()));
            }
            self.heard(false);
            token = meta.r#continue;
            if token.is_empty() {
                events.extend(self.end_of_list());
                self.send(events).await?;
                self.delivered(quorum);
                self.versions.reached(&self.stream, &meta.resource_version);
                self.no_pages = false;
                *resume = Resume::Watch { version: meta.resource_version };
                return Ok(());
            }
            self.send(events).await?;
        }
    }

    fn read_page(
        &mut self,
        json: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<towpath_model::wire::ListMeta, WatchError> {
        let meta = decode_list(self.stream.kind, json, |item| {
            let event = match item.map(Event::Apply).or_else(event_of_bad) {
                Ok(event) => event,
                Err(problem) => {
                    self.is_nameless(&problem);
                    self.nameless = true;
                    return;
                }
            };
            self.is_news(&event, "");
            events.push(event);
        });
        meta.map_err(|problem| WatchError::Unreadable(problem.to_string()))
    }
}
