//! Settings: as typed, then resolved.
