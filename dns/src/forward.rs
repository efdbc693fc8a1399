//! Questions to others: from the cache, else from upstreams, each asked once at a time.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::OnceCell,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    cache::{Cache, Known, aged, stale},
    exchange::exchange,
    metrics::DnsMetrics,
    places::Place,
    question::{Answer, Given, Question},
    upstreams::Upstreams,
};

/// Settings of forwarding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForwardSettings {
    /// Memory for answers of others, in bytes.
    pub cache_bytes: usize,
    /// No answer is kept longer, in seconds.
    pub longest: u32,
    /// One upstream has so long to answer.
    pub attempt: Duration,
    /// All of them together have so long. (glibc asks again after 5 s.)
    pub total: Duration,
    /// A client waits so long before it is given an answer that does not hold any more, where there is one
    /// (RFC 8767 5: at most 1.8 seconds, since clients ask again after two).
    pub client: Duration,
}

impl Default for ForwardSettings {
    fn default() -> Self {
        Self {
            cache_bytes: 8 << 20,
            longest: 30, // as kubeadm's CoreDNS
            attempt: Duration::from_millis(1500),
            total: Duration::from_millis(4500),
            client: Duration::from_millis(1800),
        }
    }
}

/// An exchange that is under way.
type Flight = Arc<OnceCell<Arc<Answer>>>;

/// Cache and upstreams.
#[derive(Debug)]
pub struct Forwarder {
    settings: ForwardSettings,
    cache: Mutex<Cache>,
    upstreams: Mutex<Upstreams>,
    flights: Mutex<HashMap<Question, Flight>>,
    metrics: Arc<DnsMetrics>,
}

/// No code panics while it holds one of these; and if it did, the data would still be whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Forwarder {
    /// Without an upstream: every question fails until there is one.
    #[must_use]
    pub fn new(settings: ForwardSettings, metrics: Arc<DnsMetrics>) -> Self {
        let cache = Mutex::new(Cache::new(settings.cache_bytes, settings.longest));
        let (upstreams, flights) = (Mutex::default(), Mutex::default());
        Self { settings, cache, upstreams, flights, metrics }
    }

    /// Asks these from now on.
    pub fn set_upstreams(&self, servers: &[SocketAddr]) {
        lock(&self.upstreams).set(servers);
    }

    /// The answer, if it is known already: one that holds, or one that could not be renewed a moment ago.
    pub(crate) fn known(&self, question: &Question) -> Option<Given> {
        let known = lock(&self.cache).get(question, Instant::now());
        let given = match known {
            Some(Known::Fresh(answer, age)) => {
                Some(Given { answer: aged(&answer, age), stale: false })
            }
            Some(Known::Stale(answer, true)) => Some(self.stale(&answer)),
            _ => None,
        };
        self.metrics.cache_asked(given.is_some());
        given
    }

    fn stale(&self, answer: &Answer) -> Given {
        self.metrics.served_stale();
        Given { answer: stale(answer), stale: true }
    }

    /// The answer of an upstream; of a failure what was known before, if anything was. `place` is held for
    /// as long as upstreams are asked.
    pub(crate) async fn ask(self: &Arc<Self>, question: &Question, place: Place) -> Given {
        let stale = |known| match known {
            Some(Known::Stale(answer, _)) => Some(answer),
            _ => None,
        };
        let before = stale(lock(&self.cache).get(question, Instant::now()));
        let (this, asked) = (Arc::clone(self), question.clone());
        let fetch = async move {
            let answer = this.share(&asked).await;
            drop(place);
            answer
        };
        let Some(before) = before else {
            let answer = (*fetch.await).clone();
            return Given { answer, stale: false };
        };
        // On a task of its own: the answer is wanted also after the client has been given the old one.
        match timeout(self.settings.client, tokio::spawn(fetch)).await {
            Ok(Ok(answer)) if answer.is_answer() => {
                Given { answer: (*answer).clone(), stale: false }
            }
            Ok(_) => self.stale(&before),
            Err(_) => {
                lock(&self.cache).not_renewed(question, Instant::now());
                self.stale(&before)
            }
        }
    }

    /// Asks upstreams, once for all who ask the same at a time.
    async fn share(&self, question: &Question) -> Arc<Answer> {
        let flight = Arc::clone(lock(&self.flights).entry(question.clone()).or_default());
        // A client that leaves takes nothing along: the next one who waits goes on.
        let answer = Arc::clone(flight.get_or_init(|| self.fly(question)).await);
        let mut flights = lock(&self.flights);
        if flights.get(question).is_some_and(|known| Arc::ptr_eq(known, &flight)) {
            flights.remove(question);
        }
        answer
    }

    async fn fly(&self, question: &Question) -> Arc<Answer> {
        let mut answer = self.upstream(question).await;
        for record in answer.answers.iter_mut().chain(&mut answer.authority) {
            // A client keeps it no longer than we do: what changes is seen everywhere by then.
            record.ttl = record.ttl.min(self.settings.longest);
        }
        let answer = Arc::new(answer);
        let mut cache = lock(&self.cache);
        let evicted = cache.put(question.clone(), &answer, Instant::now());
        self.metrics.cached(cache.len(), evicted);
        answer
    }

    /// Upstreams one after the other, until one answers. What all of them refuse is refused.
    async fn upstream(&self, question: &Question) -> Answer {
        let deadline = Instant::now() + self.settings.total;
        let order = lock(&self.upstreams).order(Instant::now());
        let mut last = Answer::failed();
        for server in order {
            let began = Instant::now();
            let attempt = timeout(self.settings.attempt, exchange(server, question));
            let Ok(result) = timeout_at(deadline, attempt).await else { break };
            let code = match result {
                Ok(Ok(answer)) => {
                    let code = answer.code;
                    let answered = answer.is_answer();
                    last = answer;
                    // Any reply is a sign of life: one name that fails must not move the upstream to the
                    // end for all others.
                    self.report(server, true, &code.to_string(), began);
                    if answered { return last } else { continue }
                }
                Ok(Err(error)) => {
                    tracing::debug!(%server, %error, "an upstream failed");
                    "error"
                }
                Err(_) => "timeout",
            };
            self.report(server, false, code, began);
        }
        last
    }

    fn report(&self, server: SocketAddr, answered: bool, code: &str, began: Instant) {
        lock(&self.upstreams).report(server, answered, Instant::now());
        self.metrics.exchanged(server, code, began.elapsed());
    }
}
