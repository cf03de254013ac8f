//! `sealer cache verify`

use std::path::Path;

use engine::gc::{Damage, Verified, verify};
use serde_json::json;

use super::{bytes, open_alone};
use crate::args::Verify;
use crate::interrupt::Interrupt;
use crate::progress::{Copying, counted};
use crate::report::{Failure, Page};
use crate::ui;

/// Reads every blob, deletes what is damaged and forgets what needs it. An image that lost something is a failure.
pub(super) fn run(args: &Verify, quiet: bool, root: &Path) -> Result<(), Failure> {
    let interrupt = Interrupt::listen()?;
    let Some(store) = open_alone(root, args.wait, quiet)? else { return Ok(()) };
    let copying = Copying::start(quiet || args.json, "verified");
    let verified = verify(&store, &interrupt.cancel, &|bytes| copying.more(bytes));
    copying.end();
    let Some(verified) = verified? else {
        return Err(Failure::Cancelled {
            signal: interrupt.signal(),
            what: "cancelled; nothing was changed",
        });
    };
    if args.json {
        ui::data(&format!("{:#}", as_json(&verified)));
    } else if !quiet {
        ui::message(&format!(
            "verified {}, {}; {} were damaged, {} forgotten",
            counted(verified.blobs, "blob"),
            bytes(verified.bytes),
            verified.damage.iter().filter(|damage| damage.was_wrong).count(),
            counted(verified.records, "record"),
        ));
        if verified.healed {
            ui::message(
                "the database could not be read and was deleted: the next builds run their steps again",
            );
        }
    }
    let pages: Vec<Page> =
        verified.damage.iter().filter(|damage| !damage.needed_by.is_empty()).map(page).collect();
    if pages.is_empty() { Ok(()) } else { Err(Failure::Pages(pages)) }
}

fn page(damage: &Damage) -> Page {
    let what = if damage.was_wrong { "was damaged, and was deleted" } else { "is missing" };
    let message = format!("blob `{}` {what}; needed by {}", damage.blob.digest, damage.needed_by.join(", "));
    Page::error("damaged", message).hint("build or load these images again")
}

fn as_json(verified: &Verified) -> serde_json::Value {
    let damage = |damage: &Damage| {
        json!({
            "digest": damage.blob.digest.to_string(),
            "size": damage.blob.size,
            "state": if damage.was_wrong { "damaged" } else { "missing" },
            "neededBy": damage.needed_by,
        })
    };
    json!({
        "blobs": verified.blobs,
        "bytes": verified.bytes,
        "records": verified.records,
        "databaseDeleted": verified.healed,
        "damage": verified.damage.iter().map(damage).collect::<Vec<_>>(),
    })
}
