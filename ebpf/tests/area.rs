//! A second area: an image of its own, defined outside the crate, on the fake and on the live kernel.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test; which of these occur differs between the binaries that share `support`"
)]

mod support;

use std::collections::BTreeMap;

use support::Bed;
use towpath_ebpf::{
    AreaMaps, Error, Hash, LiveImage, LiveMaps, LivePrograms, Mapped, Row, Settings, Table, open,
};
use towpath_image::{
    Applied, Batch, FakeKernel, Image, Kernel, KernelError, MapName, ServiceImage, ServiceOp,
    datapath::{FrontendKey, FrontendWord, protocol},
};

const RULES: MapName = MapName::new("RULES");
const ROWS: MapName = MapName::new("ROWS");
const RULES_MAX: u32 = 4;
const ROWS_MAX: u32 = 8;

/// Which row a rule has, and the rows.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Rules {
    rules: BTreeMap<u64, u64>,
    rows: [u64; ROWS_MAX as usize],
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Op {
    Put(u64, u64),
    Delete(u64),
    Store(u32, u64),
}

impl Image for Rules {
    type Op = Op;

    fn apply(&mut self, op: &Op) -> Result<(), KernelError> {
        match op {
            Op::Put(rule, row) => {
                if self.rules.len() == RULES_MAX as usize && !self.rules.contains_key(rule) {
                    return Err(KernelError::full(RULES, RULES_MAX));
                }
                self.rules.insert(*rule, *row);
            }
            Op::Delete(rule) => {
                self.rules.remove(rule);
            }
            Op::Store(row, word) => {
                let held = self.rows.get_mut(*row as usize);
                *held.ok_or(KernelError::full(ROWS, ROWS_MAX))? = *word;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct RuleMaps {
    rules: Hash<u64, u64>,
    rows: Mapped<u64>,
}

impl LiveImage for Rules {
    const TABLE: Table = Table {
        area: "rules",
        rows: &[Row::hash::<u64, u64>(RULES, |_| RULES_MAX), Row::array::<u64>(ROWS, |_| ROWS_MAX)],
    };
    type Maps = RuleMaps;

    fn open(maps: &AreaMaps<'_>) -> Result<RuleMaps, KernelError> {
        Ok(RuleMaps { rules: maps.map(RULES)?.hash()?, rows: maps.map(ROWS)?.array()? })
    }

    fn read(maps: &RuleMaps) -> Result<Self, KernelError> {
        let rows = std::array::from_fn(|row| maps.rows.get(u32::try_from(row).unwrap()).unwrap());
        Ok(Self { rules: maps.rules.all()?.into_iter().collect(), rows })
    }

    fn write(maps: &RuleMaps, ops: &[Op]) -> (usize, Option<KernelError>) {
        let failure = match &ops[0] {
            Op::Put(rule, row) => maps.rules.put(&[*rule], &[*row]).1,
            Op::Delete(rule) => maps.rules.delete(rule).err(),
            Op::Store(row, word) => {
                let stored = maps.rows.store_word(*row, 0, *word);
                (!stored).then_some(KernelError::full(ROWS, ROWS_MAX))
            }
        };
        (usize::from(failure.is_none()), failure)
    }
}

fn apply(kernel: &mut dyn Kernel<Rules>, ops: Vec<Op>) -> Applied {
    kernel.apply(&Batch { ops })
}

fn what_is_written_is_read(kernel: &mut dyn Kernel<Rules>) {
    let ops = vec![Op::Put(1, 2), Op::Put(9, 3), Op::Store(7, 5), Op::Delete(1), Op::Delete(77)];
    let mut wanted = Rules::default();
    ops.iter().for_each(|op| wanted.apply(op).unwrap());
    assert_eq!(apply(kernel, ops), Applied { done: 5, failure: None });
    assert_eq!(kernel.read().unwrap(), wanted);
}

fn a_failure_leaves_the_prefix(kernel: &mut dyn Kernel<Rules>) {
    let applied = apply(kernel, (0..9).map(|rule| Op::Put(rule, 0)).collect());
    assert_eq!(applied, Applied { done: 4, failure: Some(KernelError::full(RULES, 4)) });
    let applied = apply(kernel, vec![Op::Put(3, 1), Op::Store(8, 1), Op::Put(2, 1)]);
    assert_eq!(applied, Applied { done: 1, failure: Some(KernelError::full(ROWS, 8)) });
    let held = kernel.read().unwrap().rules;
    assert_eq!(held, BTreeMap::from([(0, 0), (1, 0), (2, 0), (3, 1)]));
}

fn opened(settings: &Settings) -> Result<(LivePrograms, LiveMaps<Rules>), Error> {
    let programs = LivePrograms::open(settings, &[&Rules::TABLE])?;
    let rules = programs.maps()?;
    Ok((programs, rules))
}

fn live(name: &str, case: impl Fn(&mut dyn Kernel<Rules>)) {
    let bed = Bed::new(name);
    case(&mut opened(&bed.settings).expect("opens").1);
}

macro_rules! battery {
    ($($case:ident),+ $(,)?) => {
        mod on_the_fake_kernel {
            $(#[test]
            fn $case() {
                super::$case(&mut super::FakeKernel::default());
            })+
        }
        mod on_the_live_kernel {
            $(#[test]
            #[ignore = "needs root"]
            fn $case() {
                super::live(stringify!($case), |kernel| super::$case(kernel));
            })+
        }
    };
}

battery!(what_is_written_is_read, a_failure_leaves_the_prefix);

/// Each of two areas sees its own maps, and the next daemon adopts both.
#[test]
#[ignore = "needs root"]
fn two_areas_have_maps_of_their_own_behind_one_door() {
    let bed = Bed::new("two");
    let (programs, mut rules) = opened(&bed.settings).expect("opens");
    let mut services: LiveMaps<ServiceImage> = programs.maps().expect("its maps");
    let key = FrontendKey::vip(std::net::Ipv4Addr::new(10, 96, 0, 1).into(), 80, protocol::TCP);
    let put = ServiceOp::PutFrontend { key, word: FrontendWord::new(&key, 1, 0) };
    assert_eq!(services.apply(&Batch { ops: vec![put] }).failure, None);
    assert_eq!(rules.read().unwrap(), Rules::default());
    assert_eq!(apply(&mut rules, vec![Op::Put(1, 1)]).failure, None);
    assert_eq!(services.read().unwrap().frontends.len(), 1);
    let (of_rules, of_services) = (rules.read().unwrap(), services.read().unwrap());
    assert_eq!(rules.bytes(), 4 * 16 + 8 * 8);

    // Whichever area still writes, nothing else may.
    drop((programs, services));
    assert!(matches!(open(&bed.settings), Err(Error::Locked { .. })));
    assert_eq!(rules.reader().read().unwrap(), of_rules);
    drop(rules);
    let (programs, mut rules) = opened(&bed.settings).expect("adopts");
    let mut services: LiveMaps<ServiceImage> = programs.maps().expect("its maps");
    assert_eq!((rules.read().unwrap(), services.read().unwrap()), (of_rules, of_services));
}
