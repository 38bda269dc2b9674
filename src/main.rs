//! The `copepod` command: parses flags, calls the SDK, prints.
//!
//! Exit codes: 0 done, 1 failure (one line on stderr: what, why, the mend), 2 usage.

mod cli;
mod commands;
mod progress;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(&cli.log))
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::anyhow!("threads cannot be started: {error}")),
    };
    let code = match runtime.block_on(commands::run(cli.command)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(&error),
    };
    // A guest in a loop must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    code
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("copepod: {error:#}");
    ExitCode::FAILURE
}
