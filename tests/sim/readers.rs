//! Programs that are held up between two reads: what they read first still leads them when they go
//! on, so it must not be used for anything else before they have ended.

use towpath_image::{
    ServiceImage,
    datapath::{BackendRecord, FrontendKind, SetWord},
};

use crate::world::Random;

/// Programs that run at a time.
const MOST: usize = 8;

/// One that read a record and has yet to read the backends of its set.
struct Reader {
    began: u64,
    index: u32,
    identity: u64,
    word: SetWord,
    backends: Vec<BackendRecord>,
}

#[derive(Default)]
pub(crate) struct Readers(Vec<Reader>);

impl Readers {
    /// A program begins, comes from a frontend and has read its record.
    pub(crate) fn begin(&mut self, image: &ServiceImage, now: u64, random: &mut Random) {
        // A guard leads to no Service, whatever its index says.
        let words = image.frontends.iter();
        let words = words.filter(|(key, _)| key.kind() != Some(FrontendKind::Guard));
        let led = words.filter_map(|(_, word)| {
            image.services.get(&word.service()).map(|record| (word.service(), record))
        });
        let sets = led.flat_map(|(index, record)| {
            record.sets.into_iter().map(move |word| (index, record.identity, word))
        });
        let filled: Vec<_> = sets.filter(|(_, _, word)| word.count() > 0).collect();
        if filled.is_empty() || self.0.len() == MOST {
            return;
        }
        let (index, identity, word) = filled[random.below(filled.len())];
        let backends = image.extent(word).to_vec();
        self.0.push(Reader { began: now, index, identity, word, backends });
    }

    /// A grace period that began then is over: every program that ran then has ended.
    pub(crate) fn end_those_before(&mut self, began: u64) {
        self.0.retain(|reader| reader.began >= began);
    }

    /// What they have yet to read is what it was.
    pub(crate) fn assert_undisturbed(&self, image: &ServiceImage) {
        for Reader { began, index, identity, word, backends } in &self.0 {
            let record = image.services.get(index).map(|record| record.identity);
            let same = image.extent(*word) == backends;
            assert!(
                same && record == Some(*identity),
                "what a program that began at {began} ms reads was used again: index {index}, {word:?} backends same {same}, identity {identity} is {record:?}"
            );
        }
    }
}
