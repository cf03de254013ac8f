//! Where boxes stand: in columns, each before its users, near what it is connected with.
//!
//! Every vertex stands as far right as its users let it, so that few lines cross a column; those that do get a place in it
//! like a box. Then columns are sorted by the middle of each box's neighbours, and boxes moved as near to it as the order
//! allows. Everything is linear but for sorting, and depends on nothing but the graph.

/// Sorting rounds; later ones change little.
const ROUNDS: usize = 6;
/// Places that lines may have in the columns they cross, for each vertex; beyond it they go straight.
const CROSSINGS: usize = 8;

/// What stands in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    Vertex(usize),
    /// A line that comes from this vertex crosses here.
    Crossing(usize),
}

/// A layout. Heights are in units of one row.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// Left to right, each from top to bottom.
    pub(super) columns: Vec<Vec<usize>>,
    /// By number of the item.
    pub(super) items: Vec<Item>,
    pub(super) column_of: Vec<usize>,
    pub(super) y: Vec<f64>,
    /// Lines from an item to one further right, in order.
    pub(super) lines: Vec<(usize, usize)>,
}

impl Layout {
    /// Places vertices, whose inputs stand before them.
    pub(super) fn new(inputs: &[&[usize]]) -> Self {
        let items = (0..inputs.len()).map(Item::Vertex).collect();
        let mut layout = Self { items, column_of: columns(inputs), ..Self::default() };
        layout.connect(inputs);
        let count = layout.column_of.iter().max().map_or(0, |last| last + 1);
        layout.columns = vec![Vec::new(); count];
        for (item, column) in layout.column_of.iter().enumerate() {
            layout.columns[*column].push(item);
        }
        let (before, after) = layout.neighbours();
        let mut rank = vec![0.0; layout.items.len()];
        layout.columns.iter().for_each(|column| number(column, &mut rank));
        for round in 0..ROUNDS {
            let to_left = round % 2 == 0;
            let neighbours = if to_left { &after } else { &before };
            for at in order(count, to_left) {
                let column = &mut layout.columns[at];
                let key = |item: &usize| middle(&neighbours[*item], &rank).unwrap_or(rank[*item]);
                let mut keyed: Vec<(f64, usize)> = column.iter().map(|item| (key(item), *item)).collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0).then(rank[a.1].total_cmp(&rank[b.1])));
                *column = keyed.into_iter().map(|(_, item)| item).collect();
                number(column, &mut rank);
            }
        }
        layout.y = rank;
        for to_left in [true, false, true] {
            let neighbours = if to_left { &after } else { &before };
            for at in order(count, to_left) {
                layout.settle(at, neighbours);
            }
        }
        let top = layout.y.iter().copied().fold(f64::INFINITY, f64::min);
        layout.y.iter_mut().for_each(|y| *y -= top);
        layout
    }

    /// Rows that it takes.
    pub(super) fn height(&self) -> f64 {
        self.y.iter().copied().fold(-1.0, f64::max) + 1.0
    }

    /// Lines, with places for those that cross columns; what comes from one vertex crosses as one.
    fn connect(&mut self, inputs: &[&[usize]]) {
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); inputs.len()];
        for (user, inputs) in inputs.iter().enumerate() {
            inputs.iter().for_each(|input| users[*input].push(user));
        }
        let mut left = inputs.len().saturating_mul(CROSSINGS);
        for (vertex, mut users) in users.into_iter().enumerate() {
            users.sort_by_key(|user| (self.column_of[*user], *user));
            let from = self.column_of[vertex];
            let last = users.last().map_or(from, |user| self.column_of[*user]);
            let crossings = last.saturating_sub(from + 1);
            if crossings > left {
                self.lines.extend(users.into_iter().map(|user| (vertex, user)));
                continue;
            }
            left -= crossings;
            let (mut at, mut column) = (vertex, from);
            for user in users {
                while column + 1 < self.column_of[user] {
                    column += 1;
                    self.items.push(Item::Crossing(vertex));
                    self.column_of.push(column);
                    let crossing = self.items.len() - 1;
                    self.lines.push((at, crossing));
                    at = crossing;
                }
                self.lines.push((at, user));
            }
        }
    }

    /// By item: those on the left that it has a line with, and those on the right.
    fn neighbours(&self) -> (Vec<Vec<usize>>, Vec<Vec<usize>>) {
        let mut before = vec![Vec::new(); self.items.len()];
        let mut after = before.clone();
        for &(from, to) in &self.lines {
            after[from].push(to);
            before[to].push(from);
        }
        (before, after)
    }

    /// Moves the items of a column as near as possible to the middle of their neighbours, in the order they have and a row
    /// apart: the least squares, by pooling those that are in each other's way.
    fn settle(&mut self, column: usize, neighbours: &[Vec<usize>]) {
        let items = &self.columns[column];
        // Blocks of items that touch: where the first of them wants to be on average, and how many they are.
        let mut blocks: Vec<(f64, usize)> = Vec::new();
        for (place, item) in items.iter().enumerate() {
            let wanted = middle(&neighbours[*item], &self.y).unwrap_or(self.y[*item]);
            let mut block = (wanted - place as f64, 1);
            while let Some(last) = blocks.pop_if(|last| last.0 >= block.0) {
                let count = last.1 + block.1;
                block = ((last.0 * last.1 as f64 + block.0 * block.1 as f64) / count as f64, count);
            }
            blocks.push(block);
        }
        let starts = blocks.into_iter().flat_map(|(start, count)| std::iter::repeat_n(start, count));
        for (place, (item, start)) in items.iter().zip(starts).enumerate() {
            self.y[*item] = start + place as f64;
        }
    }
}

/// By vertex: its column, as far right as its users let it be.
fn columns(inputs: &[&[usize]]) -> Vec<usize> {
    let mut from_right = vec![0; inputs.len()];
    for (user, inputs) in inputs.iter().enumerate().rev() {
        for input in *inputs {
            from_right[*input] = from_right[*input].max(from_right[user] + 1);
        }
    }
    let last = from_right.iter().copied().max().unwrap_or(0);
    from_right.into_iter().map(|from_right| last - from_right).collect()
}

fn order(count: usize, to_left: bool) -> Box<dyn Iterator<Item = usize>> {
    if to_left { Box::new((0..count).rev()) } else { Box::new(0..count) }
}

fn number(column: &[usize], rank: &mut [f64]) {
    column.iter().enumerate().for_each(|(place, item)| rank[*item] = place as f64);
}

fn middle(neighbours: &[usize], at: &[f64]) -> Option<f64> {
    let sum: f64 = neighbours.iter().map(|neighbour| at[*neighbour]).sum();
    (!neighbours.is_empty()).then(|| sum / neighbours.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(inputs: &[Vec<usize>]) -> Layout {
        let inputs: Vec<&[usize]> = inputs.iter().map(Vec::as_slice).collect();
        Layout::new(&inputs)
    }

    /// Lines lead to the right, and what shares a column stands a row apart.
    fn check(layout: &Layout) {
        assert!(layout.lines.iter().all(|(from, to)| layout.column_of[*from] < layout.column_of[*to]));
        for column in &layout.columns {
            for pair in column.windows(2) {
                assert!(layout.y[pair[1]] - layout.y[pair[0]] > 0.999, "{column:?}");
            }
        }
        assert!(layout.y.iter().all(|y| *y >= 0.0 && *y < layout.height()));
    }

    #[test]
    fn a_vertex_stands_right_before_its_first_user() {
        let layout = layout(&[vec![], vec![0], vec![], vec![1, 2]]);
        assert_eq!(layout.column_of[..4], [0, 1, 1, 2]);
        check(&layout);
    }

    #[test]
    fn a_line_that_passes_a_column_has_a_place_there() {
        let layout = layout(&[vec![], vec![0], vec![1, 0]]);
        assert_eq!(layout.items[3], Item::Crossing(0));
        assert_eq!(layout.column_of[3], 1);
        assert!(layout.lines.contains(&(0, 3)) && layout.lines.contains(&(3, 2)));
        check(&layout);
    }

    #[test]
    fn many_vertices_of_every_shape_are_placed_soon_and_always_alike() {
        let chain = |count: usize| (0..count).map(|at| at.checked_sub(1).into_iter().collect()).collect();
        let fan = |count: usize| -> Vec<Vec<usize>> {
            (0..count).map(|at| if at + 1 < count { vec![] } else { (0..at).collect() }).collect()
        };
        // Each reads the one before, and every one what is far behind.
        let tangle = |count: usize| -> Vec<Vec<usize>> {
            let inputs =
                |at: usize| [at.checked_sub(1), at.checked_sub(7), Some(at / 3).filter(|far| *far < at)];
            let distinct = |at| inputs(at).into_iter().flatten().collect::<std::collections::BTreeSet<_>>();
            (0..count).map(|at| distinct(at).into_iter().collect()).collect()
        };
        for graph in [chain(5000), fan(5000), tangle(2000), vec![], vec![vec![]]] {
            let once = layout(&graph);
            check(&once);
            assert!(once.items.len() <= graph.len() * (CROSSINGS + 1));
            assert_eq!(once.y, layout(&graph).y);
        }
    }
}
