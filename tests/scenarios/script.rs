//! The text of a scenario: a head of comments, then sections.

use std::fmt;

use towpath_image::Capacities;

#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// `apply`, `tables`, ...
    pub(crate) name: String,
    /// What stands behind the colon: `list: Service`.
    pub(crate) argument: String,
    pub(crate) body: String,
}

impl Section {
    /// Is its body what is expected, and not what is done?
    pub(crate) fn is_expectation(&self) -> bool {
        let expectations = ["tables", "nodes", "problems", "writes", "health checks", "asks"];
        expectations.contains(&self.name.as_str())
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) head: String,
    pub(crate) sections: Vec<Section>,
}

impl Script {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut script = Self { head: String::new(), sections: Vec::new() };
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("-- ").and_then(|l| l.strip_suffix(" --")) {
                let (name, argument) = title.split_once(": ").unwrap_or((title, ""));
                let (name, argument) = (name.to_owned(), argument.to_owned());
                script.sections.push(Section { name, argument, body: String::new() });
                continue;
            }
            let into = match script.sections.last_mut() {
                Some(section) => &mut section.body,
                None if line.starts_with('#') || line.is_empty() => &mut script.head,
                None => return Err(format!("neither a comment nor a section: {line:?}")),
            };
            into.push_str(line);
            into.push('\n');
        }
        Ok(script)
    }

    /// `-- maps --`: sizes other than the usual ones, `BACKENDS 4` a line.
    pub(crate) fn capacities(&self) -> Capacities {
        let mut sizes = Capacities::default();
        let maps = self.sections.iter().filter(|section| section.name == "maps");
        for line in maps.flat_map(|section| section.body.lines()) {
            let (name, size) = line.split_once(' ').unwrap();
            let size = size.trim().parse().unwrap();
            match name {
                "FRONTENDS" => sizes.frontends = size,
                "SERVICES" => sizes.services = size,
                "BACKENDS" => sizes.backends = size,
                "NODE_ADDRESSES" => sizes.node_addresses = size,
                other => panic!("no such map: {other}"),
            }
        }
        sizes
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.head)?;
        for Section { name, argument, body } in &self.sections {
            let colon = if argument.is_empty() { "" } else { ": " };
            write!(f, "-- {name}{colon}{argument} --\n{body}")?;
        }
        Ok(())
    }
}

/// Lines that differ, in the section where they do.
pub(crate) fn difference(expected: &str, found: &str) -> String {
    let (expected, found) = (Script::parse(expected).unwrap(), Script::parse(found).unwrap());
    let mut text = String::new();
    for (was, is) in expected.sections.iter().zip(&found.sections) {
        if was.body == is.body {
            continue;
        }
        text.push_str(&format!("-- {} {} --\n", was.name, was.argument));
        let (old, new): (Vec<_>, Vec<_>) = (was.body.lines().collect(), is.body.lines().collect());
        text.extend(old.iter().filter(|l| !new.contains(l)).map(|line| format!("-{line}\n")));
        text.extend(new.iter().filter(|l| !old.contains(l)).map(|line| format!("+{line}\n")));
        if old.len() == new.len() && old.iter().all(|line| new.contains(line)) {
            text.push_str(&format!("the same lines in another order:\n{}", is.body));
        }
    }
    text
}
