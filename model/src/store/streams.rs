//! Which streams there are, and how far the list of each one is.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Key, Kind, Object, ObjectName, Removals, Stream};

/// One stream.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) listing: Option<Listing>,
    pub(super) listed: bool,
    /// What the last list would have removed, when that was too much.
    pub(super) braked: Option<Removals<ObjectName>>,
}

/// A list under way.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// What was heard of since it began, from whichever stream.
    pub(super) seen: BTreeSet<ObjectName>,
    /// What was said that is older than what is known, and nothing newer since. It may be the old news
    /// of another stream; what the complete list has said is right.
    pub(super) older: BTreeMap<ObjectName, Object>,
}

/// A kind that the server does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Absence {
    /// There are objects of it: a second answer has to agree.
    Doubted,
    Believed,
}

/// All streams that began and did not end.
#[derive(Debug, Default)]
pub(super) struct Streams {
    begun: BTreeMap<Stream, Progress>,
    absent: BTreeMap<Kind, Absence>,
}

impl Streams {
    pub(super) fn begin(&mut self, stream: Stream) {
        // The server does know the kind; what was believed before stands until the list is complete.
        if self.absent.get(&stream.kind) == Some(&Absence::Doubted) {
            self.absent.remove(&stream.kind);
        }
        self.begun.entry(stream).or_default().listing = Some(Listing::default());
    }

    /// The entry of a stream whose list is complete.
    pub(super) fn listed_now(&mut self, stream: &Stream) -> &mut Progress {
        self.absent.remove(&stream.kind);
        self.begun.entry(stream.clone()).or_default()
    }

    /// The stream is no more. Answers those that may bring the same objects.
    pub(super) fn end(&mut self, ended: &Stream) -> Vec<Stream> {
        self.begun.remove(ended);
        let meets = |stream: &&Stream| stream.scope.meets(&ended.scope);
        let others: Vec<Stream> =
            self.of(ended.kind).map(|(stream, _)| stream).filter(meets).cloned().collect();
        if self.of(ended.kind).next().is_none() {
            self.absent.remove(&ended.kind);
        }
        others
    }

    /// The streams of a kind.
    fn of(&self, kind: Kind) -> impl Iterator<Item = (&Stream, &Progress)> {
        self.begun.range(Stream::all(kind)..).take_while(move |(stream, _)| stream.kind == kind)
    }

    /// The lists of a kind that are under way and may be about this object. `here`: whether it runs on
    /// this node, when that is known.
    pub(super) fn listings<'a>(
        &'a mut self,
        kind: Kind,
        name: &'a ObjectName,
        here: Option<bool>,
    ) -> impl Iterator<Item = &'a mut Listing> {
        let all = self.begun.range_mut(Stream::all(kind)..);
        let of_kind = all.take_while(move |(stream, _)| stream.kind == kind);
        let covering =
            of_kind.filter(move |(stream, _)| stream.scope.covers(name, here) != Some(false));
        covering.filter_map(|(_, progress)| progress.listing.as_mut())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Stream, &Progress)> {
        self.begun.iter()
    }

    pub(super) fn listed(&self, stream: &Stream) -> bool {
        let listed = self.begun.get(stream).is_some_and(|progress| progress.listed);
        listed || self.absent.get(&stream.kind) == Some(&Absence::Believed)
    }

    /// Several streams may bring objects of this kind.
    pub(super) fn overlap(&self, kind: Kind) -> bool {
        self.of(kind).nth(1).is_some()
    }

    /// May one of them bring this object?
    pub(super) fn cover(&self, key: &Key, here: Option<bool>) -> bool {
        self.of(key.kind).any(|(stream, _)| stream.scope.covers(&key.name, here) != Some(false))
    }

    /// Does one of them bring it, as its name alone says?
    pub(super) fn cover_by_name(&self, key: &Key) -> bool {
        self.of(key.kind).any(|(stream, _)| stream.scope.covers(&key.name, None) == Some(true))
    }

    /// Was the kind said to be absent once, and is that not believed yet?
    pub(super) fn doubts_absence(&self, kind: Kind) -> bool {
        self.absent.get(&kind) == Some(&Absence::Doubted)
    }

    /// The server does not know the kind. `empty`: there are no objects of it.
    ///
    /// # Errors
    /// With the stream to list again, when that is not believed yet.
    pub(super) fn absent(&mut self, kind: Kind, empty: bool) -> Result<(), Option<Stream>> {
        if !empty && self.absent.get(&kind) != Some(&Absence::Doubted) {
            self.absent.insert(kind, Absence::Doubted);
            return Err(self.of(kind).next().map(|(stream, _)| stream.clone()));
        }
        self.absent.insert(kind, Absence::Believed);
        let all = self.begun.range_mut(Stream::all(kind)..);
        for (_, progress) in all.take_while(|(stream, _)| stream.kind == kind) {
            *progress = Progress { listed: true, ..Progress::default() };
        }
        Ok(())
    }
}
