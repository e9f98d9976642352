//! Starts the router; see `router --help`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match router::run::run(router::args::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => process::exit::failure("router", &error),
    }
}
