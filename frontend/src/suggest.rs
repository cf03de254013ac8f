//! "Did you mean": the known name nearest to an unknown one.

/// The candidate within a third of the name's length (at least one edit), if any; case costs nothing.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = name.to_lowercase().chars().collect();
    if wanted.is_empty() || wanted.len() > MAX_LENGTH {
        return None;
    }
    let limit = (wanted.len() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates.into_iter().take(MAX_CANDIDATES) {
        let known: Vec<char> = candidate.to_lowercase().chars().collect();
        if known.len().abs_diff(wanted.len()) > limit {
            continue;
        }
        let distance = distance(&wanted, &known);
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Longer names are data, not typing mistakes; the distance is quadratic.
const MAX_LENGTH: usize = 64;

/// More names than anyone reads; a text full of mistakes must not cost a second.
const MAX_CANDIDATES: usize = 500;

/// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = change.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_mistakes_find_their_name() {
        let known = ["mysql", "redis", "elasticsearch"];
        assert_eq!(nearest("mysq", known), Some("mysql"));
        assert_eq!(nearest("rdeis", known), Some("redis"));
        assert_eq!(nearest("Redis", known), Some("redis"));
        assert_eq!(nearest("nope", known), None);
        assert_eq!(nearest("", known), None);
    }
}
