//! Which Ingresses are served.

use std::{collections::BTreeSet, sync::Arc};

use towpath_model::{Ingress, IngressClass, ObjectName, View};

use crate::BackendRef;

/// What the configuration says about routes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// `spec.controller` of classes that are served.
    pub controllers: BTreeSet<String>,
    /// Values of the annotation `kubernetes.io/ingress.class` that are served. It is compared with these
    /// and never with classes.
    pub class_annotations: BTreeSet<String>,
    /// Serve Ingresses that name no class.
    pub without_class: bool,
    /// An Ingress that names no class has the class that is marked as default. An API server's admission
    /// writes it into the object; where there is none, in a directory of manifests, it is read so.
    pub infer_default_class: bool,
    /// Plain requests of hosts with a certificate are sent to HTTPS, unless an Ingress says otherwise.
    pub ssl_redirect: bool,
    /// Where requests go that no rule matches.
    pub default_backend: Option<BackendRef>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            controllers: BTreeSet::from(["towpath.io/ingress".to_owned()]),
            class_annotations: BTreeSet::from(["towpath".to_owned()]),
            without_class: false,
            infer_default_class: false,
            ssl_redirect: true,
            default_backend: None,
        }
    }
}

/// The classes at one commit.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Classes {
    /// Names of those that are served.
    ours: BTreeSet<Arc<str>>,
    /// Is the default class among them?
    default: bool,
}

impl Classes {
    pub(crate) fn of(view: &View<'_>, settings: &Settings) -> Self {
        let serves = |class: &IngressClass| settings.controllers.contains(&*class.controller);
        let all = || view.ingress_classes().map(|class| &**class);
        let ours =
            all().filter(|class| serves(class)).map(|class| Arc::clone(&class.meta.name.name));
        // Of several defaults the newest counts, as in newer API servers; of one second, the first name.
        let newest = |class: &&IngressClass| {
            (class.meta.created.clone(), std::cmp::Reverse(class.meta.name.clone()))
        };
        let default = all().filter(|class| class.is_default).max_by_key(newest);
        Self { ours: ours.collect(), default: default.is_some_and(serves) }
    }

    /// Is this Ingress served? One that names a class which is not there (yet) is not.
    pub(crate) fn serve(&self, ingress: &Ingress, settings: &Settings) -> bool {
        match (&ingress.class, &ingress.class_annotation) {
            (Some(class), _) => self.ours.contains(&**class),
            (None, Some(class)) => settings.class_annotations.contains(&**class),
            (None, None) => {
                settings.without_class || (settings.infer_default_class && self.default)
            }
        }
    }
}

/// The order of conflicts: the oldest wins, then the first name. Times are RFC 3339 in UTC, which sorts
/// as text.
pub(crate) type Age = (Box<str>, ObjectName);

pub(crate) fn age(ingress: &Ingress) -> Age {
    (ingress.meta.created.clone(), ingress.meta.name.clone())
}
