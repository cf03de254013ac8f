#!/usr/bin/env bash
# Compiles RocksDB once per (crate version, C++ compiler) and keeps the static library outside every target
# directory, then points this clone's cargo at it through a generated .cargo/config.toml.
#
# RocksDB costs 15-25 CPU-minutes; with the kept library every cargo call, a bare `cargo build` included, links it in
# seconds. Without this script cargo still works: librocksdb-sys then compiles the bundled sources itself.
set -euo pipefail

sys_version=0.19.0+11.8.1 # librocksdb-sys, as in Cargo.lock (checked below)
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${SEALER_BUILD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sealer-build}
compiler=$(c++ -dumpfullversion -dumpversion)
machine=$(c++ -dumpmachine)
kept="$cache/librocksdb-sys-$sys_version-lz4-$machine-gcc$compiler"

if [ -f "$root/Cargo.lock" ] && ! grep -q "^version = \"$sys_version\"" "$root/Cargo.lock"; then
  echo "scripts/rocksdb.sh: Cargo.lock does not name librocksdb-sys $sys_version; update the version here" >&2
  exit 1
fi

if [ ! -f "$kept/librocksdb.a" ]; then
  echo "Compiling RocksDB $sys_version once, into $kept (15 minutes or more on two cores)..." >&2
  work="$cache/build"
  mkdir -p "$work/src" "$kept"
  cat > "$work/Cargo.toml" <<TOML
[package]
name = "rocksdb-once"
version = "0.0.0"
edition = "2021"
[dependencies]
librocksdb-sys = { version = "=$sys_version", default-features = false, features = ["lz4", "bindgen-runtime"] }
[workspace]
TOML
  echo > "$work/src/lib.rs"
  env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC CARGO_TARGET_DIR="$work/target" \
    cargo build --quiet --release --manifest-path "$work/Cargo.toml"
  library=$(find "$work/target/release/build" -name librocksdb.a | head -n 1)
  cp "$library" "$kept/librocksdb.a.tmp"
  mv "$kept/librocksdb.a.tmp" "$kept/librocksdb.a"
  rm -rf "$work"
fi

mkdir -p "$root/.cargo"
cat > "$root/.cargo/config.toml" <<TOML
# Written by scripts/rocksdb.sh for this machine; not committed.
[env]
ROCKSDB_LIB_DIR = "$kept"
ROCKSDB_STATIC = "1"
TOML
