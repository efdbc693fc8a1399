//! Programs in memory that fail on order.

use crate::{Applied, Attachment, Attachments, KernelError, Programs, attachments::Made};

/// The same door as the live one, without a kernel.
#[derive(Clone, Debug, Default)]
pub struct FakePrograms {
    /// What is in force. A test takes some away to play a program that detaches others from outside.
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

    /// Makes one more link, or removes one.
    fn change(&mut self, what: Attachment, wanted: bool) -> Result<bool, KernelError> {
        let due = self.fail_after == Some(0);
        self.fail_after = self.fail_after.and_then(|left| left.checked_sub(1));
        if let Some(failure) = self.failure.take_if(|_| due) {
            return Err(failure);
        }
        let changed = if wanted { self.attached.insert(what) } else { self.attached.remove(&what) };
        Ok(changed)
    }

    fn make(&mut self, in_turn: bool) -> Made {
        let missing = &self.wanted - &self.attached;
        Made::each(missing, in_turn, |what| self.change(*what, true))
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
        let Made { done, failure } = self.make(false);
        failure.map_or(Ok(done), Err)
    }

    fn attach(&mut self, wanted: &Attachments) -> Applied {
        self.wanted.clone_from(wanted);
        let made = self.make(true);
        let unwanted = (&self.attached - wanted).into_iter().rev();
        let removed = Made::each(unwanted, false, |what| self.change(*what, false));
        let failure = made.failure.or(removed.failure);
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
        assert!(all.iter().all(|what| programs.detach(what)));
        programs.fail_after(0, refused());
        assert_eq!(programs.heal(), Err(refused()), "the others come back all the same");
        assert_eq!(programs.heal().map(|back| back.len()), Ok(1));
        programs.unhealed = Some(refused());
        assert_eq!((programs.heal(), programs.heal()), (Err(refused()), Ok(Vec::new())));
    }
}
