//! `autoscaler`: see the library for what it does.

use clap::Parser as _;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    process::install_crypto_provider();
    autoscaler::args::Args::parse().run().await
}
