//! Who and what, out of the words of the command line.

use std::{os::fd::AsFd as _, path::PathBuf};

use super::super::output::Failure;

/// The two ends, as typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Words<'a> {
    /// `None`: the host.
    pub(super) from: Option<&'a str>,
    pub(super) to: &'a str,
}

impl<'a> Words<'a> {
    /// `written`: the file that standard output goes to, if it is one. `A -> B:80` without quotes is a
    /// redirection: the shell has taken `> B:80` away and written that file.
    pub(super) fn parse(
        words: &'a [String],
        written: impl FnOnce() -> Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let words: Vec<&str> = words.iter().map(|word| word.trim()).collect();
        if words.last().is_some_and(|last| last.ends_with('-')) {
            return Err(eaten(&words, written()));
        }
        let both = |from: &'a str, to: &'a str| match (from.trim(), to.trim()) {
            ("", _) | (_, "") => Err(usage("an end is missing beside the arrow")),
            (from, to) => Ok(Self { from: Some(from), to }),
        };
        match &*words {
            [one] => match one.split_once("->") {
                Some((from, to)) => both(from, to),
                None if one.is_empty() => Err(usage("nothing is asked for")),
                None => Ok(Self { from: None, to: one }),
            },
            [from, to] => both(from, to.strip_prefix("->").unwrap_or(to)),
            [from, "->", to] => both(from, to),
            _ => Err(usage("more than a source and a target are named")),
        }
    }
}

fn usage(what: &str) -> Failure {
    Failure::usage(format!("{what}: write `towpath explain [SOURCE] TARGET[:PORT][/udp]`"))
}

fn eaten(words: &[&str], written: Option<PathBuf>) -> Failure {
    let words = words.join(" ");
    let file = match written {
        Some(file) => format!("written {}, which you may want to remove", file.display()),
        None => "taken what follows as the name of a file".to_owned(),
    };
    let mut failure = Failure::usage(format!(
        "{words:?} ends with a dash: without quotes `->` is a redirection, and the shell has {file}"
    ));
    failure.next = "write 'A -> B:80' in quotes, or leave out the arrow: A B:80".to_owned();
    failure
}

/// The file that standard output goes to; `None`: it is no ordinary file.
pub(super) fn written_file() -> Option<PathBuf> {
    let out = std::io::stdout();
    let file = std::fs::File::from(out.as_fd().try_clone_to_owned().ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    std::fs::read_link("/proc/self/fd/1").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<(Option<String>, String), String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let parsed = Words::parse(&words, || Some("/tmp/B:80".into()));
        let parsed = parsed.map_err(|failure| format!("{} {}", failure.what, failure.next))?;
        Ok((parsed.from.map(str::to_owned), parsed.to.to_owned()))
    }

    #[test]
    fn ends_are_named_in_several_ways() {
        let pair = |from: &str, to: &str| Ok((Some(from.to_owned()), to.to_owned()));
        assert_eq!(parsed(&["shop/cart:80"]), Ok((None, "shop/cart:80".to_owned())));
        for words in [
            &["a/b", "c:80"][..],
            &["a/b -> c:80"],
            &["a/b->c:80"],
            &["a/b", "->", "c:80"],
            &["a/b", "->c:80"],
        ] {
            assert_eq!(parsed(words), pair("a/b", "c:80"), "{words:?}");
        }
        for words in [&[""][..], &["a ->"], &["-> b"], &["a", "b", "c"]] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn an_arrow_that_the_shell_took_is_recognised_and_its_file_named() {
        for words in [&["A", "-"][..], &["A-"], &["-"]] {
            let said = parsed(words).unwrap_err();
            assert!(said.contains("/tmp/B:80") && said.contains("quotes"), "{said}");
        }
        let words = ["A".to_owned(), "-".to_owned()];
        let said = Words::parse(&words, || None).unwrap_err();
        assert!(said.what.contains("the name of a file"), "{}", said.what);
    }
}
