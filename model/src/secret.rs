//! Secret, trimmed to a certificate, its key and an authority.

use std::fmt;

use crate::{Meta, store::kept_by_meta};

/// A Secret, as far as it is a certificate. Other entries are never kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secret {
    /// Metadata.
    pub meta: Meta,
    /// `data["tls.crt"]`: certificates in PEM, the leaf first; empty when absent.
    pub certificate: Box<[u8]>,
    /// `data["tls.key"]`: the private key in PEM; empty when absent.
    pub key: SecretBytes,
    /// `data["ca.crt"]`: certificates of authorities in PEM; empty when absent.
    pub authority: Box<[u8]>,
}

kept_by_meta!(Secret);

/// Bytes that no message, log or dump may show.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SecretBytes(Box<[u8]>);

impl SecretBytes {
    /// The bytes, for what needs them.
    #[must_use]
    pub const fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "absent" } else { "hidden" })
    }
}
