//! Where the time of a build went: a page for people (`--timings`) and a trace for tools (`--trace`).
//!
//! Events carry no times, so the one who wants to show them stamps them as they come. Nothing is stamped, kept or sampled
//! unless one of the two was asked for. The files are written when the build has ended, whichever way.

mod chart;
mod page;
mod plot;
mod recorder;
mod sampler;
mod trace;

use std::path::{Path, PathBuf};
use std::time::Instant;

use engine::Fetcher;
use solver::{Activity, Event, EventSink, Graph, Plan, Record};

use self::chart::Chart;
pub(crate) use self::page::{Escaped, lane};
use self::recorder::Recorder;
use self::sampler::Sampler;
use crate::args::Build;
use crate::files;
use crate::report::{Failure, Page, Reporter};

/// Where to write what was seen.
#[derive(Debug, Default)]
pub(crate) struct Places {
    timings: Option<PathBuf>,
    trace: Option<PathBuf>,
}

impl Places {
    /// The places of the command line, checked before anything is done.
    ///
    /// # Errors
    /// A place that nothing can be written to.
    pub(crate) fn new(args: &Build) -> Result<Self, Failure> {
        let place = |option: &str, path: &Option<PathBuf>| {
            path.as_deref().map(|path| files::place(option, path)).transpose()
        };
        Ok(Self { timings: place("--timings", &args.timings)?, trace: place("--trace", &args.trace)? })
    }
}

/// Watches a build, if somebody wants to know.
pub(crate) struct Observer {
    watching: Option<Watching>,
    places: Places,
}

struct Watching {
    recorder: Recorder,
    sampler: Sampler,
}

impl Observer {
    /// Watches a build that began at `start`.
    pub(crate) fn new(places: Places, start: Instant) -> Self {
        let is_wanted = places.timings.is_some() || places.trace.is_some();
        let watch = || Watching { recorder: Recorder::new(start), sampler: Sampler::start(start) };
        Self { watching: is_wanted.then(watch), places }
    }

    /// Says where the network's bytes are counted.
    pub(crate) fn network(&self, fetcher: &Fetcher) {
        if let Some(watching) = &self.watching {
            watching.sampler.network(fetcher.clone());
        }
    }

    /// Keeps an event that goes on to somebody else.
    pub(crate) fn saw(&self, event: &Event) {
        if let Some(watching) = &self.watching {
            watching.recorder.event(event);
        }
    }

    /// Writes what was asked for; `names` are those of the image. A file that cannot be written is the failure of a build
    /// that succeeded, and a warning of one that did not.
    pub(crate) fn end(
        self,
        names: &[String],
        result: Result<(), Failure>,
        reporter: &Reporter,
    ) -> Result<(), Failure> {
        let Some(Watching { recorder, sampler }) = self.watching else { return result };
        let chart = Chart::new(recorder.end(), sampler.end(), names.join(", "), result.is_ok());
        let timings = || page::page(&chart);
        let trace = || trace::trace(&chart);
        let files: [(&str, _, &dyn Fn() -> String); 2] =
            [("--timings", &self.places.timings, &timings), ("--trace", &self.places.trace, &trace)];
        let mut failed = None;
        for (option, path, text) in files {
            let Some(path) = path else { continue };
            if let Err(error) = files::replace(path, text().as_bytes()) {
                failed = Some(not_written(option, path, &error));
            }
        }
        match (failed, result) {
            (Some(text), Ok(())) => Err(Failure::usage(format!("the image is built and stored, but {text}"))),
            (Some(text), failed) => {
                reporter.warn(Page::warning("usage", text, "name a file in a directory that can be written"));
                failed
            }
            (None, result) => result,
        }
    }
}

fn not_written(option: &str, path: &Path, error: &std::io::Error) -> String {
    format!("`{option} {}` is not written: {error}", path.display())
}

impl EventSink for Observer {
    fn event(&self, event: Event) {
        self.saw(&event);
    }

    fn began(&self, activity: Activity) {
        if let Some(watching) = &self.watching {
            watching.recorder.began(activity);
        }
    }

    fn ended(&self, activity: Activity) {
        if let Some(watching) = &self.watching {
            watching.recorder.ended(activity);
        }
    }

    fn planned(&self, graph: &Graph, plan: &Plan<Record>) {
        if let Some(watching) = &self.watching {
            watching.recorder.planned(graph, plan);
        }
    }
}
