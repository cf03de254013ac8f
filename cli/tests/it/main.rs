//! The binary as its users meet it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod again;
mod archives;
mod cache;
mod cached_trees;
mod caches;
mod conformance;
mod container_images;
mod contexts;
mod copying;
mod digests;
mod discovery;
mod docker;
mod environment;
mod errors;
mod git;
mod git_server;
mod golden;
mod graph;
mod image_registry;
mod images;
mod indexes;
mod lint;
mod lock;
mod merging;
mod mirrors;
mod origins;
mod outputs;
mod pages;
mod peers;
mod pins;
mod registry;
mod registry_faults;
mod registry_peers;
mod registry_server;
mod remotes;
mod reproducible;
mod run;
mod seeds;
#[path = "../../../engine/tests/it/server.rs"]
mod server;
mod soak;
mod space;
mod stores;
mod terminal;
mod timings;
mod together;
mod transport;
mod usage;
