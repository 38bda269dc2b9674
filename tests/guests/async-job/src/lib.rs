//! A command of WASI 0.3 that does what its arguments say, one after another, as `step` or `step=value`.

use wasip3::cli::{environment, exit};
use wasip3::clocks::monotonic_clock;
use wasip3::filesystem::preopens;
use wasip3::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};
use wasip3::sockets::ip_name_lookup;

struct Component;

wasip3::cli::command::export!(Component);

impl wasip3::exports::cli::run::Guest for Component {
    async fn run() -> Result<(), ()> {
        for argument in environment::get_arguments().into_iter().skip(1) {
            let (step, value) = argument.split_once('=').unwrap_or((&argument, ""));
            match step {
                "print" => println!("{value}"),
                "warn" => eprintln!("{value}"),
                "env" => println!("{value}={}", std::env::var(value).unwrap_or_default()),
                "cat" => println!("{}", read(value).await),
                "sleep" => monotonic_clock::wait_for(value.parse().unwrap_or(0) * 1_000_000).await,
                "resolve" => match ip_name_lookup::resolve_addresses(value.to_owned()).await {
                    Ok(found) => println!("{value}: {} addresses", found.len()),
                    Err(error) => println!("{value}: {error:?}"),
                },
                "exit" => exit::exit_with_code(value.parse().unwrap_or(1)),
                "fail" => return Err(()),
                "trap" => std::process::abort(),
                other => println!("no such step: {other}"),
            }
        }
        Ok(())
    }
}

/// By WASI 0.3; the first mount that the path is in counts.
async fn read(path: &str) -> String {
    for (dir, root) in preopens::get_directories() {
        let Some(rest) = path.strip_prefix(&root) else { continue };
        let rest = rest.trim_start_matches('/').to_owned();
        let (flags, open) = (DescriptorFlags::READ, OpenFlags::empty());
        return match dir.open_at(PathFlags::SYMLINK_FOLLOW, rest, open, flags).await {
            Ok(file) => {
                let (bytes, _) = file.read_via_stream(0);
                String::from_utf8_lossy(&bytes.collect().await).into_owned()
            }
            Err(error) => format!("error: {error:?}"),
        };
    }
    "error: no such mount".to_owned()
}
