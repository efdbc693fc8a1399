//! Answers of upstreams, kept while they hold, and a while longer for when upstreams fail.

use std::{sync::Arc, time::Duration};

use lru::LruCache;
use tokio::time::Instant;

use crate::question::{Answer, Question};

/// How long an answer may be used after it stopped to hold, when no upstream answers (RFC 8767).
const STALE: Duration = Duration::from_secs(3600);
/// How long it says that it holds, then.
const STALE_TTL: u32 = 30;
/// How long a failure is remembered (RFC 9520 3.2: at least a second, at most five minutes).
const FAILURE: Duration = Duration::from_secs(5);

/// A bounded cache, least recently used out first.
#[derive(Debug)]
pub(crate) struct Cache {
    entries: LruCache<Question, Entry>,
    bytes: usize,
    budget: usize,
    longest: u32,
}

#[derive(Debug)]
struct Entry {
    answer: Arc<Answer>,
    stored: Instant,
    holds: Duration,
    /// When upstreams failed to renew it last.
    failed: Option<Instant>,
    bytes: usize,
}

/// What is known of a question.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Known {
    /// An answer that holds, and for how long it was kept.
    Fresh(Arc<Answer>, u32),
    /// An answer that did hold; good enough where nothing better can be had. `true`: that was tried a
    /// moment ago.
    Stale(Arc<Answer>, bool),
}

impl Cache {
    /// For so many bytes; no answer is kept longer than `longest` seconds.
    pub(crate) fn new(budget: usize, longest: u32) -> Self {
        Self { entries: LruCache::unbounded(), bytes: 0, budget, longest }
    }

    /// How many answers it holds.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get(&mut self, question: &Question, now: Instant) -> Option<Known> {
        let entry = self.entries.get(question)?;
        let age = now.saturating_duration_since(entry.stored);
        if age < entry.holds {
            let seconds = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
            return Some(Known::Fresh(Arc::clone(&entry.answer), seconds));
        }
        let usable = entry.answer.is_answer() && age < entry.holds + STALE;
        let tried = |at: Instant| now.saturating_duration_since(at) < FAILURE;
        usable.then(|| Known::Stale(Arc::clone(&entry.answer), entry.failed.is_some_and(tried)))
    }

    /// Upstreams have not renewed this answer, or not in time: for a while it is given at once, and they
    /// are left alone (RFC 9520 3.2, RFC 8767 5).
    pub(crate) fn not_renewed(&mut self, question: &Question, now: Instant) {
        if let Some(entry) = self.entries.peek_mut(question) {
            entry.failed = Some(now);
        }
    }

    /// Keeps an answer; answers how many others went for it. A failure never takes the place of an
    /// answer that could still be used.
    pub(crate) fn put(&mut self, question: Question, answer: &Arc<Answer>, now: Instant) -> u64 {
        let Some(holds) = self.holds(answer) else { return 0 };
        if !answer.is_answer() && self.get(&question, now).is_some() {
            self.not_renewed(&question, now);
            return 0;
        }
        let bytes = answer.size() + question.name.len() + size_of::<(Question, Entry)>();
        if bytes > self.budget / 16 {
            return 0; // one answer does not turn out many
        }
        let entry = Entry { answer: Arc::clone(answer), stored: now, holds, failed: None, bytes };
        self.bytes += bytes;
        if let Some(old) = self.entries.put(question, entry) {
            self.bytes -= old.bytes;
        }
        let mut evicted = 0;
        while self.bytes > self.budget {
            let Some((_, old)) = self.entries.pop_lru() else { break };
            self.bytes -= old.bytes;
            evicted += 1;
        }
        evicted
    }

    /// How long an answer holds; `None`: it is not kept.
    fn holds(&self, answer: &Answer) -> Option<Duration> {
        if !answer.is_answer() {
            return Some(FAILURE);
        }
        // A negative answer without SOA record is not to be kept (RFC 2308 5).
        let seconds = if answer.authority.is_empty() {
            answer.answers.iter().map(|record| record.ttl).min()?
        } else {
            answer.authority.iter().chain(&answer.answers).map(|record| record.ttl).min()?
        };
        let seconds = seconds.min(self.longest);
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }
}

/// An answer as it is now: TTLs are counted down.
pub(crate) fn aged(answer: &Answer, age: u32) -> Answer {
    with_ttl(answer, |ttl| ttl.saturating_sub(age).max(1))
}

/// An answer that does not hold any more, given for want of a better one.
pub(crate) fn stale(answer: &Answer) -> Answer {
    with_ttl(answer, |_| STALE_TTL)
}

fn with_ttl(answer: &Answer, ttl: impl Fn(u32) -> u32) -> Answer {
    let mut answer = answer.clone();
    for record in answer.answers.iter_mut().chain(&mut answer.authority) {
        record.ttl = ttl(record.ttl);
    }
    answer
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::ResponseCode,
        rr::{Name, RData, Record, rdata::A},
    };

    use super::*;

    fn question(name: &str) -> Question {
        let name = [&[u8::try_from(name.len()).unwrap()], name.as_bytes(), &[0]].concat().into();
        Question { name, rtype: 1, dnssec_ok: false, checking_disabled: false }
    }

    fn answer(ttl: u32) -> Arc<Answer> {
        let record = Record::from_rdata(Name::root(), ttl, RData::A(A::new(192, 0, 2, 1)));
        let code = ResponseCode::NoError;
        Arc::new(Answer { code, answers: vec![record], authority: vec![] })
    }

    #[test]
    fn an_answer_holds_as_long_as_it_says_and_no_longer_than_the_limit() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut cache = Cache::new(1 << 20, 30);
        cache.put(question("a"), &answer(2), now);
        cache.put(question("b"), &answer(600), now);
        cache.put(question("c"), &answer(0), now);
        assert_eq!(cache.get(&question("a"), now + second), Some(Known::Fresh(answer(2), 1)));
        assert_eq!(
            cache.get(&question("a"), now + 2 * second),
            Some(Known::Stale(answer(2), false))
        );
        assert_eq!(cache.get(&question("a"), now + 2 * second + STALE), None);
        let held = cache.get(&question("b"), now + 29 * second);
        assert!(matches!(held, Some(Known::Fresh(_, 29))), "{held:?}");
        let over = cache.get(&question("b"), now + 30 * second);
        assert!(matches!(over, Some(Known::Stale(..))), "{over:?}");
        assert_eq!(cache.get(&question("c"), now), None, "TTL 0 is for one answer only");
    }

    #[test]
    fn a_failure_is_remembered_but_turns_out_no_answer() {
        let now = Instant::now();
        let mut cache = Cache::new(1 << 20, 30);
        let failed = Arc::new(Answer::failed());
        cache.put(question("a"), &failed, now);
        assert_eq!(cache.get(&question("a"), now), Some(Known::Fresh(Arc::clone(&failed), 0)));
        assert_eq!(cache.get(&question("a"), now + FAILURE), None);
        cache.put(question("b"), &answer(1), now);
        let later = now + Duration::from_secs(10);
        cache.put(question("b"), &failed, later);
        let stale = |tried| Some(Known::Stale(answer(1), tried));
        assert_eq!(cache.get(&question("b"), later), stale(true), "not tried again at once");
        assert_eq!(cache.get(&question("b"), later + FAILURE), stale(false), "but then");
        cache.put(question("b"), &answer(1), later);
        cache.get(&question("b"), later + Duration::from_secs(1));
        assert_eq!(cache.get(&question("b"), later + Duration::from_secs(1)), stale(false));
    }

    #[test]
    fn the_budget_holds_and_the_least_recently_used_goes() {
        let now = Instant::now();
        let mut cache = Cache::new(32 << 10, 30);
        let mut evicted = 0;
        for at in 0..1000 {
            evicted += cache.put(question(&format!("n{at}")), &answer(30), now);
            assert!(cache.bytes <= cache.budget);
            assert!(cache.get(&question("n0"), now).is_some(), "n0 is used all the time");
        }
        assert!(evicted > 0 && usize::try_from(evicted).unwrap() + cache.len() == 1000);
        assert!(cache.get(&question("n1"), now).is_none());
    }
}
