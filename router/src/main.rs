//! Starts the router; see `router --help`.

use clap::Parser;
use router::args::Args;
use router::config::FileConfig;

#[expect(clippy::print_stdout, reason = "printing is what was asked for")]
fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if args.process.print_config_schema {
        print!("{}", process::config::schema_json::<FileConfig>());
    }
    Ok(())
}
