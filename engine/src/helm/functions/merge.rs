//! `merge` and `mergeOverwrite`, with every oddity of the library behind them (mergo): what is empty in the
//! destination, `false` and `0` included, gives way to the source.

use std::rc::Rc;

use super::{ANY, Call, Entry};
use crate::helm::fault::Outcome;
use crate::helm::templates::Run;
use crate::helm::value::{Map, Value, check_depth};

pub(super) const TABLE: &[Entry] = &[
    ("merge", 1, ANY, |call| merge(call, false)),
    ("mustMerge", 1, ANY, |call| merge(call, false)),
    ("mergeOverwrite", 1, ANY, |call| merge(call, true)),
    ("mustMergeOverwrite", 1, ANY, |call| merge(call, true)),
];

fn merge(call: &Call<'_>, overwrite: bool) -> Outcome<Value> {
    let into = call.map(0)?;
    for at in 1..call.args.len() {
        merge_map(call.run, &into, &*call.map(at)?, overwrite, 0)?;
    }
    Ok(Value::Map(into))
}

fn merge_map(run: &Run, into: &Rc<Map>, from: &Map, overwrite: bool, depth: usize) -> Outcome<()> {
    check_depth(depth)?;
    run.touch(into)?;
    for (key, source) in from.entries() {
        run.work.bytes(64)?;
        let old = into.get(&key);
        match (&source, &old) {
            (Value::Nil, _) => {
                if overwrite {
                    into.set(key, source);
                }
                continue;
            }
            (Value::Map(source), Some(Value::Map(old))) => {
                merge_map(run, old, source, overwrite, depth + 1)?;
                if old.len() > 0 {
                    continue;
                }
            }
            // Something that is no map is not replaced by one; a list is, where anything may be.
            (Value::Map(_), Some(old)) if old.is_true() => continue,
            (Value::List(_) | Value::Bytes(_), Some(old)) if old.is_true() && !overwrite => continue,
            _ => {}
        }
        if overwrite || !old.is_some_and(|old| old.is_true()) {
            into.set(key, source);
        }
    }
    Ok(())
}
