//! One picture a workload: for each case a bar a tool, on a scale of powers of ten, with the span of its rounds.

use std::fmt::Write;
use std::time::Duration;

use crate::report::ms;
use crate::results::{Case, Cell, Measured};
use crate::tools::Family;

const WIDTH: f64 = 860.0;
/// Where bars begin; names stand before.
const LEFT: f64 = 260.0;
/// Where the longest may end; its figure stands behind.
const RIGHT: f64 = 760.0;
const LINE: f64 = 19.0;
/// The scale begins at a millisecond.
const START: f64 = 1e-3;

/// Its picture as SVG.
pub(crate) fn chart(measured: &Measured) -> String {
    let cells = measured.columns.iter().flat_map(|column| column.cells.values());
    let longest = cells.flat_map(|cell| cell.samples.iter().map(|sample| sample.wall.as_secs_f64()));
    let scale = Scale { decades: (longest.fold(0.01, f64::max) / START).log10().ceil() };
    let mut picture = Picture { body: String::new(), y: 26.0 };
    picture.text(8.0, "bold", &measured.title);
    for case in Case::ALL {
        let rows = measured.columns.iter().filter_map(|column| Some((column, column.cells.get(&case)?)));
        let rows: Vec<_> =
            rows.filter(|(_, cell)| !cell.samples.is_empty() || cell.failure.is_some()).collect();
        if rows.is_empty() {
            continue;
        }
        picture.y += LINE * 1.5;
        picture.text(8.0, "bold", case.name());
        for (column, cell) in rows {
            picture.y += LINE;
            picture.text(16.0, "normal", &column.tool);
            picture.bar(&scale, cell, column.family == Family::Ours);
        }
        if let (Case::Cold, Some(copy)) = (case, measured.floor(|floors| floors.copy)) {
            picture.y += LINE;
            picture.text(16.0, "normal", "cp -a of the same files");
            picture.plain(&scale, copy);
        }
    }
    picture.finish(&scale)
}

struct Scale {
    decades: f64,
}

impl Scale {
    fn x(&self, time: Duration) -> f64 {
        let decades = (time.as_secs_f64() / START).log10().max(0.0);
        LEFT + (RIGHT - LEFT) * decades / self.decades
    }
}

struct Picture {
    body: String,
    /// Base line of the last row.
    y: f64,
}

impl Picture {
    fn text(&mut self, x: f64, weight: &str, words: &str) {
        let words = words.replace('&', "&amp;").replace('<', "&lt;");
        let _ = write!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{:.1}\" font-weight=\"{weight}\">{words}</text>",
            self.y
        );
    }

    fn bar(&mut self, scale: &Scale, cell: &Cell, is_ours: bool) {
        let Some(median) = cell.median() else {
            return self.text(LEFT, "normal", "failed");
        };
        self.rect(scale, median, if is_ours { "#2f7d4f" } else { "#9aa5b1" });
        let walls = || cell.samples.iter().map(|sample| sample.wall);
        let (from, to) = (walls().min().unwrap_or(median), walls().max().unwrap_or(median));
        let y = self.y - 4.5;
        let (from, to) = (scale.x(from), scale.x(to));
        let _ = write!(
            self.body,
            "<line x1=\"{from:.1}\" y1=\"{y:.1}\" x2=\"{to:.1}\" y2=\"{y:.1}\" stroke=\"#222\" stroke-width=\"1.5\"/>"
        );
        self.text(to.max(scale.x(median)) + 6.0, "normal", &ms(median));
    }

    /// A limit: no rounds, another colour.
    fn plain(&mut self, scale: &Scale, time: Duration) {
        self.rect(scale, time, "#d9b44a");
        self.text(scale.x(time) + 6.0, "normal", &ms(time));
    }

    fn rect(&mut self, scale: &Scale, time: Duration, colour: &str) {
        let (y, width) = (self.y - 11.0, (scale.x(time) - LEFT).max(1.0));
        let _ = write!(
            self.body,
            "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"13\" fill=\"{colour}\"/>"
        );
    }

    fn finish(self, scale: &Scale) -> String {
        let height = self.y + 34.0;
        let mut grid = String::new();
        for decade in 0..=scale.decades as i32 {
            let x = LEFT + (RIGHT - LEFT) * f64::from(decade) / scale.decades;
            let label = ms(Duration::from_secs_f64(START * 10_f64.powi(decade)));
            let _ = write!(
                grid,
                "<line x1=\"{x:.1}\" y1=\"34\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"#e3e6ea\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#667\">{label}</text>",
                height - 22.0,
                height - 8.0
            );
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" \
             font-family=\"sans-serif\" font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\
             {grid}{}</svg>\n",
            self.body
        )
    }
}
