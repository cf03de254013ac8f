//! After the export: further outputs, and what is told of the build.

use std::time::Instant;

use cache::Store;
use engine::transport::{self, Destination, Save};
use engine::{Bases, Built, Exported, FileChange, Images, StepReport, Tagged, Why};
use serde_json::json;
use solver::{Activity, Descriptor, EventSink, Platform, SourceFile, during};

use super::caches;
use super::options::Settings;
use crate::args::{Build, Explain, Global};
use crate::commands::push::{send, told};
use crate::interrupt::Interrupt;
use crate::progress::{counted, printable};
use crate::report::{Failure, Page, Reporter};
use crate::settings::{Output, OutputType};
use crate::ui;

/// A build that succeeded.
pub(super) struct Finished<'a> {
    pub(super) built: &'a Built,
    pub(super) exported: &'a Exported,
    /// They know the registries, which counted requests and bytes, and the caches that were asked.
    pub(super) bases: &'a Bases<'a>,
    pub(super) start: Instant,
    pub(super) settings: &'a Settings,
}

impl Finished<'_> {
    /// Writes the files asked for, and says what was built.
    pub(super) fn tell(
        &self,
        args: &Build,
        global: &Global,
        source: &SourceFile,
        reporter: &Reporter,
    ) -> Result<(), Failure> {
        let fail =
            |error: std::io::Error| Failure::usage(format!("the image is built and stored, but {error}"));
        if let Some(file) = &args.iidfile {
            fs_err::write(file, self.exported.id.to_string()).map_err(fail)?;
        }
        if let Some(file) = &args.metadata_file {
            fs_err::write(file, format!("{:#}\n", self.metadata())).map_err(fail)?;
        }
        // What goes to standard output is the image itself then.
        let is_taken = self.settings.outputs.iter().any(|output| output.destination == Destination::Stdout);
        let data = if is_taken { ui::message } else { ui::data };
        if let Some(format) = args.explain {
            data(&explain(&self.built.reports, source, format));
        }
        if global.quiet {
            data(&self.exported.id.to_string());
            return Ok(());
        }
        let Built { vertices, cached, layers_made, .. } = self.built;
        reporter.summary(&format!(
            "built {} ({}) in {} ms: {}, {cached} cached, {} made",
            self.settings.export.names.join(", "),
            self.exported.line.manifest.digest,
            self.start.elapsed().as_millis(),
            counted(*vertices, "step"),
            counted(*layers_made, "layer"),
        ));
        Ok(())
    }

    fn metadata(&self) -> serde_json::Value {
        let (requests, bytes) = self.bases.registry().network();
        let instance = |(platform, manifest): &(Platform, Descriptor)| {
            (platform.to_string(), json!(manifest.digest.to_string()))
        };
        let platforms: serde_json::Map<String, serde_json::Value> =
            self.exported.instances.iter().map(instance).collect();
        serde_json::json!({
            "containerimage.digest": self.exported.line.manifest.digest.to_string(),
            "containerimage.config.digest": self.exported.id.to_string(),
            "containerimage.platforms": platforms,
            "image.name": self.settings.export.names.join(","),
            "sealer.build": {
                "vertices": self.built.vertices,
                "cached": self.built.cached,
                "executed": self.built.executed,
                "layers_made": self.built.layers_made,
                "bytes_fetched": bytes,
                "http_requests": requests,
                "wall_ms": self.start.elapsed().as_millis(),
            },
        })
    }
}

/// The image goes where it is wanted beside the store, and what is known of its steps with it.
pub(super) fn deliver(
    store: &Store,
    finished: &Finished<'_>,
    interrupt: &Interrupt,
    (quiet, reporter): (bool, &Reporter),
    events: &dyn EventSink,
) -> Result<(), Failure> {
    let &Finished { built, bases, settings, .. } = finished;
    if settings.outputs.iter().any(|output| output.kind != OutputType::Store) {
        during(events, Activity::Outputs, || outputs(store, finished, interrupt, reporter))?;
    }
    if !settings.pushed.is_empty() {
        during(events, Activity::Push, || pushes(store, finished, interrupt, (quiet, reporter)))?;
    }
    if !settings.caches.to.is_empty() {
        during(events, Activity::Caches, || {
            caches::export(store, bases, settings, built, (interrupt, reporter))
        })?;
    }
    Ok(())
}

/// Writes the image to every output but the store, which has it.
fn outputs(
    store: &Store,
    finished: &Finished<'_>,
    interrupt: &Interrupt,
    reporter: &Reporter,
) -> Result<(), Failure> {
    for output in &finished.settings.outputs {
        write(store, finished.settings, &finished.exported.line, output, interrupt, reporter)?;
    }
    Ok(())
}

/// Sends the image to every registry it shall go to.
fn pushes(
    store: &Store,
    finished: &Finished<'_>,
    interrupt: &Interrupt,
    (quiet, reporter): (bool, &Reporter),
) -> Result<(), Failure> {
    for to in &finished.settings.pushed {
        let line = Tagged { name: Some(to.full_name()), ..finished.exported.line.clone() };
        let line = if finished.settings.export.is_stored { line } else { Tagged { name: None, ..line } };
        let pushed = send(store, finished.bases.registry(), &line, to, quiet, interrupt)
            .map_err(|failure| failure.hint("the image is built and stored; `sealer push` sends it"))?;
        reporter.summary(&told(&line, to, pushed));
    }
    Ok(())
}

fn write(
    store: &Store,
    settings: &Settings,
    tagged: &Tagged,
    output: &Output,
    interrupt: &Interrupt,
    reporter: &Reporter,
) -> Result<(), Failure> {
    let fail = |error| Failure::transport(error, interrupt.signal());
    let (times, destination, cancel) = (settings.times, &output.destination, &interrupt.cancel);
    match output.kind {
        OutputType::Store => {}
        OutputType::Layout(format) => {
            let save = Save {
                format,
                destination: destination.clone(),
                compression: None,
                cancel,
                progress: &|_| {},
            };
            transport::save(store, tagged, &settings.export.names, &save).map_err(fail)?;
        }
        OutputType::Tar => {
            let image = Images::new(store).read(tagged)?;
            transport::write_tar(store, &image, times, destination, cancel).map_err(fail)?;
        }
        OutputType::Rootfs => {
            let image = Images::new(store).read(tagged)?;
            let report = transport::write_rootfs(store, &image, times, destination, cancel).map_err(fail)?;
            let lost = [
                (report.owners_not_set, "files belong to you instead of their owners"),
                (report.attributes_not_set, "files lack capabilities or other attributes"),
                (report.devices_left_out, "devices were left out"),
            ];
            for (count, what) in lost.into_iter().filter(|(count, _)| *count > 0) {
                let text = format!("rootfs: {count} {what}: only root may do that");
                reporter.warn(Page::warning("rootfs", text, "build as root, or use `--output type=tar`"));
            }
        }
    }
    Ok(())
}

/// Every step, whether it ran, and why.
fn explain(reports: &[StepReport], source: &SourceFile, format: Explain) -> String {
    let line = |report: &StepReport| report.spans.first().map(|span| source.position(span.start).line);
    match format {
        Explain::Json => {
            let object = |report: &StepReport| {
                json!({
                    "step": report.name,
                    "line": line(report),
                    "ran": report.ran,
                    "why": why_json(&report.why),
                })
            };
            format!("{:#}", serde_json::Value::from(reports.iter().map(object).collect::<Vec<_>>()))
        }
        Explain::Text => {
            let text = |report: &StepReport| {
                let place = line(report).map_or_else(String::new, |line| format!("line {line}: "));
                let outcome = if report.ran { "ran   " } else { "cached" };
                let (name, why) = (printable(&report.name), printable(&why_text(&report.why)));
                format!("{outcome} {place}{name}\n       {why}")
            };
            reports.iter().map(text).collect::<Vec<_>>().join("\n")
        }
    }
}

fn change_word(change: FileChange) -> &'static str {
    match change {
        FileChange::Added => "added",
        FileChange::Removed => "removed",
        FileChange::Content => "content",
        FileChange::Attributes => "attributes",
    }
}

fn why_text(why: &Why) -> String {
    match why {
        Why::Unchanged => "nothing it depends on is different".to_owned(),
        Why::SameContent => "what it depends on was made again, and what it reads is the same".to_owned(),
        Why::New => "it never ran for this image before".to_owned(),
        Why::NotAsked => "it was asked to run: `--no-cache` or `--no-cache-filter`".to_owned(),
        Why::Forgotten => "nothing is different, but its result is not in the cache any more".to_owned(),
        Why::Differs { name, before, after } => {
            let side = |side: &Option<String>| match side.as_deref() {
                None => "not there".to_owned(),
                Some("") => "nothing".to_owned(),
                Some(text) => format!("`{text}`"),
            };
            format!("{name} was {}, is {}", side(before), side(after))
        }
        Why::File { path, change } => match change {
            FileChange::Added => format!("`{path}` is new"),
            FileChange::Removed => format!("`{path}` is gone"),
            FileChange::Content => format!("the content of `{path}` is different"),
            FileChange::Attributes => format!("mode, owner or attributes of `{path}` are different"),
        },
    }
}

fn why_json(why: &Why) -> serde_json::Value {
    match why {
        Why::Unchanged => json!({ "reason": "unchanged" }),
        Why::SameContent => json!({ "reason": "same-content" }),
        Why::New => json!({ "reason": "new" }),
        Why::NotAsked => json!({ "reason": "no-cache" }),
        Why::Forgotten => json!({ "reason": "forgotten" }),
        Why::Differs { name, before, after } => {
            json!({ "reason": "differs", "what": name, "before": before, "after": after })
        }
        Why::File { path, change } => {
            json!({ "reason": "file", "path": path, "change": change_word(*change) })
        }
    }
}
