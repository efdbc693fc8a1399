//! What statuses of several kinds have in common.

use serde::Deserialize;

use super::map::maps_or_null;

/// An entry of `status.conditions`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Condition {
    r#type: Option<String>,
    status: Option<String>,
}

/// Does the condition `Ready` say `True`? `None`: there is no such condition.
pub(super) fn ready(conditions: &[Condition]) -> Option<bool> {
    let ready = conditions.iter().find(|it| it.r#type.as_deref() == Some("Ready"))?;
    Some(ready.status.as_deref() == Some("True"))
}

/// `status.loadBalancer`, with entries as a kind reads them.
#[derive(Debug, Deserialize)]
#[serde(default, bound = "T: Deserialize<'de>")]
pub(super) struct LoadBalancer<T> {
    #[serde(deserialize_with = "maps_or_null")]
    pub(super) ingress: Option<Vec<T>>,
}

impl<T> Default for LoadBalancer<T> {
    fn default() -> Self {
        Self { ingress: None }
    }
}
