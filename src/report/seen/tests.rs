use proptest::prelude::*;
use serde_json::{Value, json};
use towpath_model::{Event, Kind, Store, Stream, decode};

use super::*;

/// What the API has, and what is seen of it.
struct Bed {
    store: Store,
    seen: Seen,
}

fn entries(ips: &[&str]) -> Vec<Value> {
    ips.iter().map(|ip| json!({ "ip": ip })).collect()
}

fn set(ips: &[&str]) -> Vec<Published> {
    let one = |ip: &&str| Published { hostname: "".into(), ip: (*ip).into() };
    ips.iter().map(one).collect()
}

impl Bed {
    fn new() -> Self {
        let mut store = Store::new("n");
        for stream in [Stream::all(Kind::Ingress), Stream::all(Kind::Node)] {
            store.feed(Event::Init(stream.clone()));
            store.feed(Event::InitDone(stream));
        }
        Self { store, seen: Seen::default() }
    }

    /// An Ingress of class `ours` is served, one of another is not.
    fn put(&mut self, name: &str, uid: &str, class: &str, ips: &[&str]) {
        let object = json!({ "metadata": { "name": name, "namespace": "n", "uid": uid },
            "spec": { "ingressClassName": class },
            "status": { "loadBalancer": { "ingress": entries(ips) } } });
        let object = decode(Kind::Ingress, object.to_string().as_bytes()).unwrap();
        self.store.feed(Event::Apply(object));
        self.look(name);
    }

    fn delete(&mut self, name: &str) {
        self.store.feed(Event::Delete(Kind::Ingress, ObjectName::new("n", name)));
        self.look(name);
    }

    fn look(&mut self, name: &str) {
        let name = ObjectName::new("n", name);
        let (view, _) = self.store.commit();
        let ours = view.ingress(&name).is_some_and(|it| it.class.as_deref() == Some("ours"));
        let (served, gone) = if ours { (Some(&name), None) } else { (None, Some(&name)) };
        self.seen.ingresses(&view, served, gone);
    }

    /// Its class went away, the Ingress did not change.
    fn unserve(&mut self, name: &str) {
        let name = ObjectName::new("n", name);
        let (view, _) = self.store.commit();
        self.seen.ingresses(&view, None, Some(&name));
    }

    /// The writes that are due: `+name`, or `-name` to take back.
    fn due(&self, ips: &[&str]) -> String {
        let due = self.seen.due(&set(ips), |_| false, (None, usize::MAX));
        let word =
            |due: &Due| format!("{}{} ", if due.publish { "+" } else { "-" }, due.name().name);
        due.iter().map(word).collect()
    }
}

const US: [&str; 2] = ["10.0.0.1", "10.0.0.2"];

#[test]
fn what_differs_is_written_and_what_is_equal_is_not() {
    let mut bed = Bed::new();
    bed.put("a", "1", "ours", &[]);
    bed.put("b", "2", "ours", &["10.0.0.2", "10.0.0.1"]);
    bed.put("c", "3", "ours", &["10.0.0.1"]);
    bed.put("d", "4", "theirs", &["192.0.2.1"]);
    bed.put("e", "5", "ours", &["10.0.0.1", "10.0.0.1", "10.0.0.2"]);
    assert_eq!(bed.due(&US), "+a +c +e ");
    assert_eq!(
        bed.seen.due(&set(&US), |name| &*name.name == "a", (None, 1))[0].name().name.as_ref(),
        "c"
    );
    let behind = |name: &str| {
        let after = ObjectName::new("n", name);
        bed.seen.due(&set(&US), |_| false, (Some(&after), 1))[0].name().name.to_string()
    };
    assert_eq!([behind("a"), behind("c"), behind("e")], ["c", "e", "a"], "around");
    assert_eq!(bed.due(&[]), "", "no address is known: nothing is taken back");
    bed.delete("a");
    assert_eq!(bed.due(&US), "+c +e ");
}

#[test]
fn an_ingress_that_is_given_to_another_class_loses_exactly_what_we_published() {
    let mut bed = Bed::new();
    bed.put("a", "1", "ours", &US);
    bed.put("a", "1", "theirs", &US);
    assert_eq!(bed.due(&US), "-a ");
    assert_eq!(bed.due(&["10.0.0.1"]), "", "it shows other addresses than ours are now");
    // Its new controller wrote: it is none of our business, whatever it writes next.
    bed.put("a", "1", "theirs", &["192.0.2.1"]);
    bed.put("a", "1", "theirs", &US);
    assert_eq!(bed.due(&US), "");
    // One that comes back is served as before.
    bed.put("a", "1", "ours", &US);
    bed.put("a", "1", "theirs", &US);
    bed.put("a", "1", "ours", &[]);
    assert_eq!(bed.due(&US), "+a ");
}

#[test]
fn an_ingress_that_was_never_ours_is_never_written() {
    let mut bed = Bed::new();
    bed.put("a", "1", "theirs", &US);
    bed.put("b", "2", "theirs", &[]);
    bed.put("b", "2", "others", &[]);
    // Before we published anything it was taken away again.
    bed.put("c", "3", "ours", &["192.0.2.1"]);
    bed.put("c", "3", "theirs", &["192.0.2.1"]);
    assert_eq!(bed.due(&US), "");
    // A new object of the same name is not the one that left.
    bed.put("d", "4", "ours", &US);
    bed.put("d", "4", "theirs", &US);
    bed.put("d", "5", "theirs", &US);
    assert_eq!(bed.due(&US), "");
}

#[test]
fn a_class_that_goes_away_takes_nothing_along() {
    let mut bed = Bed::new();
    bed.put("a", "1", "ours", &US);
    bed.unserve("a");
    assert_eq!(bed.due(&US), "");
}

#[test]
fn a_write_is_for_the_object_that_was_seen() {
    let mut bed = Bed::new();
    bed.put("a", "1", "ours", &US);
    bed.put("b", "2", "ours", &[]);
    bed.put("a", "1", "theirs", &US);
    let due = bed.seen.due(&set(&US), |_| false, (None, 9));
    let [back, publish] = &due[..] else { panic!("{due:?}") };
    let fresh = |uid: &str, class: &str, ips: &[&str]| {
        let mut other = Bed::new();
        other.put("x", uid, class, ips);
        let view = other.store.view();
        Arc::clone(view.ingress(&ObjectName::new("n", "x")).unwrap())
    };
    assert!(publish.publish && publish.is_of(&fresh("2", "ours", &["192.0.2.1"])));
    assert!(!publish.is_of(&fresh("2", "theirs", &[])), "it went to another class meanwhile");
    assert!(!publish.is_of(&fresh("3", "ours", &[])), "another object of the name");
    assert!(!back.publish && back.is_of(&fresh("1", "theirs", &US)));
    assert!(!back.is_of(&fresh("1", "theirs", &["192.0.2.1"])), "its controller wrote already");
    assert_eq!((publish.wanted(&set(&US)).len(), back.wanted(&set(&US)).len()), (2, 0));
}

proptest! {
    /// Whatever happened before: once what is due is written, nothing is.
    #[test]
    fn writing_what_is_due_leaves_nothing_due(
        steps in prop::collection::vec((0..4_usize, 0..3_usize, 0..4_usize, any::<bool>()), 0..40),
    ) {
        let (mut bed, shows) = (Bed::new(), [&US[..], &US[..1], &["192.0.2.1"], &[]]);
        for (which, class, shown, deleted) in steps {
            let name = ["a", "b", "c", "d"][which];
            match deleted {
                true if which == 0 => bed.delete(name),
                _ => bed.put(name, name, ["ours", "theirs", "ours"][class], shows[shown]),
            }
        }
        let before: Vec<_> = bed.store.view().ingresses().cloned().collect();
        let due = bed.seen.due(&set(&US), |_| false, (None, usize::MAX));
        for due in &due {
            prop_assert!(due.is_of(&due.ingress));
            let class = due.ingress.class.clone().unwrap();
            let ips = if due.publish { &US[..] } else { &[] };
            prop_assert_eq!(due.publish, &*class == "ours");
            bed.put(&due.name().name, &due.ingress.meta.uid, &class, ips);
        }
        prop_assert_eq!(bed.due(&US), "");
        let view = bed.store.view();
        for was in before {
            let now = view.ingress(&was.meta.name).unwrap();
            let ours = now.class.as_deref() == Some("ours");
            if ours {
                prop_assert_eq!(&*now.published, &set(&US)[..]);
            } else {
                let kept = now.published == was.published;
                prop_assert!(kept || (now.published.is_empty() && *was.published == set(&US)[..]));
            }
        }
    }
}
