#!/usr/bin/env bash
# Passes every test of the project: format, lints, documentation, tests. Installs what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."

tests/install.sh

cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
# The core alone: features unify over a workspace, so it is also checked by itself.
cargo check -p sync-core --locked
cargo test --workspace --locked
