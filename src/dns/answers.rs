//! What a name is answered, for `towpath explain`.

use std::sync::Arc;

use towpath_dns::{Told, ask};
use towpath_model::{Changes, ObjectName, View};
use towpath_zone::{Name, Settings, Snapshot, Zones};

use super::Dns;

/// The cluster's names.
#[derive(Clone, Debug)]
pub struct Names {
    snapshot: Arc<Snapshot>,
    /// The Service at which they are asked.
    pub service: ObjectName,
}

impl Dns {
    /// The names as they are served.
    #[must_use]
    pub fn names(&self) -> Names {
        let (snapshot, service) = self.published();
        Names { snapshot, service }
    }
}

impl Names {
    /// From what is known, without a daemon; `None`: no cluster can have this domain.
    #[must_use]
    pub fn of(view: &View<'_>, domain: &str) -> Option<Self> {
        let settings = Settings::of_domain(Name::parse(domain)?);
        let service = settings.service.clone();
        let mut zones = Zones::new(settings)?;
        zones.update(view, &Changes::default(), 0);
        Some(Self { snapshot: Arc::new(zones.snapshot().clone()), service })
    }

    /// The cluster's domain, without a last dot.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.snapshot.domain_text().trim_end_matches('.')
    }

    /// What a name has, by family; `None`: it is no name.
    #[must_use]
    pub fn ask(&self, name: &str) -> Option<[Told; 2]> {
        let name = Name::parse(name)?;
        Some([false, true].map(|v6| ask(&self.snapshot, &name, v6)))
    }
}
