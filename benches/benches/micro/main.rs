//! The parts of a build by themselves (divan): `cargo bench -p benches`, with a word to run only what has it in its name.
//!
//! One file a room: text, graph, trees, layers, hashing, store. Each counts the bytes or the items it goes through, so that
//! figures of different sizes can be compared.

mod graph;
mod hashing;
mod layers;
mod session;
mod store;
mod text;
mod trees;

fn main() {
    divan::main();
}
