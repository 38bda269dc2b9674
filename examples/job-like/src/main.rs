//! A command that does its work and exits: counts the primes below a limit.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(limit) = std::env::args().nth(1).and_then(|limit| limit.parse().ok()) else {
        eprintln!("usage: job-like LIMIT");
        return ExitCode::FAILURE;
    };
    println!("{} primes below {limit}", primes_below(limit));
    ExitCode::SUCCESS
}

/// Counts by the sieve of Eratosthenes.
fn primes_below(limit: usize) -> usize {
    let mut composite = vec![false; limit];
    let mut count = 0;
    for candidate in 2..limit {
        if composite[candidate] {
            continue;
        }
        count += 1;
        // A square beyond the address space is beyond the limit too.
        for multiple in (candidate.saturating_mul(candidate)..limit).step_by(candidate) {
            composite[multiple] = true;
        }
    }
    count
}
