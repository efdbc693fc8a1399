//! Where `unsafe` may stand.

use super::source::Source;

/// `unsafe` lives in `ebpf/` only.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let others = sources.iter().filter(|source| !source.name.starts_with("ebpf/"));
    let found = others.flat_map(|source| {
        let opens = source.words("unsafe").filter(|at| {
            // An attribute names a lint about it.
            let after = source.code[at + "unsafe".len()..].trim_start();
            ["{", "fn", "impl", "extern", "trait"].iter().any(|next| after.starts_with(next))
        });
        opens.map(|at| format!("{}: unsafe outside ebpf/", source.place(at))).collect::<Vec<_>>()
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_is_found_outside_ebpf() {
        let text = "#![forbid(unsafe_code)]\n// unsafe { }\nfn f() {\n    unsafe { g() }\n}\n";
        assert_eq!(check(&[Source::new("src/a.rs", text)]), ["src/a.rs:4: unsafe outside ebpf/"]);
        assert_eq!(check(&[Source::new("ebpf/src/a.rs", text)]), [""; 0]);
    }
}
