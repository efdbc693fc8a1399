//! Objects that could not be understood are looked at again, each by its own GET.
//!
//! A watch goes on past an object that was damaged on its way, and would not mention it before it
//! changes again (operations.md 1.1). What a look brings may be newer than where the watch stands:
//! until the watch is past that version, what it says of the object is old news.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::StatusCode;
use tokio::{
    task::JoinSet,
    time::{self, Instant},
};
use towpath_model::{Kind, Object, ObjectName, decode};

use super::{address::Api, error::WatchError, request};

/// So many objects of a kind are looked at again; others wait for their next event or list.
const OBJECTS_MAX: usize = 256;
/// The wait doubles up to this many times the first one.
const WAIT_MAX: u32 = 32;
/// Far above what an API server stores.
const OBJECT_BYTES_MAX: usize = 32 << 20;

#[derive(Clone, Copy, Debug)]
struct Due {
    at: Instant,
    wait: Duration,
}

/// What a look brought.
enum Looked {
    Good(Object),
    /// It is gone. The watch says so too, in its place among the other events.
    Gone,
    /// Still not to be understood, or not to be had.
    Not,
}

/// The bad objects of a kind.
pub(super) struct Refetch {
    kind: Kind,
    api: Arc<Api>,
    /// First wait.
    wait: Duration,
    silence: Duration,
    due: BTreeMap<ObjectName, Due>,
    looking: JoinSet<(ObjectName, Looked)>,
    /// Objects of which a look brought this version, and the watch is not there yet.
    ahead: BTreeMap<ObjectName, u64>,
}

impl Refetch {
    pub(super) fn new(kind: Kind, api: Arc<Api>, wait: Duration, silence: Duration) -> Self {
        Self {
            kind,
            api,
            wait,
            silence,
            due: BTreeMap::new(),
            looking: JoinSet::new(),
            ahead: BTreeMap::new(),
        }
    }

    /// This object is bad: look at it after a while.
    pub(super) fn look_at(&mut self, name: &ObjectName) {
        if self.due.len() < OBJECTS_MAX || self.due.contains_key(name) {
            let due = Due { at: Instant::now() + self.wait, wait: self.wait };
            self.due.insert(name.clone(), due);
        }
    }

    /// The watch or a list said something good of it, or that it is gone.
    pub(super) fn forget(&mut self, name: &ObjectName) {
        self.due.remove(name);
    }

    /// A list begins: it says everything anew.
    pub(super) fn forget_all(&mut self) {
        self.due.clear();
        self.ahead.clear();
    }

    /// Whether the watch says something older of this object than a look already brought.
    pub(super) fn is_old_news(&mut self, name: &ObjectName, version: &str) -> bool {
        if self.ahead.is_empty() {
            return false;
        }
        let Ok(version) = version.parse::<u64>() else { return false };
        // Versions of a kind only go up in a watch (and can be compared, KEP-5504).
        self.ahead.retain(|_, ahead| *ahead >= version);
        self.ahead.contains_key(name)
    }

    /// The next object that can be understood again; waits for it as long as it takes. Nothing is
    /// lost when the caller stops waiting.
    pub(super) async fn next(&mut self) -> Object {
        loop {
            match self.looking.join_next().await {
                Some(Ok((name, looked))) => {
                    if let Some(object) = self.looked(&name, looked) {
                        return object;
                    }
                }
                Some(Err(error)) => tracing::error!(%error, "looking at an object again failed"),
                None => self.look().await,
            }
        }
    }

    /// Looks at the object whose turn it is, when it is its turn.
    async fn look(&mut self) {
        let Some((name, due)) = self.due.iter().min_by_key(|(_, due)| due.at) else {
            return std::future::pending().await;
        };
        let (name, due) = (name.clone(), *due);
        time::sleep_until(due.at).await;
        let wait = (due.wait * 2).min(self.wait * WAIT_MAX);
        self.due.insert(name.clone(), Due { at: Instant::now() + wait, wait });
        let (api, kind, silence) = (Arc::clone(&self.api), self.kind, self.silence);
        self.looking.spawn(async move {
            let looked = look(&api, kind, &name, silence).await;
            (name, looked)
        });
    }

    fn looked(&mut self, name: &ObjectName, looked: Looked) -> Option<Object> {
        match looked {
            Looked::Not => None,
            Looked::Gone => {
                self.due.remove(name);
                None
            }
            // The watch may have brought something good meanwhile, which may be newer.
            Looked::Good(object) => {
                self.due.remove(name)?;
                if let Some(version) = object.version() {
                    self.ahead.insert(name.clone(), version);
                }
                Some(object)
            }
        }
    }
}

async fn look(api: &Api, kind: Kind, name: &ObjectName, silence: Duration) -> Looked {
    let target = request::object(kind, name);
    let (_, client) = api.client();
    let response = match request::get(&client, &target, silence).await {
        Ok(response) => response,
        Err(WatchError::Status(StatusCode::NOT_FOUND, ..)) => return Looked::Gone,
        Err(_other) => return Looked::Not,
    };
    let Ok(json) = request::whole(response.into_body(), OBJECT_BYTES_MAX, silence).await else {
        return Looked::Not;
    };
    match decode(kind, &json) {
        Ok(object) if object.name() == name => Looked::Good(object),
        Ok(_) | Err(_) => Looked::Not,
    }
}
