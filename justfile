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

# Benches and the load run; figures go into benches/README.md.
bench *names:
    cargo bench {{names}}

# Feeds the load path arbitrary bytes for some seconds.
fuzz seconds="300":
    fuzz/run load {{seconds}}

# A cluster on the user's data folder.
up *flags:
    cargo run --release -- up {{flags}}

# Regenerates the schema table from a Kubernetes source tree.
schema upstream:
    python3 control/schema/generate.py {{upstream}}
