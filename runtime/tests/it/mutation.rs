//! Truncated and mutated files on the way from bytes to an artifact: no panic, every outcome an artifact or an error that
//! says what is wrong. `fuzz/` goes on where this stops.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use copepod_runtime::LoadError;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{guest, runtime, soon};

/// What may be done to a file.
#[derive(Debug, Clone)]
enum Change {
    Truncate(usize),
    Flip { at: usize, bit: u8 },
    Overwrite { at: usize, bytes: Vec<u8> },
    Remove { at: usize, count: usize },
    Insert { at: usize, bytes: Vec<u8> },
    Repeat { at: usize, count: usize },
}

impl Change {
    fn apply(&self, wasm: &mut Vec<u8>) {
        let end = wasm.len();
        match self {
            Change::Truncate(to) => wasm.truncate(to % (end + 1)),
            _ if end == 0 => {}
            Change::Flip { at, bit } => wasm[at % end] ^= 1 << (bit % 8),
            Change::Overwrite { at, bytes } => {
                for (to, byte) in wasm[at % end..].iter_mut().zip(bytes) {
                    *to = *byte;
                }
            }
            Change::Remove { at, count } => {
                let from = at % end;
                wasm.drain(from..(from + count).min(end));
            }
            Change::Insert { at, bytes } => {
                wasm.splice(at % end..at % end, bytes.iter().copied());
            }
            Change::Repeat { at, count } => {
                let from = at % end;
                let again = wasm[from..(from + count).min(end)].to_vec();
                wasm.splice(from..from, again);
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let bytes = || proptest::collection::vec(any::<u8>(), 1..9);
    // The beginning is where the structure is; most of a file is code.
    let at = || prop_oneof![any::<usize>(), 0usize..4096];
    prop_oneof![
        any::<usize>().prop_map(Change::Truncate),
        (at(), any::<u8>()).prop_map(|(at, bit)| Change::Flip { at, bit }),
        (at(), bytes()).prop_map(|(at, bytes)| Change::Overwrite { at, bytes }),
        (at(), 1usize..64).prop_map(|(at, count)| Change::Remove { at, count }),
        (at(), bytes()).prop_map(|(at, bytes)| Change::Insert { at, bytes }),
        (at(), 1usize..64).prop_map(|(at, count)| Change::Repeat { at, count }),
    ]
}

/// Loads `wasm`; says what is wrong with the outcome, if anything is.
async fn outcome(wasm: Vec<u8>) -> Result<(), String> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // Each mutant is to be judged by itself.
    let digest = format!("test:mutant-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let loaded = soon("the judgement", runtime().load(&digest, wasm.into())).await;
    runtime().forget(&digest);
    match loaded {
        Err(LoadError::Invalid { reason }) if reason.contains("the compiler failed") => {
            Err(format!("a panic: {reason}"))
        }
        Err(error) if error.to_string().is_empty() => Err("an error without words".to_owned()),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn small() -> Bytes {
    let text = "(component
        (core module $m (memory (export \"memory\") 1) (table 4 funcref)
            (func $f (result i32) i32.const 0) (elem (i32.const 0) $f)
            (data (i32.const 8) \"data\") (export \"run\" (func $f)))
        (core instance $i (instantiate $m))
        (func $run (result (result)) (canon lift (core func $i \"run\")))
        (component $c (import \"f\" (func $f (result (result)))) (export \"run\" (func $f)))
        (instance $e (instantiate $c (with \"f\" (func $run))))
        (export \"wasi:cli/run@0.2.0\" (instance $e)))";
    wat::parse_str(text).unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutated_file_is_an_artifact_or_an_error() {
    let (small, real) = (small(), guest("command-guest.wasm"));
    runtime().load("test:unchanged", small.clone()).await.unwrap();
    // Deterministic, so that a failure is one for everybody.
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let changes = proptest::collection::vec(change(), 1..4);
    // The small one reaches further: much of a real guest is code, which validates or not.
    for (original, count) in [(&small, 300), (&real, 60)] {
        for _ in 0..count {
            let changes = changes.new_tree(&mut runner).unwrap().current();
            let mut wasm = original.to_vec();
            for change in &changes {
                change.apply(&mut wasm);
            }
            if let Err(problem) = outcome(wasm).await {
                panic!("{changes:?} of {} bytes: {problem}", original.len());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_file_is_an_error() {
    let (small, real) = (small(), guest("http_guest.wasm"));
    let cuts = (0..small.len()).map(|at| small.slice(..at));
    let step = real.len() / 100;
    for cut in cuts.chain((0..100).map(|at| real.slice(..at * step))) {
        let length = cut.len();
        if let Err(problem) = outcome(cut.into()).await {
            panic!("the first {length} bytes: {problem}");
        }
    }
}
