//! Whose turn it is among the addresses of the API server.
//!
//! Configured addresses are what a person vouches for, learned ones are what objects say. So a
//! configured one is asked first after every failure, and between any two learned ones: whatever is
//! written into a slice, it costs a try now and then and never the way back.

use http::Uri;

/// The addresses, and the one in use.
#[derive(Debug)]
pub(super) struct Addresses {
    /// Never empty.
    configured: Vec<Uri>,
    /// None of them is a configured one.
    learned: Vec<Uri>,
    /// The configured address is a clusterIP, which this daemon itself serves: learned ones are
    /// better, as long as they work.
    prefers_learned: bool,
    now: Place,
    /// Whose turn it is when it is a learned one's.
    next_learned: usize,
    /// A learned address failed, and no configured one since.
    disappointed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Configured(usize),
    Learned(usize),
}

impl Addresses {
    /// `first` and `others` are the configured ones.
    pub(super) fn new(first: Uri, others: &[Uri], prefers_learned: bool) -> Self {
        let mut configured = vec![first];
        for uri in others {
            if !configured.iter().any(|known| same(known, uri)) {
                configured.push(uri.clone());
            }
        }
        Self {
            configured,
            learned: Vec::new(),
            prefers_learned,
            now: Place::Configured(0),
            next_learned: 0,
            disappointed: false,
        }
    }

    pub(super) fn configured(&self) -> &[Uri] {
        &self.configured
    }

    /// The address in use.
    pub(super) fn current(&self) -> &Uri {
        let (list, at) = match self.now {
            Place::Configured(at) => (&self.configured, at),
            Place::Learned(at) => (&self.learned, at),
        };
        list.get(at).unwrap_or(&self.configured[0])
    }

    /// The address in use failed: the next one's turn.
    pub(super) fn fail(&mut self) {
        self.disappointed = matches!(self.now, Place::Learned(_));
        self.now = match self.now {
            Place::Configured(at) if at + 1 < self.configured.len() => Place::Configured(at + 1),
            Place::Configured(_) if !self.learned.is_empty() => {
                let at = self.next_learned % self.learned.len();
                self.next_learned = at + 1;
                Place::Learned(at)
            }
            Place::Configured(_) | Place::Learned(_) => Place::Configured(0),
        };
    }

    /// These are the learned ones now. The address in use stays in use while it is one.
    pub(super) fn learn(&mut self, learned: Vec<Uri>) {
        let now = self.current().clone();
        self.learned = learned;
        self.learned.retain(|uri| !self.configured.iter().any(|known| same(known, uri)));
        if matches!(self.now, Place::Learned(_)) {
            let at = self.learned.iter().position(|uri| same(uri, &now));
            self.now = at.map_or(Place::Configured(0), Place::Learned);
        }
        let is_configured = matches!(self.now, Place::Configured(_));
        if is_configured && self.prefers_learned && !self.disappointed && !self.learned.is_empty() {
            self.now = Place::Learned(0);
        }
    }
}

fn same(one: &Uri, other: &Uri) -> bool {
    one.authority() == other.authority()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uris(hosts: &str) -> Vec<Uri> {
        hosts
            .split(' ')
            .filter(|h| !h.is_empty())
            .map(|h| format!("https://{h}").parse().unwrap())
            .collect()
    }

    /// The addresses of this many turns, each of which fails.
    fn failures(addresses: &mut Addresses, times: usize) -> String {
        let turn = |_| {
            let host = addresses.current().host().unwrap().to_owned();
            addresses.fail();
            host
        };
        (0..times).map(turn).collect::<Vec<_>>().join(" ")
    }

    fn addresses(configured: &str, learned: &str, prefers_learned: bool) -> Addresses {
        let configured = uris(configured);
        let mut addresses = Addresses::new(configured[0].clone(), &configured, prefers_learned);
        addresses.learn(uris(learned));
        addresses
    }

    #[test]
    fn a_configured_one_has_every_other_turn_and_the_first_after_a_failure() {
        for (configured, learned, prefers_learned, expected) in [
            ("c", "", false, "c c c c c c"),
            ("c", "l m", false, "c l c m c l"),
            ("c", "l m", true, "l c l c m c"),
            ("c d", "l m", false, "c d l c d m"),
            ("c", "c l", false, "c l c l c l"),
            ("c c", "", true, "c c c c c c"),
        ] {
            let found = failures(&mut addresses(configured, learned, prefers_learned), 6);
            assert_eq!(found, expected, "{configured}, {learned}, {prefers_learned}");
        }
    }

    #[test]
    fn what_is_in_use_stays_in_use_while_it_is_there() {
        let mut addresses = addresses("c", "l m", true);
        assert_eq!(addresses.current().host(), Some("l"));
        addresses.learn(uris("k l"));
        assert_eq!(addresses.current().host(), Some("l"));
        addresses.learn(uris("k"));
        assert_eq!(addresses.current().host(), Some("k"));
        addresses.learn(Vec::new());
        assert_eq!(addresses.current().host(), Some("c"));
    }

    #[test]
    fn slices_that_change_all_the_time_do_not_lead_away_from_what_works() {
        let mut addresses = addresses("c", "l", true);
        addresses.fail();
        for bogus in ["m", "n", "o"] {
            addresses.learn(uris(bogus));
            assert_eq!(addresses.current().host(), Some("c"));
        }
        // Only when that fails, too.
        addresses.fail();
        assert_eq!(addresses.current().host(), Some("o"));
    }
}
