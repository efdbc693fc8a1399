//! A strict reading of HTTP/1 framing, before hyper's lenient one.
//!
//! Where two readers of one connection disagree on where a request ends, a request can be smuggled past
//! one of them. hyper takes some of what RFC 9112 tells a server to refuse (a Content-Length beside
//! Transfer-Encoding, two Hosts), so each head is read here first, and the framing of its body followed
//! up to the next one. What is refused never reaches hyper, nor a backend.

/// Why a head is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Violation {
    /// The head is larger than is read.
    #[error("head too large")]
    TooLarge,
    /// Not the syntax of RFC 9112: a bare CR or LF, a NUL, white space before a colon, a folded line.
    #[error("malformed head")]
    Syntax,
    /// The length of the body is said twice, or in an unknown way.
    #[error("ambiguous framing")]
    Framing,
    /// HTTP/1.1 without Host, or more than one.
    #[error("not exactly one Host")]
    Host,
    /// A malformed chunk.
    #[error("malformed chunk")]
    Chunk,
    /// Bytes after a request for an upgrade, before its answer.
    #[error("bytes before the answer to an upgrade")]
    Early,
}

/// Largest head.
pub const HEAD_MAX: usize = 32 << 10;
/// Most fields of a head.
pub const FIELDS_MAX: usize = 100;
/// Longest line of a chunk's size with its extensions.
const CHUNK_LINE_MAX: usize = 256;

/// Where in the stream of requests a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Head,
    /// So many bytes of a body are left.
    Body(u64),
    ChunkSize,
    Chunk(u64),
    Trailers,
    /// A request for an upgrade was passed on: its answer decides what follows.
    Upgrade,
}

/// Follows one connection.
#[derive(Debug)]
pub struct Guard {
    at: At,
    searched: Searched,
}

/// How far an incomplete head was looked through, so that one that comes byte by byte is read once.
#[derive(Clone, Copy, Debug, Default)]
struct Searched {
    /// Where its last line begins.
    line: usize,
    /// So much of it holds no end of that line.
    bytes: usize,
}

/// What may be passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passed {
    /// Bytes from the front that were understood.
    pub bytes: usize,
    /// What comes next is refused for this.
    pub violation: Option<Violation>,
}

impl Default for Guard {
    fn default() -> Self {
        Self { at: At::Head, searched: Searched::default() }
    }
}

impl Guard {
    /// Reads on. What is not understood yet, because it is incomplete, is to be given again with more.
    pub fn read(&mut self, bytes: &[u8]) -> Passed {
        let mut passed = 0;
        loop {
            let rest = bytes.get(passed..).unwrap_or_default();
            if rest.is_empty() {
                return Passed { bytes: passed, violation: None };
            }
            match self.step(rest) {
                Ok(0) => return Passed { bytes: passed, violation: None },
                Ok(more) => passed += more,
                Err(violation) => return Passed { bytes: passed, violation: Some(violation) },
            }
        }
    }

    /// Is a head, or what follows an upgrade's, being waited for?
    #[must_use]
    pub const fn is_between(&self) -> bool {
        matches!(self.at, At::Head | At::Upgrade)
    }

    /// Is an answer to an upgrade being waited for?
    #[must_use]
    pub const fn awaits_upgrade(&self) -> bool {
        matches!(self.at, At::Upgrade)
    }

    /// The upgrade was not taken: the next request follows.
    pub const fn not_upgraded(&mut self) {
        if matches!(self.at, At::Upgrade) {
            self.at = At::Head;
        }
    }

    /// How many bytes are understood; 0: more are needed.
    fn step(&mut self, rest: &[u8]) -> Result<usize, Violation> {
        match self.at {
            At::Head => self.head(rest),
            At::Body(left) => Ok(self.data(rest, left, At::Body, At::Head)),
            At::ChunkSize => self.chunk_size(rest),
            At::Chunk(left) => {
                let taken = self.data(rest, left, At::Chunk, At::ChunkSize);
                // The two bytes at its end are CRLF.
                let end = rest.get(..taken).unwrap_or_default();
                for (back, wanted) in [(2, b'\r'), (1, b'\n')] {
                    let place = left.checked_sub(back).and_then(|at| usize::try_from(at).ok());
                    let found = place.and_then(|at| end.get(at));
                    if found.is_some_and(|byte| *byte != wanted) {
                        return Err(Violation::Chunk);
                    }
                }
                Ok(taken)
            }
            At::Trailers => self.trailers(rest),
            At::Upgrade => Err(Violation::Early),
        }
    }

    fn data(&mut self, rest: &[u8], left: u64, on: fn(u64) -> At, then: At) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let left = left.saturating_sub(taken as u64);
        self.at = if left == 0 { then } else { on(left) };
        taken
    }

    fn head(&mut self, rest: &[u8]) -> Result<usize, Violation> {
        // RFC 9112 2.2: an empty line before a request line is ignored.
        if rest.starts_with(b"\r\n") {
            return Ok(2);
        }
        let Some(end) = head_end(rest, &mut self.searched)? else { return Ok(0) };
        self.searched = Searched::default();
        let head = rest.get(..end).unwrap_or_default();
        self.at = body_of(head)?;
        Ok(end)
    }

    fn chunk_size(&mut self, rest: &[u8]) -> Result<usize, Violation> {
        let Some(line) = line(rest, CHUNK_LINE_MAX, Violation::Chunk)? else { return Ok(0) };
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
        let text = std::str::from_utf8(digits).unwrap_or_default();
        if text.is_empty() || text.len() > 15 || !text.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return Err(Violation::Chunk);
        }
        let size = u64::from_str_radix(text, 16).unwrap_or(u64::MAX);
        self.at = if size == 0 { At::Trailers } else { At::Chunk(size.saturating_add(2)) };
        Ok(line.len() + 2)
    }

    fn trailers(&mut self, rest: &[u8]) -> Result<usize, Violation> {
        let Some(line) = line(rest, HEAD_MAX, Violation::TooLarge)? else { return Ok(0) };
        if line.is_empty() {
            self.at = At::Head;
        } else {
            field(line)?;
        }
        Ok(line.len() + 2)
    }
}

/// The line that ends in CRLF, without it; bare CR and LF are refused.
fn line(rest: &[u8], max: usize, long: Violation) -> Result<Option<&[u8]>, Violation> {
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        return if rest.len() > max { Err(long) } else { Ok(None) };
    };
    if end > max {
        return Err(long);
    }
    let line = rest.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").ok_or(Violation::Syntax)?;
    match line.contains(&b'\r') || line.contains(&0) {
        true => Err(Violation::Syntax),
        false => Ok(Some(line)),
    }
}

/// Where the head ends, its empty line included.
fn head_end(rest: &[u8], searched: &mut Searched) -> Result<Option<usize>, Violation> {
    let within = rest.get(..rest.len().min(HEAD_MAX)).unwrap_or_default();
    loop {
        let fresh = within.get(searched.bytes..).unwrap_or_default();
        if !fresh.contains(&b'\n') {
            searched.bytes = within.len();
            let full = within.len() >= HEAD_MAX;
            return if full { Err(Violation::TooLarge) } else { Ok(None) };
        }
        let rest = within.get(searched.line..).unwrap_or_default();
        match line(rest, HEAD_MAX, Violation::TooLarge)? {
            Some([]) => return Ok(Some(searched.line + 2)),
            Some(line) => searched.line += line.len() + 2,
            None => return Ok(None),
        }
        searched.bytes = searched.line;
    }
}

/// What the fields of a head say about the connection.
#[derive(Debug, Default)]
struct Fields {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    http_2: bool,
}

/// Reads a whole head; answers what follows it.
fn body_of(head: &[u8]) -> Result<At, Violation> {
    let mut lines =
        head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request = lines.next().unwrap_or_default();
    let old = match request {
        line if line.ends_with(b" HTTP/1.1") => false,
        line if line.ends_with(b" HTTP/1.0") => true,
        _ => return Err(Violation::Syntax),
    };
    let connect = request.starts_with(b"CONNECT ");
    let mut fields = Fields::default();
    for (number, line) in lines.filter(|line| !line.is_empty()).enumerate() {
        if number >= FIELDS_MAX {
            return Err(Violation::TooLarge);
        }
        let (name, value) = field(line)?;
        fields.take(name, value, old)?;
    }
    if fields.hosts > 1 || (fields.hosts == 0 && !old) {
        return Err(Violation::Host);
    }
    fields.upgrade &= !fields.http_2;
    let has_body = fields.chunked || fields.length.is_some_and(|length| length > 0);
    match fields {
        Fields { chunked: true, length: Some(_), .. } => Err(Violation::Framing),
        // A body before the other protocol begins: where one ends is not the same to all.
        Fields { upgrade: true, .. } if has_body => Err(Violation::Framing),
        Fields { upgrade: true, .. } => Ok(At::Upgrade),
        _ if connect => Ok(At::Upgrade),
        Fields { chunked: true, .. } => Ok(At::ChunkSize),
        Fields { length: Some(length), .. } if length > 0 => Ok(At::Body(length)),
        _ => Ok(At::Head),
    }
}

impl Fields {
    fn take(&mut self, name: &[u8], value: &[u8], old: bool) -> Result<(), Violation> {
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            // Twice is refused, the same or not: what is in front may have read one of them.
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(value).ok().filter(|_| digits && value.len() <= 18);
            let length = text.and_then(|text| text.parse().ok()).ok_or(Violation::Framing)?;
            if self.length.replace(length).is_some() {
                return Err(Violation::Framing);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            // No other coding is known here, and HTTP/1.0 knows none.
            if old || self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Violation::Framing);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            // One to HTTP/2 is never taken: some clients offer it with every request.
            self.upgrade = true;
            self.http_2 |= crate::head::offers_http_2(value);
        }
        Ok(())
    }
}

/// Name and value of a field line.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Violation::Syntax)?;
    let (name, value) = line.split_at(colon);
    // A line that begins with white space continues the one before: so names hold none.
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Err(Violation::Syntax);
    }
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    match value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
        true => Err(Violation::Syntax),
        false => Ok((name, value)),
    }
}

/// `tchar` of RFC 9110.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judge(text: &str) -> Option<Violation> {
        Guard::default().read(text.as_bytes()).violation
    }

    #[test]
    fn what_is_sound_passes_whole() {
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nhost:a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\nGET / HTTP/1.1\r\nhost:a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nx",
            "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: x, h2c\r\nContent-Length: 1\r\n\r\nx",
            "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nUpgrade: H2C\r\nContent-Length: 1\r\n\r\nx",
        ] {
            let mut guard = Guard::default();
            let passed = guard.read(text.as_bytes());
            assert_eq!(passed, Passed { bytes: text.len(), violation: None }, "{text}");
            assert!(guard.is_between());
        }
    }

    #[test]
    fn what_is_refused() {
        use Violation::{Chunk, Early, Framing, Host, Syntax, TooLarge};
        let h = "POST / HTTP/1.1\r\nHost: a\r\n";
        let chunked = format!("{h}Transfer-Encoding: chunked\r\n\r\n");
        for (text, violation) in [
            (format!("{h}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"), Framing),
            (format!("{h}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"), Framing),
            (format!("{h}Content-Length: 3\r\nContent-Length: 3\r\n\r\n"), Framing),
            (format!("{h}Content-Length: 3, 3\r\n\r\n"), Framing),
            (format!("{h}Content-Length: +3\r\n\r\n"), Framing),
            (format!("{h}Content-Length: \r\n\r\n"), Framing),
            (format!("{h}Content-Length: 99999999999999999999\r\n\r\n"), Framing),
            (format!("{h}Transfer-Encoding: chunked, identity\r\n\r\n"), Framing),
            (format!("{h}Transfer-Encoding: gzip, chunked\r\n\r\n"), Framing),
            (format!("{h}Transfer-Encoding: xchunked\r\n\r\n"), Framing),
            (
                format!("{h}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
                Framing,
            ),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), Framing),
            (format!("{h}Upgrade: x\r\nContent-Length: 3\r\n\r\n"), Framing),
            (format!("{h}Upgrade: x\r\n\r\nGET"), Early),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nx".into(), Early),
            (format!("{h}Transfer-Encoding : chunked\r\n\r\n"), Syntax),
            (format!("{h} Content-Length: 3\r\n\r\n"), Syntax),
            (format!("{h}A: b\r\n\tfolded\r\n\r\n"), Syntax),
            (format!("{h}A: b\nC: d\r\n\r\n"), Syntax),
            (format!("{h}A: b\rC: d\r\n\r\n"), Syntax),
            (format!("{h}A: b\0\r\n\r\n"), Syntax),
            (format!("{h}A: b\u{b}\r\n\r\n"), Syntax),
            (format!("{h}no colon\r\n\r\n"), Syntax),
            (format!("{h}: empty\r\n\r\n"), Syntax),
            ("GET /\r\n\r\n".into(), Syntax),
            ("GET / HTTP/1.2\r\n\r\n".into(), Syntax),
            ("GET / HTTP/1.1\r\n\r\n".into(), Host),
            (format!("{h}Host: b\r\n\r\n"), Host),
            (format!("{h}A: {}\r\n\r\n", "x".repeat(HEAD_MAX)), TooLarge),
            ("x".repeat(HEAD_MAX + 1), TooLarge),
            (format!("{h}{}\r\n", "A: b\r\n".repeat(FIELDS_MAX)), TooLarge),
            (format!("{chunked}g\r\n"), Chunk),
            (format!("{chunked}\r\n"), Chunk),
            (format!("{chunked}-1\r\n"), Chunk),
            (format!("{chunked}0x1\r\na\r\n"), Chunk),
            (format!("{chunked}1\na\r\n"), Syntax),
            (format!("{chunked}1\r\nabc"), Chunk),
            (format!("{chunked}ffffffffffffffff\r\n"), Chunk),
            (format!("{chunked}0\r\nbad trailer\r\n\r\n"), Syntax),
        ] {
            assert_eq!(judge(&text), Some(violation), "{text:.200}");
        }
    }

    proptest! {
        /// However a connection's bytes are cut, the same is passed and refused.
        #[test]
        fn cuts_do_not_matter(
            parts in prop::collection::vec(prop::sample::select(vec![
                "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\n",
                "\r\n", "x", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            ]), 1..6),
            cut in 1usize..9,
        ) {
            let text = parts.concat().into_bytes();
            let whole = Guard::default().read(&text);
            let (mut guard, mut passed, mut given) = (Guard::default(), 0, 0);
            let mut violation = None;
            while given < text.len() && violation.is_none() {
                given = (given + cut).min(text.len());
                let read = guard.read(&text[passed..given]);
                passed += read.bytes;
                violation = read.violation;
            }
            prop_assert_eq!(Passed { bytes: passed, violation }, whole);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let passed = Guard::default().read(&bytes);
            prop_assert!(passed.bytes <= bytes.len());
        }
    }
}
