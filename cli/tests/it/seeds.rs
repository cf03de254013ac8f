//! The fuzzer's seeds, among them everything that ever failed, run through its targets.

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::path::Path;

#[test]
fn no_seed_breaks_its_target() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, target) in targets::ALL {
        let mut count = 0;
        for seed in fs_err::read_dir(seeds.join(name)).unwrap() {
            target(&fs_err::read(seed.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count >= 3, "`{name}` has {count} seeds");
    }
}
