//! `wrap` and `wrapWith`: lines of a width, as sprig's library breaks them, by bytes.

use super::Call;
use crate::helm::fault::Outcome;
use crate::helm::value::Value;

/// Breaks a text at spaces; words longer than a line are cut only if `cuts_words`.
pub(super) fn wrapped(
    call: &Call<'_>,
    width: i64,
    line_break: &str,
    text: &str,
    cuts_words: bool,
) -> Outcome<Value> {
    let width = usize::try_from(width).unwrap_or(1).max(1);
    let line_break = if line_break.is_empty() { "\n" } else { line_break };
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while bytes.len() - at > width {
        if bytes[at] == b' ' {
            at += 1;
            continue;
        }
        let space = bytes[at..=at + width].iter().rposition(|&byte| byte == b' ');
        let (end, next) = match space {
            Some(space) => (at + space, at + space + 1),
            None if cuts_words => (at + width, at + width),
            None => match bytes[at + width..].iter().position(|&byte| byte == b' ') {
                Some(space) => (at + width + space, at + width + space + 1),
                None => break,
            },
        };
        call.run.work.bytes(end - at + line_break.len())?;
        out.extend_from_slice(&bytes[at..end]);
        out.extend_from_slice(line_break.as_bytes());
        at = next;
    }
    out.extend_from_slice(&bytes[at..]);
    call.made(String::from_utf8_lossy(&out).into_owned())
}
