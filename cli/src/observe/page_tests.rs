//! Pages and traces of hostile names.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::trace::trace;
use super::*;

const HOSTILE: &str = "APP </script><script>alert(1)</script> \"'&\u{0}\u{1b}[31m\u{ffff}\u{202e}]]>-->";

fn chart() -> Chart {
    let step = Step {
        key: "blake3:00".to_owned(),
        name: HOSTILE.to_owned(),
        lane: Lane::Cpu,
        slot: Some(0),
        start: Duration::from_millis(1),
        took: Duration::from_millis(5),
        bytes: 3,
        outcome: StepOutcome::Failed,
        is_critical: true,
        inputs: Vec::new(),
    };
    Chart {
        title: HOSTILE.to_owned(),
        wall: Duration::from_millis(10),
        steps: vec![step],
        critical: vec![0],
        cpu_slots: 1,
        ..Chart::default()
    }
}

/// As the policy of a page wants it.
fn hash(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits: Vec<u8> = Sha256::digest(text).to_vec();
    // 32 bytes are 42 letters of six bits, and a last one of four.
    bits.push(0);
    let letter = |at: usize| {
        let pair = u16::from_be_bytes([bits[at * 6 / 8], *bits.get(at * 6 / 8 + 1).unwrap_or(&0)]);
        LETTERS[usize::from(pair >> (10 - at * 6 % 8)) & 63] as char
    };
    (0..43).map(letter).chain(['=']).collect()
}

#[test]
fn the_policy_knows_the_style_and_the_script() {
    assert_eq!((STYLE_HASH, SCRIPT_HASH), (hash(STYLE).as_str(), hash(SCRIPT).as_str()));
    assert!(page(&chart()).contains(&format!("'sha256-{SCRIPT_HASH}'")));
}

#[test]
fn a_hostile_name_stays_a_name() {
    let page = page(&chart());
    assert!(!page.contains("<script>alert"), "{page}");
    assert!(page.contains("APP &lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt; &quot;&#39;&amp;"));
    assert_eq!(page.matches("<script>").count(), 1, "the page's own");
    assert_eq!(page.matches("</script>").count(), 1);
    assert!(!page.contains(['\u{0}', '\u{1b}', '\u{ffff}']));
    // In the style and the script there is no place for names.
    assert!(page.contains(&format!("<style>{STYLE}</style>")) && page.contains(SCRIPT));
}

#[test]
fn a_page_asks_nobody_for_anything() {
    let page = page(&chart());
    for word in ["http://", "https://", "src=", "href=", "url(", "@import", "fetch(", "import("] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn a_trace_is_json_whatever_things_are_called() {
    let trace: Value = serde_json::from_str(&trace(&chart())).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let step = events.iter().find(|event| event["cat"] == "step").unwrap();
    assert_eq!(step["name"], HOSTILE);
    assert_eq!((&step["ts"], &step["dur"]), (&1000.into(), &5000.into()));
}

#[test]
fn times_are_short_and_have_a_unit() {
    let shown = [0, 1, 12, 345, 6789, 200_000].map(|millis| seconds(Duration::from_millis(millis)));
    assert_eq!(shown, ["0 ms", "1.0 ms", "12.0 ms", "345 ms", "6.79 s", "3 min 20 s"]);
}
