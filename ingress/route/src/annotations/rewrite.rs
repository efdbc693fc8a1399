//! `rewrite-target` and `use-regex`.

use towpath_model::{Code, Ingress, Problem};

use super::{Refusal, close, problem, values::flag};
use crate::{Policy, Rewrite};

/// Reads both. Are paths of the Ingress expressions?
pub(super) fn read(
    ingress: &Ingress,
    policy: &mut Policy,
    closed: &mut Option<Refusal>,
    problems: &mut Vec<Problem>,
) -> bool {
    let mut regex = false;
    let mut ignored = |name: &str, wanted: &str| {
        let why = format!("not {wanted}; it is as if it was not there");
        problems.push(problem(ingress, name, Code::AnnotationIgnored, &why, "write it so"));
    };
    if let Some(Err(wanted)) = ingress.annotation("use-regex").map(|text| flag(text, &mut regex)) {
        ignored("use-regex", wanted);
    }
    if let Some(prefix) = ingress.annotation("x-forwarded-prefix").filter(|text| !text.is_empty()) {
        match prefix.bytes().all(is_plain) {
            true => policy.forwarded_prefix = Some(prefix.into()),
            false => ignored("x-forwarded-prefix", "a path"),
        }
    }
    let target = ingress.annotation("rewrite-target").map(str::trim);
    let Some(target) = target.filter(|target| !target.is_empty()) else { return regex };
    if !target.bytes().all(|byte| is_plain(byte) || byte == b'$') {
        ignored("rewrite-target", "a path with `$1` to `$9`");
        return regex;
    }
    match Rewrite::new(target) {
        Some(rewrite) => policy.rewrite = Some(rewrite),
        // A variable of nginx, or another host.
        None => close(Refusal::Changes, "rewrite-target", ingress, closed, problems),
    }
    true
}

/// What ingress-nginx takes in a target.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b':')
}
