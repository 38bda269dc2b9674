# The few commands that matter; CI uses the same.

# What CI runs: formatting, lints, all tests.
ci:
    .ci/run

# Unit tests whose name contains the filter. The whole workspace, since `-p` would choose other features of the
# dependencies and build them anew.
unit *filter:
    cargo test --workspace --lib -- {{filter}}

# End-to-end tests whose name contains the filter.
e2e *filter:
    cargo test --test e2e -- {{filter}}

# The examples in C, JavaScript and Python: builds them and tests them in a cluster. Needs make, Python 3 with venv and
# Node.js with npm; their compilers go into folders of the examples.
guests-all:
    COPEPOD_TEST_GUESTS=all cargo test --workspace --test e2e -- languages

# The client library of Python against a cluster. Needs Python 3 with venv; the library comes from PyPI.
clients:
    COPEPOD_TEST_CLIENTS=all cargo test --workspace --test e2e -- clients

# Upstream's conformance tests that are known to pass, by the `e2e.test` of its release.
conformance e2e_test pattern="":
    tests/conformance/run {{e2e_test}} {{pattern}}

# Benches and the load run; figures go into benches/README.md.
bench *names:
    cargo bench {{names}}

# The `wasmtime serve` that the load run compares with, of the same version as ours. Takes many minutes.
wasmtime:
    cargo install wasmtime-cli --version "$(sed -n 's/.*WASMTIME_VERSION: &str = "\(.*\)";/\1/p' runtime/src/lib.rs)" \
        --locked --root target/tools --target-dir target/tools/build

# Fuzzes one of `fuzz/fuzz_targets` for some seconds.
fuzz target="load" seconds="300":
    fuzz/run {{target}} {{seconds}}

# A cluster on the user's data folder.
up *flags:
    cargo run --release -- up {{flags}}

# Regenerates the schema table from a Kubernetes source tree.
schema upstream:
    python3 control/schema/generate.py {{upstream}}
