//! How the program is linked; what the figures say is in `docs/design/performance.md`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // 45,000 addresses to be relocated at every start take 8 KiB in this form, and 1 MiB in the other.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
}
