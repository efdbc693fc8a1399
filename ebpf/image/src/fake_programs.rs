//! Programs in memory that fail on order.

use crate::{Applied, Attachment, Attachments, KernelError, Programs};

/// The same door as the live one, without a kernel.
#[derive(Clone, Debug, Default)]
pub struct FakePrograms {
    /// What is in force. A test takes some away to play whoever detaches programs from outside.
    pub attached: Attachments,
    /// What was wanted last.
    pub wanted: Attachments,
    /// Whose maps these are; 0: not known.
    pub cluster: u64,
    /// Why the next [`Programs::heal`] fails, once, whatever is in force.
    pub unhealed: Option<KernelError>,
    /// Links that are made or removed before the next failure; `None`: none fails.
    fail_after: Option<usize>,
    failure: Option<KernelError>,
}

impl FakePrograms {
    /// Making or removing the link after the next `successes` fails with `failure`, once.
    pub fn fail_after(&mut self, successes: usize, failure: KernelError) {
        self.fail_after = Some(successes);
        self.failure = Some(failure);
    }

    /// Takes a program out of force behind the daemon's back; was it?
    pub fn detach(&mut self, what: &Attachment) -> bool {
        self.attached.remove(what)
    }

    /// The failure that is due with one more link.
    fn due(&mut self) -> Result<(), KernelError> {
        match &mut self.fail_after {
            None => Ok(()),
            Some(0) => {
                self.fail_after = None;
                self.failure.take().map_or(Ok(()), Err)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// Makes what is missing; answers what came into force, and the first failure.
    fn make(&mut self) -> (Vec<String>, Option<KernelError>) {
        let (mut made, mut failures) = (Vec::new(), Vec::new());
        let missing: Vec<_> = self.wanted.difference(&self.attached).copied().collect();
        for what in missing {
            if failures.iter().any(|(at, _)| *at == what.at) {
                continue;
            }
            match self.due() {
                Ok(()) => {
                    self.attached.insert(what);
                    made.push(what.to_string());
                }
                Err(failure) => failures.push((what.at, failure)),
            }
        }
        (made, failures.into_iter().next().map(|(_, failure)| failure))
    }
}

impl Programs for FakePrograms {
    fn bind(&mut self, cluster: u64) -> Result<(), KernelError> {
        if self.cluster != 0 && self.cluster != cluster {
            return Err(KernelError::OtherCluster { place: "memory".to_owned() });
        }
        self.cluster = cluster;
        Ok(())
    }

    fn heal(&mut self) -> Result<Vec<String>, KernelError> {
        if let Some(failure) = self.unhealed.take() {
            return Err(failure);
        }
        let (made, failure) = self.make();
        failure.map_or(Ok(made), Err)
    }

    fn attach(&mut self, wanted: &Attachments) -> Applied {
        self.wanted.clone_from(wanted);
        let (_, mut failure) = self.make();
        let unwanted: Vec<_> = self.attached.difference(wanted).copied().collect();
        for what in unwanted.into_iter().rev() {
            match self.due() {
                Ok(()) => {
                    self.attached.remove(&what);
                }
                Err(cause) => {
                    failure.get_or_insert(cause);
                }
            }
        }
        let done = self.attached.intersection(wanted).count();
        Applied { done, failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{At, Hook, HookKind};

    fn refused() -> KernelError {
        KernelError::Detached { program: "connect4".into(), cause: "on order".into() }
    }

    #[test]
    fn the_first_cluster_keeps_the_maps() {
        let mut programs = FakePrograms::default();
        assert_eq!((programs.bind(7), programs.bind(7)), (Ok(()), Ok(())));
        assert!(matches!(programs.bind(8), Err(KernelError::OtherCluster { .. })));
        assert_eq!(programs.cluster, 7);
    }

    #[test]
    fn exactly_what_is_wanted_is_in_force() {
        let mut programs = FakePrograms::default();
        let all = Attachment::of_sockets();
        assert_eq!(programs.attach(&all), Applied { done: 8, failure: None });
        let half: Attachments = all.iter().take(4).copied().collect();
        assert_eq!(programs.attach(&half), Applied { done: 4, failure: None });
        assert_eq!(programs.attached, half);
        assert_eq!(programs.heal(), Ok(Vec::new()), "what is not wanted stays away");
    }

    #[test]
    fn a_failure_ends_its_own_place_only() {
        let at = |device| Attachment {
            at: At::Device(device),
            hook: Hook::new(0, HookKind::Cgroup, "in"),
        };
        let mut wanted = Attachment::of_sockets();
        wanted.extend([at(1), at(2)]);
        let mut programs = FakePrograms::default();
        programs.fail_after(3, refused());
        assert_eq!(programs.attach(&wanted), Applied { done: 5, failure: Some(refused()) });
        assert!(programs.attached.contains(&at(1)) && programs.attached.contains(&at(2)));
        assert_eq!(programs.attach(&wanted), Applied { done: 10, failure: None });
    }

    #[test]
    fn what_was_detached_from_outside_comes_back() {
        let mut programs = FakePrograms::default();
        let all = Attachment::of_sockets();
        programs.attach(&all);
        let connect4 = *all.iter().nth(6).unwrap();
        assert!(programs.detach(&connect4) && !programs.detach(&connect4));
        programs.fail_after(0, refused());
        assert_eq!(programs.heal(), Err(refused()));
        assert_eq!(programs.heal(), Ok(vec!["connect4".to_owned()]));
        programs.unhealed = Some(refused());
        assert_eq!((programs.heal(), programs.heal()), (Err(refused()), Ok(Vec::new())));
    }
}
