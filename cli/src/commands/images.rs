//! `sealer images`

use std::collections::HashMap;
use std::path::Path;

use cache::Store;
use engine::{Images, ImagesError, ManifestKind, Tagged};
use serde::Serialize;

use crate::args;
use crate::report::{Failure, Page, Reporter, UNREADABLE};
use crate::{settings, ui};

/// Digits of an id that are shown.
const SHORT_ID: usize = 12;

/// One line of the list.
struct Row {
    tagged: Tagged,
    id: String,
    size: u64,
}

/// Lists the images of the store, newest first, one line a name; with `quiet` their ids only.
pub(crate) fn run(args: &args::Images, quiet: bool, reporter: &Reporter, root: &Path) -> Result<(), Failure> {
    let filters = args.filter.iter().map(|text| Filter::new(text)).collect::<Result<Vec<_>, _>>()?;
    let rows = match Store::open_existing(root)? {
        Some(store) => rows(args, &filters, &Images::new(&store), reporter)?,
        None => Vec::new(),
    };
    let shown_id = |row: &Row| {
        if args.listing.no_trunc {
            format!("sha256:{}", row.id)
        } else {
            row.id.chars().take(SHORT_ID).collect()
        }
    };
    if args.listing.json {
        ui::json(&objects(&rows, &shown_id));
    } else if quiet {
        let mut seen = std::collections::HashSet::new();
        rows.iter().filter(|row| seen.insert(&row.id)).for_each(|row| ui::data(&shown_id(row)));
    } else {
        ui::table(&table(args, &rows, &shown_id));
    }
    Ok(())
}

fn rows(
    args: &args::Images,
    filters: &[Filter],
    images: &Images<'_>,
    reporter: &Reporter,
) -> Result<Vec<Row>, Failure> {
    let mut all = images.list()?;
    all.reverse();
    all.sort_by_key(|tagged| std::cmp::Reverse(tagged.stored_at));
    let mut rows = Vec::with_capacity(all.len());
    for tagged in all {
        match rows_of(&tagged, args.all, filters, images) {
            Ok(more) => rows.extend(more),
            Err(error) => {
                reporter.warn(Page::warning("image", error.to_string(), UNREADABLE));
                // Its name and digest are known, which is what removing it takes.
                if filters.is_empty() {
                    rows.push(Row { id: tagged.manifest.digest.hex(), size: tagged.manifest.size, tagged });
                }
            }
        }
    }
    Ok(rows)
}

/// The row of an image; with `all`, also those of the platforms of an index.
fn rows_of(
    tagged: &Tagged,
    all: bool,
    filters: &[Filter],
    images: &Images<'_>,
) -> Result<Vec<Row>, ImagesError> {
    let instances =
        if all && tagged.kind == ManifestKind::Index { images.instances(tagged)? } else { Vec::new() };
    let mut rows = Vec::new();
    for tagged in std::iter::once(tagged.clone()).chain(instances.into_iter().map(|(instance, _)| instance)) {
        let summary = images.summary(&tagged)?;
        let is_wanted = filters.iter().map(|filter| filter.holds(&tagged, images));
        if is_wanted.collect::<Result<Vec<_>, _>>()?.contains(&false) {
            continue;
        }
        rows.push(Row { tagged, id: summary.id.hex(), size: summary.size });
    }
    Ok(rows)
}

fn table(args: &args::Images, rows: &[Row], shown_id: &dyn Fn(&Row) -> String) -> Vec<Vec<String>> {
    let columns = [
        ("REPOSITORY", true),
        ("TAG", true),
        ("DIGEST", args.digests),
        ("IMAGE ID", true),
        ("CREATED", true),
        ("SIZE", true),
        ("HISTORY", args.history),
    ];
    let pick = |cells: [String; 7]| {
        let wanted = cells.into_iter().zip(columns).filter(|(_, (_, wanted))| *wanted);
        wanted.map(|(cell, _)| cell).collect::<Vec<_>>()
    };
    let now = settings::now();
    let mut table = Vec::new();
    if !args.listing.noheading {
        table.push(pick(columns.map(|(name, _)| name.to_owned())));
    }
    for row in rows {
        let (repository, tag) = match row.tagged.name.as_deref() {
            None => ("<none>", "<none>"),
            // Pulled by its digest: it never had a tag.
            Some(name) if name.contains('@') => (name.split('@').next().unwrap_or_default(), "<none>"),
            Some(name) => name.rsplit_once(':').unwrap_or((name, "<none>")),
        };
        table.push(pick([
            repository.to_owned(),
            tag.to_owned(),
            row.tagged.manifest.digest.to_string(),
            shown_id(row),
            age(now.saturating_sub(row.tagged.stored_at)),
            bytes(row.size),
            row.tagged.former_names.join(", "),
        ]));
    }
    table
}

/// The fields sealer prints, in its order.
#[derive(Serialize)]
struct Shown {
    id: String,
    names: Option<Vec<String>>,
    digest: String,
    createdat: String,
    size: String,
    created: i64,
    createdatraw: String,
    readonly: bool,
    history: Option<Vec<String>>,
}

/// One object an image with all its names.
fn objects(rows: &[Row], shown_id: &dyn Fn(&Row) -> String) -> Vec<Shown> {
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    let mut place_of = HashMap::new();
    for row in rows {
        let place = *place_of.entry(row.tagged.manifest.digest).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push(row);
    }
    let now = settings::now();
    let object = |rows: &Vec<&Row>| {
        let first = rows[0];
        let names: Vec<String> = rows.iter().filter_map(|row| row.tagged.name.clone()).collect();
        let former: Vec<String> = rows.iter().flat_map(|row| row.tagged.former_names.clone()).collect();
        Shown {
            id: shown_id(first),
            names: Some(names).filter(|names| !names.is_empty()),
            digest: first.tagged.manifest.digest.to_string(),
            createdat: age(now.saturating_sub(first.tagged.stored_at)),
            size: bytes(first.size),
            created: first.tagged.stored_at,
            createdatraw: engine::rfc3339(first.tagged.stored_at),
            readonly: false,
            history: Some(former).filter(|former| !former.is_empty()),
        }
    };
    groups.iter().map(object).collect()
}

/// One `--filter`.
enum Filter {
    Label(String, Option<String>),
    Type(String),
    Dangling(bool),
}

impl Filter {
    fn new(text: &str) -> Result<Self, Failure> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        match (key, value) {
            ("label", label) if !label.is_empty() => Ok(match label.split_once('=') {
                Some((key, value)) => Self::Label(key.to_owned(), Some(value.to_owned())),
                None => Self::Label(label.to_owned(), None),
            }),
            ("type", kind) => Ok(Self::Type(settings::image_type(kind)?)),
            ("dangling", "true") => Ok(Self::Dangling(true)),
            ("dangling", "false") => Ok(Self::Dangling(false)),
            _ => Err(Failure::usage(format!("`--filter {text}` is not one"))
                .hint("filters are label=KEY, label=KEY=VALUE, type=TYPE, dangling=true and dangling=false")),
        }
    }

    fn holds(&self, tagged: &Tagged, images: &Images<'_>) -> Result<bool, ImagesError> {
        if let Self::Dangling(wanted) = self {
            return Ok(tagged.name.is_none() == *wanted);
        }
        let tagged = match images.for_platform(tagged, &settings::host_platform()) {
            // No image for this machine: its labels cannot be meant.
            Err(ImagesError::Platform { .. }) => return Ok(false),
            tagged => tagged?,
        };
        let image = images.read(&tagged)?;
        Ok(match self {
            Self::Label(key, value) => image
                .labels()
                .get(key)
                .is_some_and(|found| value.as_ref().is_none_or(|wanted| wanted == found)),
            Self::Type(kind) => image.extension.is_some_and(|extension| extension.image_type == *kind),
            Self::Dangling(_) => unreachable!("answered above"),
        })
    }
}

/// `3 seconds ago`, as sealer and docker say it.
pub(crate) fn age(seconds: i64) -> String {
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
pub(crate) fn bytes(size: u64) -> String {
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
