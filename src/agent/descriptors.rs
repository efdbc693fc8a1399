//! Open files: as many as this process may have.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What a process has where nothing is said.
const USUAL: u64 = 1_024;

/// Raises the limit as far as it goes: the low one is for programs that use select(), and every
/// healthCheckNodePort, connection and watch takes one.
pub(super) fn raise() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// How many this process may have.
pub(super) fn limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(USUAL, |(now, _)| now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_as_high_as_it_may_be() {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, most - 1, most).unwrap();
        assert_eq!(limit(), most - 1);
        raise();
        assert_eq!(limit(), most);
    }
}
