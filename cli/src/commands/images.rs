//! `sealer images`

use std::path::Path;

use cache::Store;
use engine::Images;

use crate::report::Failure;
use crate::{settings, ui};

/// Digits of an id that are shown.
const SHORT_ID: usize = 12;

/// Lists the images of the store, newest first, one line a name; with `--quiet` their ids only.
pub(crate) fn run(quiet: bool, root: &Path) -> Result<(), Failure> {
    let mut rows = vec![["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"].map(str::to_owned)];
    if let Some(store) = Store::open_existing(root)? {
        let images = Images::new(&store);
        let mut all = images.list()?;
        all.reverse();
        all.sort_by_key(|tagged| std::cmp::Reverse(tagged.stored_at));
        let now = settings::now();
        for tagged in all {
            let image = images.read(&tagged)?;
            let (repository, tag) = match tagged.name.as_deref().and_then(|name| name.rsplit_once(':')) {
                Some((repository, tag)) => (repository.to_owned(), tag.to_owned()),
                None => ("<none>".to_owned(), "<none>".to_owned()),
            };
            let size: u64 = image.layers.iter().map(|layer| layer.blob.size).sum();
            let id = image.config_blob.digest.hex()[..SHORT_ID].to_owned();
            rows.push([repository, tag, id, age(now - tagged.stored_at), bytes(size)]);
        }
    }
    if quiet {
        rows[1..].iter().for_each(|row| ui::data(&row[2]));
        return Ok(());
    }
    let widths: Vec<usize> =
        (0..4).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}   "));
        ui::data(&format!("{}{}", cells.collect::<String>(), row[4]));
    }
    Ok(())
}

/// `3 seconds ago`, as sealer and docker say it.
fn age(seconds: i64) -> String {
    let (count, unit) = match seconds {
        ..1 => return "Less than a second ago".to_owned(),
        1..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        86_400..1_209_600 => (seconds / 86_400, "day"),
        1_209_600..5_184_000 => (seconds / 604_800, "week"),
        5_184_000..63_072_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// Three digits and a decimal unit: `44.5 KB`.
fn bytes(size: u64) -> String {
    let mut value = size as f64;
    let mut unit = "B";
    for next in ["KB", "MB", "GB", "TB"] {
        // 999.5 would be shown as 1000.
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    let decimals = if unit == "B" || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    let shown = format!("{value:.decimals$}");
    let shown = if shown.contains('.') { shown.trim_end_matches('0').trim_end_matches('.') } else { &shown };
    format!("{shown} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (size, shown) in [
            (0, "0 B"),
            (512, "512 B"),
            (3_550, "3.55 KB"),
            (44_500, "44.5 KB"),
            (145_000, "145 KB"),
            (999_999, "1 MB"),
            (1_230_000_000, "1.23 GB"),
        ] {
            assert_eq!(bytes(size), shown);
        }
    }

    #[test]
    fn ages_are_said_as_people_do() {
        for (seconds, said) in [
            (0, "Less than a second ago"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (7200, "2 hours ago"),
            (86_400 * 3, "3 days ago"),
        ] {
            assert_eq!(age(seconds), said);
        }
    }
}
