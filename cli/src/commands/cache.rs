//! `sealer cache`: what the store holds, and keeping it in order.

mod prune;
mod remote;
mod verify;

use std::path::Path;
use std::time::SystemTime;

use ::cache::{CacheError, Store};
use engine::gc::{DirKind, Entry, EntryKind, GcError, KeptDir, Policy, Survey};
use serde_json::json;

use super::images::{age, bytes};
use crate::args::{Cache, CacheCommand, Du, Global, Ls};
use crate::report::{Failure, Reporter};
use crate::{rootless, ui};

/// Digits of a digest that are shown.
const SHORT_ID: usize = 12;
/// Kinds, in the order they are shown.
const KINDS: [EntryKind; 4] = [EntryKind::Layer, EntryKind::Source, EntryKind::Image, EntryKind::Other];

/// Runs one of the commands. Where there is no store, there is nothing to show and nothing to do.
pub(crate) fn run(args: &Cache, global: &Global, reporter: &Reporter, root: &Path) -> Result<(), Failure> {
    let quiet = global.quiet;
    if let CacheCommand::Du(_) | CacheCommand::Prune(_) = &args.command
        && let Some(done) = rootless::tidy(root)
    {
        return done;
    }
    match &args.command {
        CacheCommand::Ls(args) => ls(args, quiet, root),
        CacheCommand::Du(args) => du(args, root),
        CacheCommand::Prune(args) => prune::run(args, quiet, root),
        CacheCommand::Verify(args) => verify::run(args, quiet, root),
        CacheCommand::Export(args) => remote::export(args, global, reporter, root),
        CacheCommand::Import(args) => remote::import(args, global, root),
        CacheCommand::Inspect(args) => remote::inspect(args, global),
    }
}

fn survey(root: &Path, look: fn(&Store) -> Result<Survey, GcError>) -> Result<Survey, Failure> {
    match Store::open_existing(root)? {
        Some(store) => Ok(look(&store)?),
        None => Ok(Survey { entries: Vec::new(), records_bytes: 0, dirs: Vec::new() }),
    }
}

/// Opens the store to delete from it. Whoever waits for others learns why nothing happens.
fn open_alone(root: &Path, wait: bool, quiet: bool) -> Result<Option<Store>, CacheError> {
    match Store::open_alone(root, false) {
        Err(busy @ CacheError::Busy { .. }) if wait => {
            if !quiet {
                ui::message(&format!("{busy}; waiting until nobody is"));
            }
            Store::open_alone(root, true)
        }
        opened => opened,
    }
}

/// Fills the filters of a policy.
fn filtered(filters: &[String]) -> Result<Policy, Failure> {
    let mut policy = Policy::default();
    for text in filters {
        let wrong = |hint: &str| Failure::usage(format!("`{text}` is not a filter")).hint(hint);
        match text.split_once('=') {
            Some(("type", word)) => {
                let kind = KINDS.into_iter().find(|kind| kind.as_str() == word);
                policy.kinds.push(kind.ok_or_else(|| wrong("types are layer, source, image and other"))?);
            }
            Some(("id", id)) => {
                let digits = id.strip_prefix("sha256:").unwrap_or(id);
                if digits.is_empty() || !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return Err(wrong("an id is the first hexadecimal digits of a digest"));
                }
                policy.ids.push(digits.to_owned());
            }
            _ => return Err(wrong("write type=layer or id=DIGITS")),
        }
    }
    Ok(policy)
}

/// Who needs or used an entry.
fn users(entry: &Entry) -> String {
    if !entry.needed_by.is_empty() {
        return entry.needed_by.join(", ");
    }
    if entry.used_by.is_empty() {
        return "-".to_owned();
    }
    format!("(last build of {})", entry.used_by.join(", "))
}

fn ago(time: SystemTime) -> String {
    let seconds = SystemTime::now().duration_since(time).unwrap_or_default().as_secs();
    age(seconds.try_into().unwrap_or(i64::MAX))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn entry_json(entry: &Entry) -> serde_json::Value {
    json!({
        "digest": entry.blob.digest.to_string(),
        "type": entry.kind.as_str(),
        "size": entry.blob.size,
        "lastUsed": seconds(entry.last_used),
        "neededBy": entry.needed_by,
        "usedBy": entry.used_by,
    })
}

fn ls(args: &Ls, quiet: bool, root: &Path) -> Result<(), Failure> {
    let policy = filtered(&args.filter)?;
    let survey = survey(root, Survey::of_blobs)?;
    let mut entries: Vec<&Entry> = survey.entries.iter().filter(|entry| policy.is_about(entry)).collect();
    entries.sort_by_key(|entry| std::cmp::Reverse((entry.last_used, entry.blob.size)));
    if args.listing.json {
        ui::data(&format!("{:#}", serde_json::Value::from_iter(entries.into_iter().map(entry_json))));
        return Ok(());
    }
    let id = |entry: &Entry| {
        let hex = entry.blob.digest.hex();
        if args.listing.no_trunc { format!("sha256:{hex}") } else { hex[..SHORT_ID].to_owned() }
    };
    if quiet {
        entries.iter().for_each(|entry| ui::data(&id(entry)));
        return Ok(());
    }
    let heading = ["ID", "TYPE", "SIZE", "LAST USED", "NEEDED BY"].map(str::to_owned).to_vec();
    let row = |entry: &&Entry| {
        let kind = entry.kind.as_str().to_owned();
        vec![id(entry), kind, bytes(entry.blob.size), ago(entry.last_used), users(entry)]
    };
    let heading = (!args.listing.noheading).then_some(heading);
    ui::table(&heading.into_iter().chain(entries.iter().map(row)).collect::<Vec<_>>());
    Ok(())
}

fn du(args: &Du, root: &Path) -> Result<(), Failure> {
    let survey = survey(root, Survey::new)?;
    let sums = KINDS.map(|kind| {
        let of_kind: Vec<&Entry> = survey.entries.iter().filter(|entry| entry.kind == kind).collect();
        let size: u64 = of_kind.iter().map(|entry| entry.blob.size).sum();
        let free = of_kind.iter().filter(|entry| entry.needed_by.is_empty()).map(|entry| entry.blob.size);
        (kind.as_str(), of_kind.len(), size, free.sum::<u64>())
    });
    let kept = [DirKind::Snapshot, DirKind::Mount, DirKind::Rootfs].map(|kind| {
        let of_kind: Vec<&KeptDir> = survey.dirs.iter().filter(|dir| dir.kind == kind).collect();
        let size: u64 = of_kind.iter().map(|dir| dir.size).sum();
        (kind.as_str(), of_kind.len(), size, size)
    });
    let sums: Vec<_> = sums.into_iter().chain(kept).collect();
    let reclaimable: u64 = sums.iter().map(|(.., free)| free).sum();
    if args.json {
        let types = sums.iter().map(|(kind, count, size, free)| {
            json!({ "type": kind, "count": count, "size": size, "reclaimable": free })
        });
        let all = json!({
            "types": types.collect::<Vec<_>>(),
            "records": survey.records_bytes,
            "total": survey.total_bytes(),
            "reclaimable": reclaimable,
        });
        ui::data(&format!("{all:#}"));
        return Ok(());
    }
    let mut rows = vec![["TYPE", "COUNT", "SIZE", "RECLAIMABLE"].map(str::to_owned).to_vec()];
    for (kind, count, size, free) in sums {
        rows.push(vec![kind.to_owned(), count.to_string(), bytes(size), bytes(free)]);
    }
    rows.push(vec!["records".into(), String::new(), bytes(survey.records_bytes), String::new()]);
    let count = (survey.entries.len() + survey.dirs.len()).to_string();
    rows.push(vec!["total".into(), count, bytes(survey.total_bytes()), bytes(reclaimable)]);
    ui::table(&rows);
    Ok(())
}
