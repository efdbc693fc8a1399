//! `enable-cors` and `cors-*`.

use towpath_model::{Code, Ingress, Problem};

use super::{problem, values::flag};
use crate::{Cors, Origins, cors::Site};

/// What the names of these annotations begin with, apart from the switch.
pub(super) const PREFIX: &str = "cors-";

const METHODS: &str = "GET, PUT, POST, DELETE, PATCH, OPTIONS";
const HEADERS: &str = "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization";
const MAX_AGE: i64 = 1_728_000;

/// `None`: it is not switched on, and the others say nothing then.
pub(super) fn read(ingress: &Ingress, problems: &mut Vec<Problem>) -> Option<Box<Cors>> {
    let mut on = false;
    let wanted = flag(ingress.annotation("enable-cors")?, &mut on);
    let mut ignored = |name: &str, why: &str| {
        let action = "write it as ingress-nginx's documentation says";
        problems.push(problem(ingress, name, Code::AnnotationIgnored, why, action));
    };
    if let Err(wanted) = wanted {
        ignored("enable-cors", &format!("not {wanted}; it is as if it was not there"));
    }
    if !on {
        return None;
    }
    let mut cors = Cors {
        origins: Origins::Any,
        methods: METHODS.into(),
        headers: HEADERS.into(),
        credentials: true,
        exposed: Box::default(),
        max_age: MAX_AGE,
    };
    for (name, value) in &ingress.annotations {
        let Some(setting) = name.strip_prefix(PREFIX) else { continue };
        let value = value.trim();
        let wrong = match setting {
            "allow-origin" => {
                let (origins, wrong) = origins(value);
                cors.origins = origins;
                // Taken for `*`, as in ingress-nginx, a slip would let every site read.
                wrong.map(|text| format!("{text:?} is no site; its scripts read no answers"))
            }
            "allow-methods" => list(value, "", &mut cors.methods),
            "allow-headers" => list(value, "-_0123456789", &mut cors.headers),
            "expose-headers" => list(value, "-_0123456789*", &mut cors.exposed),
            "allow-credentials" => flag(value, &mut cors.credentials).err().map(usual),
            "max-age" => match value.parse() {
                Ok(seconds) => {
                    cors.max_age = seconds;
                    None
                }
                Err(_not) => Some(usual("a number of seconds")),
            },
            _ => Some("no such setting; it is as if it was not there".to_owned()),
        };
        if let Some(why) = wrong {
            ignored(name, &why);
        }
    }
    Some(Box::new(cors))
}

fn usual(wanted: &'static str) -> String {
    format!("not {wanted}; what is usual is told")
}

/// And one that is none.
fn origins(value: &str) -> (Origins, Option<&str>) {
    let (mut listed, mut wrong) = (Vec::new(), None);
    for text in value.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        if text == "*" {
            return (Origins::Any, None);
        }
        match Site::parse(text) {
            Some(site) => listed.push(site),
            None => wrong = Some(text),
        }
    }
    (Origins::Listed(listed.into()), wrong)
}

/// Words of letters and of `others`.
fn list(value: &str, others: &str, into: &mut Box<str>) -> Option<String> {
    let known =
        |sign: char| sign.is_ascii_alphabetic() || ", ".contains(sign) || others.contains(sign);
    if value.is_empty() || !value.chars().all(known) {
        return Some(usual("a list of names with commas"));
    }
    *into = value.into();
    None
}
