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
    check_scan(&again);
}

fn check_scan(records: &impl Records) {
    let neighbours = [vec![8, 0xff], vec![10], vec![9, 0xff], vec![9, 0xff, 0xff, 1]];
    records.commit(neighbours.map(|key| (key, Vec::new())).into()).expect("neighbours are written");
    let scan = |prefix: &[u8]| {
        let mut keys = Vec::new();
        records.scan_prefix(prefix, &mut |key, _| keys.push(key.to_vec())).expect("a scan succeeds");
        keys
    };
    let table = scan(&[9]);
    assert_eq!(table.len(), 1002, "a prefix selects its keys and no neighbour's");
    assert!(table.is_sorted(), "keys come in order");
    assert_eq!(scan(&[9, 0xff]), [vec![9, 0xff], vec![9, 0xff, 0xff, 1]], "a prefix is part of itself");
    assert_eq!(scan(&[]).len(), 1004, "the empty prefix selects all");
    assert!(scan(&[11]).is_empty());
}
