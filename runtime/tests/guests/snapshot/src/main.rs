//! A command with a dear initialisation, which a snapshot can take before: a table of some megabytes.

use std::collections::HashMap;
use std::sync::OnceLock;

wit_bindgen::generate!({
    inline: "
        package test:snapshot;
        world initialised {
            export wizer-initialize: func();
        }
    ",
});

struct Component;

export!(Component);

impl Guest for Component {
    fn wizer_initialize() {
        table();
    }
}

static TABLE: OnceLock<Vec<u32>> = OnceLock::new();

/// How many steps each number takes to 1 (Collatz).
fn table() -> &'static [u32] {
    TABLE.get_or_init(|| {
        let steps = |from: u64| {
            let (mut n, mut steps) = (from.max(1), 0);
            while n != 1 {
                n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
                steps += 1;
            }
            steps
        };
        (0..1_000_000).map(steps).collect()
    })
}

fn main() {
    let initialised = TABLE.get().is_some();
    let table = table();
    let longest = table.iter().enumerate().max_by_key(|(_, steps)| **steps);
    let (number, steps) = longest.expect("a table");
    println!("table {} {number} {steps}", table.len());
    println!("initialised {initialised}");
    let name = std::env::var("NAME").unwrap_or_default();
    println!("args {:?} env {name}", std::env::args().skip(1).collect::<Vec<_>>());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    println!("now {}", now.expect("a time").as_millis());
    // The keys of a hash map are random ones.
    use std::hash::BuildHasher;
    println!("random {}", HashMap::<u8, u8>::new().hasher().hash_one(0));
}
