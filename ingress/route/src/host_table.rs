//! The routes of one host.

use std::{cmp::Reverse, sync::Arc};

use towpath_model::ObjectName;

use crate::{Map, Pattern, Policy, Refusal, Slot};

/// Where a request goes, and under which rules. Small: tables hold many.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Which rule it comes from.
    pub origin: Origin,
    /// The expression that paths match; `None`: they are compared with the origin's.
    pub pattern: Option<Arc<Pattern>>,
    /// Where requests go.
    pub target: Target,
    /// The Service that is asked about requests, where one is.
    pub asked: Option<Slot>,
    /// What else holds for them; most routes of an Ingress share one.
    pub policy: Arc<Policy>,
    /// A plain request is sent to HTTPS.
    pub to_https: bool,
}

impl Route {
    /// The path that an endpoint gets for a request of this normal one; `None`: as the client sent it.
    #[must_use]
    pub fn rewritten(&self, path: &str) -> Option<String> {
        let rewrite = self.policy.rewrite.as_ref()?;
        let same = rewrite.is(&self.origin.path);
        (!same).then(|| rewrite.apply(path, self.pattern.as_deref()))
    }

    /// Would requests get past what this route restricts, if they went to `other` instead?
    pub(crate) fn restricts_more_than(&self, other: Option<&Self>) -> bool {
        let closed = |route: &Self| matches!(route.target, Target::Closed(_));
        let (ranges, auth) = (&self.policy.ranges, &self.policy.auth);
        let Some(other) = other else {
            return closed(self) || ranges.is_some() || auth.is_some();
        };
        if closed(other) {
            return false;
        }
        closed(self)
            || (ranges.is_some() && *ranges != other.policy.ranges)
            || (auth.is_some() && *auth != other.policy.auth)
    }
}

/// Where a route was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The Ingress.
    pub ingress: ObjectName,
    /// The path as it is matched, without a trailing slash for a prefix, as written for an expression;
    /// empty: a default backend, or the prefix of everything.
    pub path: Arc<str>,
}

/// Where requests go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// To an endpoint of a Service's port.
    Service(Slot),
    /// Nowhere: an annotation that is not honoured would restrict or change them. Answered with 503.
    Closed(Refusal),
    /// Nowhere: the rule names no Service. Answered with 503.
    NoBackend,
}

/// The routes of one host. `Exact` is by definition the longest match of its request, so a look into a
/// map of those, then into a map of prefixes from the longest to the shortest, finds what the
/// specification asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostTable {
    pub(crate) exact: Map<Arc<str>, Route>,
    pub(crate) prefix: Map<Arc<str>, Route>,
    /// Lengths of prefixes that exist, longest first.
    lengths: Vec<usize>,
    /// Expressions, the longest text first, as ingress-nginx has them tried; of one length, the oldest.
    patterns: Vec<Route>,
    /// `defaultBackend` of the oldest Ingress that has one and a rule of this host.
    pub(crate) default: Option<Route>,
}

impl HostTable {
    /// The route that has this place.
    pub(crate) fn taken(
        &self,
        exact: bool,
        pattern: Option<&Pattern>,
        path: &str,
    ) -> Option<&Route> {
        match pattern {
            Some(pattern) => {
                self.patterns.iter().find(|route| route.pattern.as_deref() == Some(pattern))
            }
            None if exact => self.exact.get(path),
            None => self.prefix.get(path),
        }
    }

    pub(crate) fn add(&mut self, exact: bool, route: Route) {
        let path = Arc::clone(&route.origin.path);
        if route.pattern.is_some() {
            let longer = |known: &Route| known.origin.path.len() >= path.len();
            let at = self.patterns.partition_point(longer);
            self.patterns.insert(at, route);
            return;
        }
        if exact {
            self.exact.insert(path, route);
            return;
        }
        let length = Reverse(path.len());
        if let Err(at) = self.lengths.binary_search_by_key(&length, |known| Reverse(*known)) {
            self.lengths.insert(at, path.len());
        }
        self.prefix.insert(path, route);
    }

    /// The route of a normal path.
    pub(crate) fn find(&self, path: &str) -> Option<&Route> {
        if let Some(route) = self.exact.get(path) {
            return Some(route);
        }
        let prefixed = self.lengths.iter().find_map(|length| {
            // Element by element: what follows a prefix is nothing or a slash.
            let ends = match path.as_bytes().get(*length) {
                None => path.len() == *length,
                Some(next) => *next == b'/',
            };
            self.prefix.get(path.get(..*length).filter(|_| ends)?)
        });
        // An expression is tried before what is shorter, as in ingress-nginx.
        let length = prefixed.map_or(0, |route| route.origin.path.len());
        let longer = self.patterns.iter().take_while(|route| route.origin.path.len() > length);
        let matches = |route: &&Route| route.pattern.as_ref().is_some_and(|it| it.is_match(path));
        longer.into_iter().find(matches).or(prefixed).or(self.default.as_ref())
    }

    /// Every route, in no order.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        let compared = self.exact.values().chain(self.prefix.values());
        compared.chain(&self.patterns).chain(&self.default)
    }
}
