//! The binary as its users meet it.

mod copying;
mod errors;
mod golden;
mod peers;
mod reproducible;
#[path = "../../../engine/tests/it/server.rs"]
mod server;
mod space;
