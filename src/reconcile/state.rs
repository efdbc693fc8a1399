//! What the loop owns.

/// Store, plan, layout, ledger and the kernel door.
#[derive(Debug)]
pub struct State {}
