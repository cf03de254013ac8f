//! A plan as a drawing that needs no other program and no network: columns of boxes, from sources to images.

use std::fmt::Write;

use super::layout::{Item, Layout};
use super::view::{Node, STATE, State, View};
use crate::observe::Escaped;
use crate::progress::counted;

/// Height of a box, and of a row with the gap below it, in pixels.
const BOX: f64 = 36.0;
const ROW: f64 = 48.0;
/// Between two columns, around everything, and above it.
const GAP: f64 = 64.0;
const MARGIN: f64 = 16.0;
const HEAD: f64 = 44.0;
/// Width of a letter, of which a box has at most so many; around them there is some room.
const LETTER: f64 = 7.3;
const LETTERS: usize = 44;
const ROOM: f64 = 26.0;

const STYLE: &str = "\
text{font:12px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#1c2128}.soft{font-size:10px;fill:#667080}\
.head{font-weight:bold}.back{fill:#fff}.box{fill:#fff;stroke:#8a94a0}.cached{fill:#e3f5ea;stroke:#1f8a70}\
.runs{fill:#e4edfa;stroke:#3b73c4}.read{fill:#f4f6f8;stroke:#667080}.unneeded{fill:#fff;stroke:#b3bac3;stroke-dasharray:4 3}\
.image{stroke:#1c2128;stroke-width:2}.line{fill:none;stroke:#a9b2bd}.dot{fill:#667080}\
@media (prefers-color-scheme:dark){text{fill:#dfe4ea}.soft{fill:#95a0ad}.back,.box{fill:#15181d}.cached{fill:#16332a;stroke:#2c9c82}\
.runs{fill:#1b2c45;stroke:#4f86d6}.read{fill:#22272e;stroke:#76808c}.unneeded{fill:#15181d;stroke:#4a525c}.image{stroke:#dfe4ea}\
.line{stroke:#4a525c}.dot{fill:#95a0ad}}";

/// The drawing.
pub(super) fn svg(view: &View) -> String {
    let inputs: Vec<&[usize]> = view.nodes.iter().map(|node| node.inputs.as_slice()).collect();
    let places = Places::new(view, Layout::new(&inputs));
    let (steps, cached) = view.counts();
    let title = format!("{}: {}, {cached} cached", view.file, counted(steps, "step"));
    let legend = "✓ cached  ·  ▶ runs  ·  ○ read  ·  – not asked for";
    let least = (title.chars().count().max(legend.chars().count()) as f64).mul_add(LETTER, 2.0 * MARGIN);
    let (width, height) = (places.width.max(least).ceil(), places.height.ceil());
    let mut drawing = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <title>{0}</title>\n<style>{STYLE}</style>\n<rect class=\"back\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"head\" x=\"{MARGIN}\" y=\"20\">{0}</text>\n<text class=\"soft\" x=\"{MARGIN}\" y=\"35\">{legend}</text>\n",
        Escaped(&title),
    );
    places.layout.lines.iter().for_each(|(from, to)| drawing.push_str(&places.line(*from, *to)));
    for (item, kind) in places.layout.items.iter().enumerate() {
        match *kind {
            Item::Vertex(vertex) => drawing.push_str(&places.vertex(item, &view.nodes[vertex])),
            Item::Crossing(_) => drawing.push_str(&places.crossing(item)),
        }
    }
    drawing.push_str("</svg>\n");
    drawing
}

/// Where things are, in pixels.
struct Places {
    layout: Layout,
    /// By column: its left end, and its width.
    columns: Vec<(f64, f64)>,
    width: f64,
    height: f64,
}

impl Places {
    fn new(view: &View, layout: Layout) -> Self {
        let wide = |item: &usize| match layout.items[*item] {
            Item::Vertex(vertex) => width_of(&view.nodes[vertex]),
            Item::Crossing(_) => 0.0,
        };
        let mut x = MARGIN;
        let mut columns = Vec::with_capacity(layout.columns.len());
        for column in &layout.columns {
            let width = column.iter().map(wide).fold(0.0, f64::max);
            columns.push((x, width));
            x += width + GAP;
        }
        let width = if columns.is_empty() { 2.0 * MARGIN } else { x - GAP + MARGIN };
        let height = HEAD + MARGIN + layout.height() * ROW;
        Self { layout, columns, width, height }
    }

    fn middle(&self, item: usize) -> f64 {
        HEAD + self.layout.y[item] * ROW + BOX / 2.0
    }

    /// From the right end of one to the left end of the other.
    fn line(&self, from: usize, to: usize) -> String {
        let end = |item: usize| self.columns[self.layout.column_of[item]];
        let ((left, width), (to_x, _)) = (end(from), end(to));
        let (from_x, from_y, to_y) = (left + width, self.middle(from), self.middle(to));
        let half = (from_x + to_x) / 2.0;
        format!(
            "<path class=\"line\" d=\"M{from_x:.1} {from_y:.1}C{half:.1} {from_y:.1} {half:.1} {to_y:.1} {to_x:.1} {to_y:.1}\"/>\n"
        )
    }

    fn crossing(&self, item: usize) -> String {
        let ((x, width), y) = (self.columns[self.layout.column_of[item]], self.middle(item));
        format!("<path class=\"line\" d=\"M{x:.1} {y:.1}h{width:.1}\"/>\n")
    }

    fn vertex(&self, item: usize, node: &Node) -> String {
        let ((x, width), middle) = (self.columns[self.layout.column_of[item]], self.middle(item));
        if node.kind == STATE {
            let end = x + width;
            return format!(
                "<path class=\"line\" d=\"M{x:.1} {middle:.1}H{end:.1}\"/><circle class=\"dot\" cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"4\"/>\n",
                x + width / 2.0
            );
        }
        let (class, mark) = match node.state {
            State::Cached => ("box cached", "✓ "),
            State::Runs => ("box runs", "▶ "),
            State::Read => ("box read", "○ "),
            State::Unneeded => ("box unneeded", "– "),
            State::Nothing => ("box image", ""),
        };
        let (facts, y, round) = (node.facts(), middle - BOX / 2.0, if node.lane.is_some() { 4 } else { 18 });
        let (first, second) = if facts.is_empty() { (y + 22.0, y) } else { (y + 15.0, y + 29.0) };
        let tip = format!("{}\n{facts}", node.name);
        let mut drawing = format!(
            "<g><title>{}</title><rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BOX}\" rx=\"{round}\"/>\
             <text x=\"{:.1}\" y=\"{first:.1}\">{mark}{}</text>",
            Escaped(tip.trim_end()),
            x + 10.0,
            Escaped(&shortened(&node.name)),
        );
        if !facts.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(
                drawing,
                "<text class=\"soft\" x=\"{:.1}\" y=\"{second:.1}\">{}</text>",
                x + 10.0,
                Escaped(&shortened(&facts))
            );
        }
        drawing.push_str("</g>\n");
        drawing
    }
}

fn width_of(node: &Node) -> f64 {
    if node.kind == STATE {
        return 12.0;
    }
    let letters = |text: &str| console::measure_text_width(&shortened(text)) as f64;
    // The mark is two letters more, and the second line is smaller.
    ROOM + LETTER * (letters(&node.name) + 2.0).max(letters(&node.facts()) * 0.84)
}

/// A text without its own middle, if it is too long for a box: the end of a step names its source.
fn shortened(text: &str) -> String {
    let letters: Vec<char> =
        text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if letters.len() <= LETTERS {
        return letters.into_iter().collect();
    }
    let (start, end) = (LETTERS / 2, LETTERS - LETTERS / 2 - 1);
    letters[..start].iter().chain(['…'].iter()).chain(&letters[letters.len() - end..]).collect()
}
