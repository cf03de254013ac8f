//! What every implementation of [`Records`] must do.

use crate::Records;

/// Runs the whole suite. `reopen` gives the same store again, as a new process would see it.
///
/// # Panics
/// When the implementation does not conform.
pub fn check<R: Records>(reopen: impl Fn() -> R) {
    let key = |n: u32| [&[9], &n.to_be_bytes()[..]].concat();
    let empty = reopen();
    assert_eq!(empty.get_many(&[key(1)]).expect("an empty store answers"), [None]);
    assert_eq!(empty.get_many(&[]).expect("no question is a question"), [] as [Option<Vec<u8>>; 0]);

    let batch = (0..1000).map(|n| (key(n), vec![n as u8; n as usize % 97])).collect();
    empty.commit(batch).expect("a batch is written");
    let keys: Vec<_> = (0..1001).map(key).collect();
    let seen = empty.get_many(&keys).expect("the writer reads what it wrote");
    assert_eq!(seen[5], Some(vec![5; 5]), "values come back under their keys");
    assert_eq!(seen[97], Some(Vec::new()), "an empty value is a value");
    assert_eq!(seen[1000], None, "what was not written is absent");

    empty.commit(vec![(key(5), b"newer".to_vec())]).expect("a value is replaced");
    let again = reopen();
    let seen = again.get_many(&[key(5), key(6)]).expect("another process reads");
    assert_eq!(seen, [Some(b"newer".to_vec()), Some(vec![6; 6])], "the newest value counts, the others stay");

    let listed = |records: &R, prefix: &[u8]| {
        let mut listed = Vec::new();
        let all = records.scan(prefix, &mut |key, value| listed.push((key.to_vec(), value.to_vec())));
        all.map(|()| listed).expect("a store can be listed")
    };
    assert_eq!(listed(&again, &[9]).len(), 1000, "all of a table is listed");
    assert_eq!(listed(&again, &[8]), [], "nothing of another is");
    assert_eq!(listed(&again, &key(6)), [(key(6), vec![6; 6])], "a whole key is a prefix too");

    again.forget(&[key(5), key(1_000_000)]).expect("keys are forgotten, those that never were too");
    let last = reopen();
    assert_eq!(last.get_many(&[key(5), key(6)]).expect("the rest is there"), [None, Some(vec![6; 6])]);
    assert_eq!(listed(&last, &[9]).len(), 999, "what is forgotten is not listed");
}
