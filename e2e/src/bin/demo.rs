//! `make demo`: see `e2e::demo`.

use clap::Parser;
use e2e::demo::{Args, run};

#[tokio::main]
async fn main() -> std::process::ExitCode {
    match run(Args::parse()).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        #[expect(clippy::print_stderr, reason = "the one place that says why the demo ended")]
        Err(error) => {
            eprintln!("demo: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
