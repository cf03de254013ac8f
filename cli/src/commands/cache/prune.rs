//! `sealer cache prune`

use std::path::Path;
use std::time::{Duration, SystemTime};

use ::cache::Store;
use engine::gc::{Chosen, KeptDir, Policy, Pruned, Survey, prune, remove_dirs};
use serde_json::json;

use super::{SHORT_ID, bytes, entry_json, filtered, open_alone, seconds};
use crate::args::Prune;
use crate::progress::counted;
use crate::report::Failure;
use crate::{settings, ui};

/// Records that are small, and save work, outlive a size limit for so long.
const RECORDS_STAY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Deletes what no named image needs, and says why it went.
pub(super) fn run(args: &Prune, quiet: bool, root: &Path) -> Result<(), Failure> {
    let policy = policy(args)?;
    let store = if args.dry_run { Store::open_existing(root)? } else { open_alone(root, args.wait, quiet)? };
    let Some(store) = store else { return Ok(()) };
    let mut survey = Survey::new(&store)?;
    let now = SystemTime::now();
    let dirs = survey.take_dirs(&policy, now);
    let chosen = policy.choose(&survey, now);
    if !args.dry_run {
        // First: it takes no room, and what follows takes some.
        remove_dirs(&dirs)?;
    }
    // A size limit that is kept already is no reason to forget anything.
    let is_idle = policy.keep_bytes.is_some() && chosen.is_empty();
    let pruned =
        if is_idle { Pruned::default() } else { prune(&store, &chosen, records_age(&policy), args.dry_run)? };
    let told = Told { args, survey: &survey, chosen: &chosen, dirs: &dirs, pruned };
    if args.json {
        ui::data(&format!("{:#}", told.json()));
    } else {
        told.tell(quiet, policy.keep_bytes);
    }
    Ok(())
}

fn policy(args: &Prune) -> Result<Policy, Failure> {
    let duration = |text: &String| {
        humantime::parse_duration(text)
            .map_err(|_| Failure::usage(format!("`{text}` is not a duration")).hint("write 168h, 7d or 30m"))
    };
    Ok(Policy {
        keep_bytes: args.keep_storage.as_deref().map(settings::size).transpose()?,
        unused_for: args.unused_for.as_ref().map(duration).transpose()?.unwrap_or_default(),
        ..filtered(&args.filter)?
    })
}

/// The age from which on records go that nothing needs; `None` keeps all that have their blobs.
fn records_age(policy: &Policy) -> Option<Duration> {
    if !policy.kinds.is_empty() || !policy.ids.is_empty() {
        return None;
    }
    match policy.keep_bytes {
        Some(_) => Some(policy.unused_for.max(RECORDS_STAY)),
        None => Some(policy.unused_for),
    }
}

struct Told<'a> {
    args: &'a Prune,
    survey: &'a Survey,
    chosen: &'a [Chosen<'a>],
    dirs: &'a [KeptDir],
    pruned: Pruned,
}

impl Told<'_> {
    fn freed(&self) -> u64 {
        self.chosen_bytes() + self.dirs.iter().map(|dir| dir.size).sum::<u64>()
    }

    fn chosen_bytes(&self) -> u64 {
        self.chosen.iter().map(|chosen| chosen.entry.blob.size).sum()
    }

    fn json(&self) -> serde_json::Value {
        let entry = |chosen: &Chosen<'_>| {
            let mut entry = entry_json(chosen.entry);
            entry["why"] = json!(chosen.why);
            entry
        };
        let dir = |dir: &KeptDir| json!({ "id": dir.id, "type": dir.kind.as_str(), "size": dir.size, "lastUsed": seconds(dir.last_used), "why": dir.kind.why() });
        json!({
            "dryRun": self.args.dry_run,
            "deleted": self.chosen.iter().map(entry).chain(self.dirs.iter().map(dir)).collect::<Vec<_>>(),
            "freed": self.freed(),
            "records": self.pruned.records,
            "images": self.pruned.images,
            "remaining": self.survey.total_bytes() - self.chosen_bytes(),
            "needed": self.survey.needed_bytes(),
        })
    }

    fn tell(&self, quiet: bool, keep_bytes: Option<u64>) {
        for Chosen { entry, why } in self.chosen {
            let hex = entry.blob.digest.hex();
            if quiet {
                ui::data(&hex[..SHORT_ID]);
            } else {
                let size = bytes(entry.blob.size);
                ui::data(&format!("{} {} {size}: {why}", &hex[..SHORT_ID], entry.kind.as_str()));
            }
        }
        for KeptDir { id, kind, size, .. } in self.dirs {
            let id = &id[..id.len().min(SHORT_ID)];
            if quiet {
                ui::data(id);
            } else {
                ui::data(&format!("{id} {} {}: {}", kind.as_str(), bytes(*size), kind.why()));
            }
        }
        if quiet {
            return;
        }
        let did = if self.args.dry_run { "would free" } else { "freed" };
        let Pruned { records, images } = self.pruned;
        let left = self.survey.total_bytes() - self.chosen_bytes();
        ui::message(&format!(
            "{did} {} in {} and {}, with {} and {} without a name; {} stay, {} of them for images with names",
            bytes(self.freed()),
            counted(self.chosen.len(), "blob"),
            counted(self.dirs.len(), "directory"),
            counted(records, "record"),
            counted(images, "image"),
            bytes(left),
            bytes(self.survey.needed_bytes()),
        ));
        if keep_bytes.is_some_and(|keep| left > keep) {
            ui::message(
                "the store is still larger than `--keep-storage`: the rest is needed, or younger than `--unused-for`; \
                 `sealer rmi` removes images",
            );
        }
    }
}
