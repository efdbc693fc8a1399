use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;

const PACE: Pace = Pace {
    lease: Duration::from_secs(15),
    deadline: Duration::from_secs(10),
    retry: Duration::from_secs(2),
    write: Duration::ZERO,
    look: Duration::ZERO,
    settle: Duration::ZERO,
    hold: Duration::ZERO,
};

/// The server: an object and its version.
#[derive(Default)]
struct Server {
    lease: Option<Value>,
    version: u64,
}

impl Server {
    fn take(&mut self, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.lease = Some(object.clone());
        object
    }

    /// Takes what is of the latest version, as the API does.
    fn send(&mut self, step: Step) -> Option<Value> {
        match (step, &self.lease) {
            (Step::Create(object), None) => Some(self.take(object)),
            (Step::Update(object), Some(kept))
                if object["metadata"]["resourceVersion"] == kept["metadata"]["resourceVersion"] =>
            {
                Some(self.take(object))
            }
            _ => None,
        }
    }

    fn holder(&self) -> &str {
        self.lease.as_ref().map(holder).unwrap_or_default()
    }
}

fn wall(now: Millis) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000) + Duration::from_millis(now)
}

fn candidate(name: &str) -> Election {
    Election::new(name.to_owned(), PACE)
}

/// One attempt, as the elector makes it; `skew`: how far this node's clock is ahead.
fn attempt(one: &mut Election, server: &mut Server, now: Millis, skew: Millis) {
    if !one.leads(now) {
        one.observe(server.lease.clone(), now, wall(now + skew));
    }
    let Some(step) = one.step("l", now, wall(now + skew)) else { return };
    match server.send(step) {
        Some(object) => one.taken(object, now),
        None => one.observe(server.lease.clone(), now, wall(now + skew)),
    }
}

#[test]
fn the_first_one_leads_and_the_second_waits_until_the_lease_was_not_renewed() {
    let (mut a, mut b, mut server) = (candidate("a"), candidate("b"), Server::default());
    attempt(&mut a, &mut server, 1_000, 0);
    assert!(a.leads(1_000));
    attempt(&mut b, &mut server, 1_500, 0);
    assert!(!b.leads(1_500) && server.holder() == "a");
    attempt(&mut a, &mut server, 3_000, 0);
    for now in [4_000, 10_000, 18_999] {
        attempt(&mut b, &mut server, now, 0);
        assert_eq!((b.leads(now), server.holder()), (false, "a"), "{now}");
    }
    // 15 s after the change was seen, whatever the times in it say.
    attempt(&mut b, &mut server, 19_000, 0);
    assert!(b.leads(19_000) && server.holder() == "b");
    let lease = server.lease.unwrap();
    assert_eq!((&lease["metadata"]["name"], &lease["kind"]), (&json!("l"), &json!("Lease")));
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 15);
    assert_eq!(lease["spec"]["acquireTime"], lease["spec"]["renewTime"]);
}

#[test]
fn a_leader_that_cannot_renew_stops_before_another_may_begin() {
    let (mut a, mut server) = (candidate("a"), Server::default());
    attempt(&mut a, &mut server, 1_000, 0);
    assert!(a.leads(10_999) && !a.leads(11_000));
    // Its own Lease is renewed at once when the server is back, as long as it was not taken.
    attempt(&mut a, &mut server, 60_000, 0);
    assert!(a.leads(60_000));
    assert_eq!(server.lease.unwrap()["spec"]["leaseTransitions"], 0);
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let (mut a, mut b, mut server) = (candidate("a"), candidate("b"), Server::default());
    attempt(&mut a, &mut server, 1_000, 0);
    attempt(&mut b, &mut server, 1_100, 0);
    assert_eq!(b.released(wall(0)), None, "it is another's");
    let released = a.released(wall(2_000)).unwrap();
    assert_eq!(released["spec"]["leaseDurationSeconds"], 1);
    server.send(Step::Update(released)).unwrap();
    assert_eq!(server.holder(), "");
    attempt(&mut b, &mut server, 2_100, 0);
    assert!(b.leads(2_100) && server.holder() == "b");
    // A renewal of the first one that was under way is of an old version.
    attempt(&mut a, &mut server, 2_200, 0);
    assert!(!a.leads(2_200) && server.holder() == "b");
}

#[test]
fn clocks_that_differ_move_nothing() {
    let hour: Millis = 3_600_000;
    for skew in [hour, 0] {
        let (mut a, mut b, mut server) = (candidate("a"), candidate("b"), Server::default());
        for step in 0..30 {
            let now = 1_000 + step * 2_000;
            // One of the two is an hour ahead.
            attempt(&mut a, &mut server, now, hour - skew);
            attempt(&mut b, &mut server, now + 500, skew);
            assert!(a.leads(now + 500) && !b.leads(now + 500), "{skew} {now}");
        }
    }
}

#[test]
fn what_others_keep_in_the_lease_stays() {
    let (mut a, mut server) = (candidate("a"), Server::default());
    let noted = json!({ "metadata": { "name": "l", "labels": { "k": "v" } },
        "spec": { "strategy": "OldestEmulationVersion" } });
    server.take(noted);
    attempt(&mut a, &mut server, 1_000, 0);
    let lease = server.lease.unwrap();
    assert!(a.leads(1_000) && lease["spec"]["holderIdentity"] == "a");
    assert_eq!(lease["metadata"]["labels"]["k"], "v");
    assert_eq!(lease["spec"]["strategy"], "OldestEmulationVersion");
}

#[test]
fn nonsense_in_a_lease_is_taken_for_one_that_is_over_or_respected() {
    let of = |spec: Value| {
        let (mut a, mut server) = (candidate("a"), Server::default());
        server.take(json!({ "metadata": { "name": "l" }, "spec": spec }));
        attempt(&mut a, &mut server, 1_000, 0);
        a.leads(1_000)
    };
    assert!(of(json!(null)) && of(json!({ "holderIdentity": 5 })));
    assert!(of(json!({ "holderIdentity": "z", "leaseDurationSeconds": -3 })));
    assert!(!of(json!({ "holderIdentity": "z", "leaseDurationSeconds": u64::MAX })));
}

#[test]
fn the_more_candidates_the_rarer_each_asks_but_one_that_suspects_asks_in_time() {
    let (mut a, mut b, mut server) = (candidate("a"), candidate("b"), Server::default());
    attempt(&mut a, &mut server, 1_000, 0);
    assert_eq!(a.wait(1_000, 5_000, 1.0), PACE.retry, "who leads renews");
    attempt(&mut b, &mut server, 1_000, 0);
    assert_eq!(b.wait(1_000, 2, 0.0), PACE.retry);
    assert_eq!(b.wait(1_000, 2, 1.0), PACE.retry.mul_f64(2.2));
    assert_eq!(b.wait(1_000, 5_000, 0.0), PACE.retry * 1_250);
    // The record has not changed since the last look: 15 s after it was seen it is over.
    attempt(&mut b, &mut server, 6_000, 0);
    assert_eq!(b.wait(6_000, 5_000, 0.0), Duration::from_secs(10));
    // Times in it that are long past are a reason, too, until they were wrong once.
    let (mut c, now) = (candidate("c"), 40_000);
    attempt(&mut c, &mut server, now, 0);
    assert_eq!(c.wait(now, 5_000, 0.0), PACE.lease);
    attempt(&mut a, &mut server, now, 0);
    attempt(&mut c, &mut server, now + 14_000, 3_600_000);
    assert!(c.wait(now + 14_000, 5_000, 0.0) > Duration::from_secs(600));
}

proptest! {
    /// Candidates look when they like, answers get lost, clocks are wrong: two never lead together.
    #[test]
    fn two_never_lead_together(steps in prop::collection::vec((0..3_usize, 1..4_000_u64, any::<bool>()), 1..200)) {
        let mut server = Server::default();
        let mut all = [candidate("a"), candidate("b"), candidate("c")];
        let mut now = 1;
        for (who, wait, lost) in steps {
            now += wait;
            let skew = who as u64 * 1_000_000;
            if lost {
                // It was taken, and the answer never came.
                let one = &mut all[who];
                if !one.leads(now) {
                    one.observe(server.lease.clone(), now, wall(now + skew));
                }
                if let Some(step) = one.step("l", now, wall(now + skew)) {
                    server.send(step);
                }
            } else {
                attempt(&mut all[who], &mut server, now, skew);
            }
            let leaders = all.iter().filter(|one| one.leads(now)).count();
            prop_assert!(leaders <= 1, "{leaders} at {now}");
        }
    }
}
