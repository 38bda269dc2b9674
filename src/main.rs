//! The `copepod` command: parses flags, calls the SDK, prints.
//!
//! Exit codes: 0 done, 1 failure (one line on stderr: what, why, the mend), 2 usage.

mod cli;
mod commands;
mod progress;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

/// Requests and API objects are many small, short-lived allocations on several threads: the system's allocator costs a
/// tenth of the CPU of each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(&cli.log))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && !refuses_colour())
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

/// See <https://no-color.org>.
fn refuses_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("copepod: {}", sentence(error));
    ExitCode::FAILURE
}

/// The error with its causes, but for those that its text already tells.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| {
        match (told.is_empty(), told.contains(&cause)) {
            (true, _) => cause,
            (false, true) => told,
            (false, false) => format!("{told}: {cause}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    #[test]
    fn a_cause_is_told_once() {
        let error = Err::<(), _>(anyhow::anyhow!("no such file"))
            .context("a.yaml: no such file")
            .context("not applied")
            .unwrap_err();
        assert_eq!(super::sentence(&error), "not applied: a.yaml: no such file");
    }
}
