//! The engine of the bare floors: wasmtime's best pool, for WASI 0.2 alone.

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

pub fn best_config() -> Config {
    let mut pool = PoolingAllocationConfig::default();
    pool.linear_memory_keep_resident(2 << 20)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        .max_unused_warm_slots(1000);
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes);
    }
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .memory_init_cow(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
