//! Arbitrary bytes on the way to an artifact: judged by themselves, then as a runtime loads them. A panic anywhere on that
//! way is a finding, the compiler's included.
#![no_main]

use std::sync::{Arc, OnceLock};

use copepod_runtime::{LoadError, PoolConfig, Runtime, RuntimeConfig};
use libfuzzer_sys::fuzz_target;

/// What is larger is judged, and not compiled: a fuzzer wants many small inputs.
const COMPILED_BYTES_MAX: usize = 64 << 10;

fn runtime() -> &'static Arc<Runtime> {
    static RUNTIME: OnceLock<Arc<Runtime>> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Runtime::new(RuntimeConfig {
            guest_threads: Some(1),
            pool: PoolConfig { instances: 0 },
            ..RuntimeConfig::default()
        })
        .expect("start the runtime")
    })
}

fuzz_target!(|wasm: &[u8]| {
    if copepod_runtime::judge(wasm).is_err() || wasm.len() > COMPILED_BYTES_MAX {
        return;
    }
    let here = tokio::runtime::Builder::new_current_thread().build().expect("an executor");
    let loaded = here.block_on(runtime().load("fuzz", wasm.to_vec().into()));
    runtime().forget("fuzz");
    if let Err(LoadError::Invalid { reason }) = loaded {
        assert!(!reason.contains("the compiler failed"), "the compiler panicked");
    }
});
