//! The bytes of a watch -> what they say. One JSON object a line.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use towpath_model::{Event, Kind, ObjectName, Problem, decode, wire::Bad};

/// A line longer than this is no object that an API server sends (etcd's limit is far below).
const LINE_MAX: usize = 32 << 20;

/// A buffer that grew beyond this is given back when its line is read.
const KEPT_MAX: usize = 1 << 20;

/// Splits a stream of chunks into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
}

/// A line grew beyond all reason; the stream is given up.
#[derive(Debug, thiserror::Error)]
#[error("the server sent {} MiB without the end of an object", LINE_MAX >> 20)]
pub(super) struct TooLong;

impl Lines {
    /// Every line that `chunk` completes goes to `each`.
    pub(super) fn take(
        &mut self,
        mut chunk: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), TooLong> {
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = chunk.split_at(end);
            chunk = &rest[1..];
            if self.rest.is_empty() {
                each(line);
            } else {
                self.rest.extend_from_slice(line);
                each(&self.rest);
                self.rest.clear();
                self.rest.shrink_to(KEPT_MAX);
            }
        }
        if self.rest.len() + chunk.len() > LINE_MAX {
            return Err(TooLong);
        }
        self.rest.extend_from_slice(chunk);
        Ok(())
    }
}

/// What a line says.
#[derive(Debug)]
pub(super) enum WatchLine {
    /// Something of an object, and the version it brings the stream to.
    Event(Event, String),
    /// An object that cannot be understood and not even named.
    Nameless(Problem, String),
    /// Only a version; with `true`: the initial list is complete.
    Bookmark(String, bool),
    /// The server ends the stream, with its code (410: list again) and message.
    Error(u16, String),
    /// Not a line of a watch.
    Garbage(String),
}

impl WatchLine {
    /// Does it bring a list nearer to its end? Bookmarks on the way do not.
    pub(super) const fn is_progress_of_a_list(&self) -> bool {
        !matches!(self, Self::Bookmark(_, false))
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    r#type: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What is read of an object that may be anything: one wrong field must not hide the others.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Anything {
    metadata: Value,
    code: Value,
    message: Value,
}

impl Anything {
    fn version(&self) -> String {
        self.metadata["resourceVersion"].as_str().unwrap_or_default().to_owned()
    }
}

/// Reads one line.
pub(super) fn read(kind: Kind, line: &[u8]) -> WatchLine {
    let line: Line<'_> = match serde_json::from_slice(line) {
        Ok(line) => line,
        Err(error) => return WatchLine::Garbage(error.to_string()),
    };
    let json = line.object.get().as_bytes();
    match line.r#type.as_str() {
        "ADDED" | "MODIFIED" => apply(kind, json),
        "DELETED" => match key_of(kind, json) {
            Some(name) => WatchLine::Event(Event::Delete(kind, name), anything(json).version()),
            None => WatchLine::Garbage("a deletion of an object without a name".to_owned()),
        },
        "BOOKMARK" => {
            let object = anything(json);
            let end = object.metadata["annotations"]["k8s.io/initial-events-end"] == "true";
            WatchLine::Bookmark(object.version(), end)
        }
        "ERROR" => {
            let status = anything(json);
            let code = status.code.as_u64().and_then(|code| code.try_into().ok());
            let message = status.message.as_str().unwrap_or_default();
            WatchLine::Error(code.unwrap_or(500), message.chars().take(300).collect())
        }
        other => WatchLine::Garbage(format!("unknown event type {other:?}")),
    }
}

/// The name of an object of which nothing else may be readable, as [`decode`] would read it.
fn key_of(kind: Kind, json: &[u8]) -> Option<ObjectName> {
    match decode(kind, json) {
        Ok(object) => Some(object.name().clone()),
        Err(bad) => bad.key.map(|key| key.name),
    }
}

fn anything(json: &[u8]) -> Anything {
    serde_json::from_slice(json).unwrap_or_default()
}

fn apply(kind: Kind, json: &[u8]) -> WatchLine {
    match decode(kind, json) {
        Ok(object) => {
            let version = object.version();
            let version = version.map_or_else(|| anything(json).version(), |v| v.to_string());
            WatchLine::Event(Event::Apply(object), version)
        }
        Err(bad) => {
            let version = anything(json).version();
            match event_of_bad(bad) {
                Ok(event) => WatchLine::Event(event, version),
                Err(problem) => WatchLine::Nameless(problem, version),
            }
        }
    }
}

/// An undecodable object as an event, if it has a name.
pub(super) fn event_of_bad(bad: Bad) -> Result<Event, Problem> {
    match bad.key {
        Some(key) => Ok(Event::Bad(*key, *bad.problem)),
        None => Err(*bad.problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for chunk in chunks {
            lines.take(chunk, |line| all.push(String::from_utf8_lossy(line).into_owned())).unwrap();
        }
        all
    }

    #[test]
    fn lines_may_be_cut_anywhere() {
        assert_eq!(lines(&[b"ab\ncd\n"]), ["ab", "cd"]);
        assert_eq!(lines(&[b"a", b"b\nc", b"d\n", b"e"]), ["ab", "cd"]);
        assert_eq!(lines(&[b"\n\n"]), ["", ""]);
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let mut lines = Lines::default();
        let chunk = vec![b'x'; 1 << 20];
        let ended = (0..40).find(|_| lines.take(&chunk, |_| ()).is_err());
        assert_eq!(ended, Some(32));
    }

    #[test]
    fn every_type_of_line_is_understood() {
        let read = |text: &str| read(Kind::Service, text.as_bytes());
        assert!(matches!(
            read(r#"{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"5"}}}"#),
            WatchLine::Event(Event::Apply(_), version) if version == "5"
        ));
        assert!(matches!(
            read(r#"{"type":"MODIFIED","object":{"metadata":{"name":"a","resourceVersion":"6"},"spec":3}}"#),
            WatchLine::Event(Event::Bad(..), version) if version == "6"
        ));
        assert!(matches!(
            read(r#"{"type":"ADDED","object":{"metadata":{"resourceVersion":"6"}}}"#),
            WatchLine::Nameless(..)
        ));
        assert!(matches!(
            read(r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}"#),
            WatchLine::Bookmark(version, true) if version == "9"
        ));
        assert!(matches!(
            read(r#"{"type":"ERROR","object":{"code":410,"message":"too old"}}"#),
            WatchLine::Error(410, _)
        ));
        assert!(matches!(
            read(r#"{"type":"DELETED","object":{"metadata":{"name":"a","namespace":"n","labels":3,"annotations":{"x":1},"resourceVersion":"7"},"spec":3}}"#),
            WatchLine::Event(Event::Delete(_, name), version) if version == "7" && name == ObjectName::new("n", "a")
        ));
        for garbage in
            ["", "x", "[]", r#"{"type":"NEW","object":{}}"#, r#"{"type":"DELETED","object":{}}"#]
        {
            assert!(matches!(read(garbage), WatchLine::Garbage(_)), "{garbage}");
        }
    }
}
