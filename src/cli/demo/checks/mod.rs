//! The checks. Each names its area and what its traffic proves: a check of traffic that passes while
//! its area is switched off proves nothing.

mod dns;
mod ingress;
mod packets;
mod policy;
mod services;

use std::{collections::BTreeSet, net::SocketAddr, time::Instant};

use anyhow::{Result, ensure};
use towpath_testbed::probe::Seen;

use super::{
    area::{Area, InForce},
    report::Report,
    scene::Scene,
};

/// The checked-in list (area, what it is, name): a check that silently does not run is found by
/// comparing with it.
const NAMES: &str = include_str!("names.txt");

/// What was seen. `Err`: it is not as it should be.
type Checked = Result<String, String>;

/// How a check looks. `Err`: the scene itself is broken.
type Run = Box<dyn Fn(&mut Scene) -> Result<Checked>>;

/// One check.
pub(super) struct Check {
    area: Area,
    what: What,
    name: String,
    run: Run,
}

/// What a check is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// Traffic that needs the area: fails while the area is off.
    Traffic,
    /// What must hold with the area on, and does not need it: nothing is asked of it while it is off.
    Besides,
}

impl Check {
    fn traffic(
        area: Area,
        name: impl Into<String>,
        run: impl Fn(&mut Scene) -> Result<Checked> + 'static,
    ) -> Self {
        Self { area, what: What::Traffic, name: name.into(), run: Box::new(run) }
    }

    fn besides(
        area: Area,
        name: impl Into<String>,
        run: impl Fn(&mut Scene) -> Result<Checked> + 'static,
    ) -> Self {
        Self { what: What::Besides, ..Self::traffic(area, name, run) }
    }

    fn runs(&self, in_force: InForce) -> bool {
        match in_force {
            InForce::All => true,
            InForce::Without(area) => self.what == What::Traffic && self.area == area,
            InForce::WithoutPrograms => self.what == What::Traffic,
        }
    }

    /// Its line in the checked-in list.
    fn line(&self) -> String {
        let what = match self.what {
            What::Traffic => "traffic",
            What::Besides => "besides",
        };
        format!("{} {what}: {}", self.area.name(), self.name)
    }
}

/// Asks until every endpoint of `to` has answered; each answer must seem to come from the frontend.
fn reaches_all(to: SocketAddr, mut ask: impl FnMut() -> Result<Seen>) -> Result<Checked> {
    let mut names = BTreeSet::new();
    for tries in 1..=60 {
        let seen = ask()?;
        if seen.outcome != "ok" {
            return Ok(Err(format!("{to}: {}", seen.outcome)));
        }
        if seen.peer != Some(to) {
            return Ok(Err(format!("{to}: the peer seems to be {:?}", seen.peer)));
        }
        names.insert(seen.name);
        if names.len() == 3 {
            return Ok(Ok(format!("{to}: all 3 endpoints in {tries} tries")));
        }
    }
    Ok(Err(format!("{to}: 60 tries reached only {names:?}")))
}

/// Every check of every area, in the order in which they run.
fn all(scene: &Scene) -> Vec<Check> {
    let mut checks = services::checks(scene);
    checks.extend(packets::checks(scene));
    checks.extend(dns::checks(scene));
    checks.extend(policy::checks());
    checks.extend(ingress::checks());
    checks
}

/// Runs those that can tell something about what is in force.
pub(super) fn run(scene: &mut Scene, report: &mut Report, in_force: InForce) -> Result<()> {
    report.say("checking with real traffic ...");
    let checks = all(scene);
    let known: BTreeSet<&str> = NAMES.lines().collect();
    let lines: Vec<String> = checks.iter().map(Check::line).collect();
    let there: BTreeSet<&str> = lines.iter().map(String::as_str).collect();
    ensure!(
        known == there,
        "the checks are not those of names.txt: {:#?}",
        known.symmetric_difference(&there).collect::<Vec<_>>()
    );
    for check in checks.iter().filter(|check| check.runs(in_force)) {
        let began = Instant::now();
        let result = (check.run)(scene)?;
        report.check(check.area, &check.name, began, result);
    }
    Ok(())
}
