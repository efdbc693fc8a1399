//! `towpath explain-code`: what a code of a problem means, and what to do; needs no daemon.

use std::io::Write;

use towpath_model::Code;

use super::output::{self, Exit, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A code, as in `TP3001` (default: all of them, a line each)
    code: Option<String>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Failure> {
    let title = |code: Code| format!("{code}  {}", code.title());
    let Some(text) = &args.code else {
        for code in Code::ALL {
            output::line(out, &title(*code))?;
        }
        return Ok(Exit::Well);
    };
    let Some(code) = Code::parse(text) else {
        let what = format!("{text:?} is no code of this version; `towpath explain-code` lists all");
        return Err(Failure::usage(what));
    };
    output::line(out, &title(code))?;
    output::line(out, code.advice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(code: Option<&str>) -> Result<String, Failure> {
        let (args, mut out) = (Args { code: code.map(str::to_owned) }, Vec::new());
        run(&args, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_code_is_explained_and_without_one_all_are_listed() {
        let code = Code::FrontendTaken;
        let wanted = format!("TP3003  {}\n{}\n", code.title(), code.advice());
        assert_eq!(ask(Some("tp3003")).unwrap(), wanted);
        assert_eq!(ask(None).unwrap().lines().count(), Code::ALL.len());
    }

    #[test]
    fn a_code_that_does_not_exist_is_an_error_of_usage() {
        let failure = ask(Some("TP0000")).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.what.contains("lists all"), "{failure:?}");
    }
}
