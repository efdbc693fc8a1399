//! `towpath run`.

use std::process::ExitCode;

use super::{PROBLEM, USAGE, complain};
use crate::{
    agent::{self, logging},
    config::{Config, Environment, RunArgs},
};

pub(super) fn run(args: &RunArgs) -> ExitCode {
    let config = match Config::load(args, &Environment::of_this_machine()) {
        Ok(config) => config,
        Err(faults) => {
            complain(&faults.to_string());
            return USAGE.into();
        }
    };
    if let Err(error) = logging::start(&config.log) {
        complain(&format!("{error:#}"));
        return PROBLEM.into();
    }
    agent::run(config)
}
