//! One workload: its context, then rounds in which every tool has its turn, then its cache.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use benches::proxy::Proxy;
use benches::{DebianRegistry, settle};

use crate::bases::Bases;
use crate::contents::{self, Files};
use crate::floors;
use crate::measure;
use crate::options::Options;
use crate::results::{Case, Cell, Column, Measured};
use crate::services::files::FileServer;
use crate::spec::Form;
use crate::tools::{self, Cache, Family, Job, Tool};
use crate::workloads::{Base, Made, Maker, Workload};

/// Rounds of everything but this sealer as it is by default, at most.
const OTHER_ROUNDS: usize = 3;
/// Measurements of the floors.
const FLOOR_ROUNDS: usize = 3;
/// Where the byte stands that is edited.
const EDITED: u64 = 9;

/// A workload under way.
struct Run<'a> {
    options: &'a Options,
    context: PathBuf,
    made: Made,
    base: Option<String>,
    /// What the edited byte was.
    original: u8,
}

/// A tool with what it did.
struct Seat {
    tool: Box<dyn Tool>,
    column: Column,
    /// At most.
    rounds: usize,
    used: Duration,
}

/// Makes a workload, and measures it with every tool.
///
/// # Errors
/// Those of the file system, and those of this sealer's builds; a peer that fails is left out from there on.
pub(crate) fn measure(
    options: &Options,
    workload: &Workload,
    bases: &mut Bases<'_>,
    servers: [&FileServer; 2],
) -> io::Result<Measured> {
    let context = options.work.join("context");
    let _ = fs_err::remove_dir_all(&context);
    fs_err::create_dir_all(&context)?;
    let [near, far] = servers;
    let mut made = (workload.make)(&Maker { dir: &context, near, far, is_quick: options.is_quick })?;
    let base = bases.make(workload.base)?;
    if let (Some(base), Base::Debian) = (&base, workload.base) {
        made.title = format!("{}, on {}", made.title, base.what);
    }
    made.spec.base = base.map(|base| base.reference);
    eprintln!("{}: {}", workload.name, made.title);
    let mut original = [0];
    fs_err::File::open(context.join(&made.edit))?.file().read_exact_at(&mut original, EDITED)?;
    let base = made.spec.base.clone();
    let run = Run { options, context, base, original: original[0], made };
    run.write_texts(0)?;
    let is_carrying = workload.name == "images";
    let tools = tools::all(options, is_carrying, workload.is_large, run.made.spec.has_two_forms());
    let rounds = std::iter::once(options.rounds).chain(std::iter::repeat(OTHER_ROUNDS.min(options.rounds)));
    let mut seats: Vec<Seat> =
        tools.into_iter().zip(rounds).map(|(tool, rounds)| Seat::new(tool, rounds)).collect();
    let measured = run.rounds(&mut seats).and_then(|floors| {
        if workload.caches {
            run.caches(&mut seats)?;
        }
        Ok(floors)
    });
    // Whatever failed, no daemon stays behind.
    for seat in &mut seats {
        seat.tool.stop()?;
    }
    let floors = measured?;
    Ok(Measured {
        name: workload.name,
        title: run.made.title,
        is_large: workload.is_large,
        files: run.made.files,
        sources: run.made.sources,
        columns: seats.into_iter().map(|seat| seat.column).collect(),
        floors,
    })
}

impl Seat {
    fn new(tool: Box<dyn Tool>, rounds: usize) -> Self {
        let column = Column {
            tool: tool.name().to_owned(),
            family: tool.family(),
            leaves: tool.leaves(),
            cells: BTreeMap::new(),
            image_bytes: None,
            disk_bytes: None,
            difference: None,
            traffic: BTreeMap::new(),
        };
        Self { tool, column, rounds, used: Duration::ZERO }
    }

    fn is_ours(&self) -> bool {
        self.column.family == Family::Ours
    }

    fn has_failed(&self) -> bool {
        self.column.cells.values().any(|cell| cell.failure.is_some())
    }

    /// Whether it gets another round.
    fn wants(&self, options: &Options, round: usize) -> bool {
        let has_time = self.is_ours() || round == 0 || self.used < options.budget;
        round < self.rounds && has_time && !self.has_failed()
    }

    fn cell(&mut self, case: Case) -> &mut Cell {
        self.column.cells.entry(case).or_default()
    }
}

impl Run<'_> {
    /// Every tool in turn, round by round.
    fn rounds(&self, seats: &mut [Seat]) -> io::Result<Vec<floors::Floors>> {
        let mut all_floors = Vec::new();
        let mut ours: Option<Files> = None;
        for round in 0..self.options.rounds {
            if round < FLOOR_ROUNDS {
                let edited = self.made.edited_layer;
                all_floors.push(floors::measure(&self.context, &self.options.work, edited)?);
            }
            for seat in seats.iter_mut().filter(|seat| seat.wants(self.options, round)) {
                let start = Instant::now();
                let turn = self.turn(seat, round, &mut ours);
                let stopped = seat.tool.stop();
                seat.used += start.elapsed();
                eprintln!(
                    "  round {}, {}: {:.1} s",
                    round + 1,
                    seat.column.tool,
                    start.elapsed().as_secs_f64()
                );
                match turn.and(stopped) {
                    Ok(()) => {}
                    Err(error) if seat.is_ours() => return Err(error),
                    Err(error) => self.leave_out(seat, &error),
                }
            }
        }
        Ok(all_floors)
    }

    /// A peer that fails once has had its turn.
    fn leave_out(&self, seat: &mut Seat, error: &io::Error) {
        eprintln!("  {}: {error}", seat.column.tool);
        let case = Case::ROUND
            .into_iter()
            .find(|case| seat.column.cells.get(case).is_none_or(|cell| cell.samples.is_empty()));
        seat.cell(case.unwrap_or(Case::Cold)).failure = Some(error.to_string());
    }

    /// One round of one tool: every case, from an empty store on.
    fn turn(&self, seat: &mut Seat, round: usize, ours: &mut Option<Files>) -> io::Result<()> {
        self.edit(self.original)?;
        self.write_texts(0)?;
        seat.tool.start(self.base.as_deref())?;
        let job = Job { context: &self.context, cache: Cache::Unused };
        for case in Case::ROUND {
            match case {
                Case::Change => self.edit(b'A' + round as u8)?,
                Case::Launch => self.write_texts(round + 1)?,
                _ => {}
            }
            self.build(seat, &job, case)?;
            if case == Case::Cold && round == 0 {
                seat.column.image_bytes = seat.tool.image_bytes()?;
                seat.column.disk_bytes = Some(benches::disk_usage(seat.tool.dir())?);
            }
        }
        if round == 0 {
            self.compare(seat, &job, ours)?;
        }
        Ok(())
    }

    fn build(&self, seat: &mut Seat, job: &Job<'_>, case: Case) -> io::Result<()> {
        // Everything is on the disk, and what was edited is older than a scan distrusts.
        settle();
        let timeout = if seat.is_ours() { Duration::from_secs(3600) } else { self.options.timeout };
        let sample = measure::run(seat.tool.build(job), seat.tool.daemon(), timeout)?;
        seat.cell(case).samples.push(sample);
        Ok(())
    }

    /// The end of the first round must be the same with every tool.
    fn compare(&self, seat: &mut Seat, job: &Job<'_>, ours: &mut Option<Files>) -> io::Result<()> {
        let files = seat.tool.contents(job)?;
        match ours {
            None => {
                let clean = self.clean(seat, job)?;
                seat.column.difference = Some(contents::difference(&clean, &files));
                *ours = Some(files);
            }
            Some(ours) => seat.column.difference = Some(contents::difference(ours, &files)),
        }
        match &seat.column.difference {
            Some(Some(found)) if seat.is_ours() => Err(io::Error::other(format!("a wrong result: {found}"))),
            Some(Some(found)) => {
                eprintln!("  {}: {found}", seat.column.tool);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What an empty store gives for the same context.
    fn clean(&self, seat: &mut Seat, job: &Job<'_>) -> io::Result<Files> {
        seat.tool.start(self.base.as_deref())?;
        let timeout = Duration::from_secs(3600);
        measure::run(seat.tool.build(job), seat.tool.daemon(), timeout)?;
        seat.tool.contents(job)
    }

    /// Builds on empty stores, with a cache that an earlier build filled.
    fn caches(&self, seats: &mut [Seat]) -> io::Result<()> {
        if !tools::is_installed("docker-registry") {
            eprintln!("  docker-registry is not installed: no cache is measured");
            return Ok(());
        }
        self.edit(self.original)?;
        self.write_texts(0)?;
        let dir = self.options.work.join("cache-registry");
        for seat in seats {
            let registry = DebianRegistry::start(&dir)?;
            let proxy = Proxy::start(&registry.address)?;
            let repository = format!("{}/bench/cache", proxy.address);
            if seat.tool.can(Cache::Use(&repository)) && !seat.has_failed() {
                let measured = self.cache_rounds(seat, &repository, &proxy);
                seat.tool.stop()?;
                match measured {
                    Err(error) if !seat.is_ours() => {
                        eprintln!("  cache, {}: {error}", seat.column.tool);
                        seat.cell(Case::CacheFrom).failure = Some(error.to_string());
                    }
                    measured => measured?,
                }
            }
            drop(registry);
            fs_err::remove_dir_all(&dir)?;
        }
        Ok(())
    }

    fn cache_rounds(&self, seat: &mut Seat, repository: &str, proxy: &Proxy) -> io::Result<()> {
        let start = Instant::now();
        let job = |cache| Job { context: &self.context, cache };
        seat.tool.start(self.base.as_deref())?;
        measure::run(
            seat.tool.build(&job(Cache::Fill(repository))),
            seat.tool.daemon(),
            self.options.timeout,
        )?;
        for round in 0..OTHER_ROUNDS.min(self.options.rounds) {
            if !seat.is_ours() && round > 0 && start.elapsed() > self.options.budget {
                break;
            }
            let uses = [
                (Case::CacheFrom, Cache::Use(repository)),
                (Case::CacheFromLazily, Cache::UseLazily(repository)),
            ];
            for (case, cache) in
                uses.into_iter().filter(|(_, cache)| seat.tool.can(*cache)).collect::<Vec<_>>()
            {
                seat.tool.start(self.base.as_deref())?;
                proxy.take();
                self.build(seat, &job(cache), case)?;
                seat.column.traffic.insert(case, proxy.take());
            }
        }
        eprintln!("  cache, {}: {:.1} s", seat.column.tool, start.elapsed().as_secs_f64());
        Ok(())
    }

    /// Changes the one byte.
    fn edit(&self, byte: u8) -> io::Result<()> {
        let file = fs_err::OpenOptions::new().write(true).open(self.context.join(&self.made.edit))?;
        file.file().write_all_at(&[byte], EDITED)
    }

    fn write_texts(&self, launch: usize) -> io::Result<()> {
        let spec = &self.made.spec;
        fs_err::write(self.context.join("Kubefile"), spec.kubefile(launch))?;
        let write =
            |form: Form| fs_err::write(self.context.join(form.file_name()), spec.dockerfile(form, launch));
        Form::ALL.into_iter().try_for_each(write)
    }
}
