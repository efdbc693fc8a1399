//! `towpath explain [SOURCE] TARGET[:PORT][/udp]`.

mod render;
mod words;

use std::{io::Write, path::PathBuf};

use super::{
    client::{Target, escaped},
    output::{self, Exit, Failure, Format},
    status::read,
    table::Paint,
};
use crate::{
    agent::{Manifests, explain_manifests},
    api::explain::{ExplainAnswer, Outcome},
};
use words::{Words, written_file};

/// Exit codes: 0 it passes, 1 it would die, 2 it cannot be told, or what was asked for is not clear,
/// 3 no daemon answers.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// `[SOURCE] TARGET[:PORT][/udp]`, or both in quotes: 'A -> B:80'. SOURCE is a pod (NAMESPACE/NAME,
    /// or NAME), an address or host (the default); TARGET is a Service (NAME, NAMESPACE/NAME,
    /// NAME.NAMESPACE), a DNS name, an address or a pod
    #[arg(value_name = "SOURCE TARGET", required = true, num_args = 1..=3)]
    words: Vec<String>,
    /// Ask no daemon and no kernel: what would be decided with the Kubernetes YAML files of this
    /// directory and every feature on
    #[arg(long, value_name = "DIR", requires = "node")]
    manifests: Option<PathBuf>,
    /// The node that decides, with --manifests
    #[arg(long, value_name = "NAME", requires = "manifests")]
    node: Option<String>,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Failure> {
    let Words { from, to } = Words::parse(&args.words, written_file)?;
    let value = match (&args.manifests, &args.node) {
        (Some(dir), Some(node)) => {
            let (answer, problems) = explain_manifests(&Manifests { dir, node }, from, to);
            for problem in problems.iter().take(20) {
                output::warn(&problem.coded());
            }
            serde_json::to_value(answer).map_err(std::io::Error::from)?
        }
        _ => {
            let source = from.map(|from| format!("from={}&", escaped(from))).unwrap_or_default();
            args.target.ask(&format!("/v1/explain?{source}to={}", escaped(to)))?
        }
    };
    let reply = match read(&value)? {
        ExplainAnswer::Explained(reply) => reply,
        ExplainAnswer::NotUnderstood(refused) => {
            let (what, next) = (refused.error, refused.action);
            return Err(Failure { exit: Exit::Usage, what, next });
        }
    };
    match args.output {
        Format::Json => output::json(out, &value)?,
        Format::Table => out.write_all(render::text(&reply, Paint::of_stdout()).as_bytes())?,
    }
    Ok(match reply.result.outcome {
        Outcome::Passes => Exit::Well,
        Outcome::Dies => Exit::Problem,
        Outcome::Unknown => Exit::Usage,
    })
}
