//! Services that `towpath services` does not find among those that are routed, and why.

use towpath_model::{Key, Kind, ObjectName, Problem};
use towpath_proxy::NotRouted;

use super::is_meant;
use crate::{
    api::services::NotRoutedReply,
    reconcile::{Asked, Part, portion},
    services::{NEEDS, Services},
};

/// Streams that Services need and that were not listed yet.
pub(super) fn unlisted(asked: &Asked<'_, Services>) -> Vec<String> {
    let needs = NEEDS;
    let unlisted = needs.iter().filter(|stream| !asked.view.listed(stream));
    unlisted.map(ToString::to_string).collect()
}

/// Services that cannot be read, in portions.
pub(super) fn unread(
    asked: &Asked<'_, Services>,
    name: Option<&str>,
    from: Option<Key>,
) -> Part<Vec<NotRoutedReply>, Key> {
    let (view, mut found) = (&asked.view, Vec::new());
    let next = portion(view.unread_after(from.as_ref()), |key| {
        if key.kind == Kind::Service && name.is_none_or(|name| is_meant(name, &key.name)) {
            // Every object that was not read has a problem.
            let why = view.unreadable(key).map(Problem::coded).unwrap_or_default();
            found.push(NotRoutedReply { name: key.name.to_string(), why, wrong: true });
        }
        key.clone()
    });
    (found, next)
}

/// Services that are withheld: their identity is another's. There is one in a billion.
pub(super) fn withheld(asked: &Asked<'_, Services>, name: Option<&str>) -> Vec<NotRoutedReply> {
    let withheld = asked.runner.area().plan.withheld().iter();
    let withheld = withheld.filter(|(service, _)| name.is_none_or(|name| is_meant(name, service)));
    let reply = |(service, older): (&ObjectName, &ObjectName)| NotRoutedReply {
        name: service.to_string(),
        why: format!("the names of its ports have the hash of those of {older}"),
        wrong: true,
    };
    withheld.map(reply).collect()
}

/// Of the Services that need not be routed those of this name, in portions.
pub(super) fn by_choice(
    asked: &Asked<'_, Services>,
    name: &str,
    from: Option<ObjectName>,
) -> Part<Vec<NotRoutedReply>, ObjectName> {
    let (view, mut found) = (&asked.view, Vec::new());
    let next = portion(view.services_after(from.as_ref()), |service| {
        let full = &service.meta.name;
        if is_meant(name, full)
            && let Some(why) = NotRouted::of(service)
        {
            let key = Key { kind: Kind::Service, name: full.clone() };
            let newest = view.unreadable(&key).map(|problem| format!("; {}", problem.coded()));
            let wrong = newest.is_some();
            let why = format!("{why}{}", newest.unwrap_or_default());
            found.push(NotRoutedReply { name: full.to_string(), why, wrong });
        }
        full.clone()
    });
    (found, next)
}
