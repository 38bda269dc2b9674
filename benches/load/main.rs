//! Load runs against a real `copepod up`, from another process, as its users meet it.
//!
//! `cargo bench --bench load` runs all parts; `cargo bench --bench load -- http replicas` those named. `--wrk` makes the
//! HTTP load with `wrk` instead of our own generator. Every run of a part starts its own cluster on a fresh data folder.

#[path = "../support/cpu.rs"]
mod cpu;
#[path = "../support/disk.rs"]
mod disk;
#[path = "../support/figures.rs"]
mod figures;
#[path = "../support/guests.rs"]
mod guests;

mod apply;
mod configmaps;
mod fanout;
mod first;
mod generator;
mod held;
mod http;
mod objects;
mod raw;
mod reads;
mod replicas;
mod requests;
mod serve;
mod up;

use figures::Figures;
use generator::Generator;

/// A part of the run; each prints its own figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Apply,
    ConfigMaps,
    FanOut,
    First,
    Held,
    Http,
    Reads,
    Replicas,
    Up,
}

impl Part {
    const ALL: [Part; 9] = [
        Part::Up,
        Part::First,
        Part::Replicas,
        Part::Http,
        Part::ConfigMaps,
        Part::Reads,
        Part::FanOut,
        Part::Held,
        Part::Apply,
    ];

    fn name(self) -> &'static str {
        match self {
            Part::Apply => "apply",
            Part::ConfigMaps => "configmaps",
            Part::FanOut => "fanout",
            Part::First => "first",
            Part::Held => "held",
            Part::Http => "http",
            Part::Reads => "reads",
            Part::Replicas => "replicas",
            Part::Up => "up",
        }
    }

    async fn run(self, figures: &mut Figures, generator: Generator) -> anyhow::Result<()> {
        match self {
            Part::Apply => apply::run(figures).await,
            Part::ConfigMaps => configmaps::run(figures).await,
            Part::FanOut => fanout::run(figures).await,
            Part::First => first::run(figures).await,
            Part::Held => held::run(figures).await,
            Part::Http => http::run(figures, generator).await,
            Part::Reads => reads::run(figures).await,
            Part::Replicas => replicas::run(figures).await,
            Part::Up => up::run(figures).await,
        }
    }
}

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// To be the server that the HTTP part measures beside.
    RawServer,
    Parts {
        parts: Vec<Part>,
        generator: Generator,
    },
    Nothing,
}

fn parse(arguments: impl Iterator<Item = String>) -> anyhow::Result<Asked> {
    let (mut parts, mut generator, mut benching) = (Vec::new(), Generator::Own, false);
    for argument in arguments {
        match argument.as_str() {
            raw::ARGUMENT => return Ok(Asked::RawServer),
            // Cargo's own word, which `cargo test` does not say.
            "--bench" => benching = true,
            "--wrk" => generator = Generator::Wrk,
            name => {
                let part = Part::ALL.into_iter().find(|part| part.name() == name);
                let names = Part::ALL.map(Part::name).join(", ");
                parts.push(part.ok_or_else(|| {
                    anyhow::anyhow!("no part {name:?}; there are {names}, and the flag --wrk")
                })?);
            }
        }
    }
    if parts.is_empty() && benching {
        parts.extend(Part::ALL);
    }
    Ok(if parts.is_empty() { Asked::Nothing } else { Asked::Parts { parts, generator } })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match parse(std::env::args().skip(1))? {
        Asked::RawServer => raw::serve().await,
        Asked::Nothing => {
            println!("measures under `cargo bench --bench load` only");
            Ok(())
        }
        Asked::Parts { parts, generator } => {
            let (mut figures, mut failed) = (Figures::default(), Vec::new());
            for part in parts {
                println!("\n# {}", part.name());
                // One part that fails does not take the others' figures along.
                if let Err(error) = part.run(&mut figures, generator).await {
                    println!("{} failed: {error:#}", part.name());
                    failed.push(part.name());
                }
            }
            figures.print_table();
            anyhow::ensure!(failed.is_empty(), "these parts failed: {}", failed.join(", "));
            Ok(())
        }
    }
}
