//! What many objects have in common, kept once.

use std::{collections::BTreeSet, sync::Arc};

use crate::pod::PodTemplate;

/// Unused entries are looked for from so many on, and then whenever their number has doubled.
const SWEEP_MIN: usize = 64;

/// Texts and templates that are in use, and some that were.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    texts: BTreeSet<Arc<str>>,
    templates: BTreeSet<Arc<PodTemplate>>,
    /// How many were in use when that was last looked for.
    used: usize,
}

impl Pool {
    /// Exchanges a text for the one that is kept.
    pub(crate) fn text(&mut self, text: &mut Arc<str>) {
        share(&mut self.texts, text);
    }

    /// Exchanges a template for the one that is kept.
    pub(crate) fn template(&mut self, template: &mut Arc<PodTemplate>) {
        share(&mut self.templates, template);
        if self.len() >= SWEEP_MIN.max(self.used.saturating_mul(2)) {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.templates.retain(|template| Arc::strong_count(template) > 1);
            self.used = self.len();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len() + self.templates.len()
    }
}

fn share<T: Ord + ?Sized>(known: &mut BTreeSet<Arc<T>>, value: &mut Arc<T>) {
    match known.get(&**value) {
        Some(known) => *value = Arc::clone(known),
        None => drop(known.insert(Arc::clone(value))),
    }
}
