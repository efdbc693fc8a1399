//! IngressClass, trimmed.

use crate::{Meta, store::kept_by_meta};

/// An IngressClass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IngressClass {
    /// Metadata (no namespace).
    pub meta: Meta,
    /// `spec.controller`.
    pub controller: Box<str>,
    /// Annotation `ingressclass.kubernetes.io/is-default-class`. The API server's admission gives the
    /// class to an Ingress that is created without one; later it means nothing.
    pub is_default: bool,
}

kept_by_meta!(IngressClass);
