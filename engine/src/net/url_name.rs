//! Names out of URLs: the file a URL stands for, and the URL as people may see it.

/// The longest name Linux file systems take.
const MAX_NAME_BYTES: usize = 255;

/// The file name a URL stands for: the last element of its path, percent-decoded. `None` where the path is empty or ends
/// in `/`, and where the name would be no plain file's: `.`, `..`, one with a slash or a control character, a whiteout
/// (`.wh.…`, OCI image-spec, layer), too long, or no UTF-8.
pub fn file_name_of(url: &str) -> Option<String> {
    let url = url::Url::parse(url).ok()?;
    let last = url.path_segments()?.next_back()?;
    plain_name(percent_decoded(last.as_bytes()))
}

/// The URL without what may be secret: user name, password, query and fragment.
pub fn redacted(url: &str) -> String {
    let cut = |text: &str| match text.split_once('?') {
        Some((path, _)) => format!("{path}?…"),
        None => text.to_owned(),
    };
    let Some((scheme, rest)) = url.split_once("://") else { return cut(url) };
    let rest = match url::Url::parse(url) {
        Ok(_) => {
            let authority = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
            let host = rest[..authority].rfind('@').map_or(0, |at| at + 1);
            &rest[host..]
        }
        // A password with a `/` or `?` in it makes such URLs, so all before the last `@` may belong to it.
        Err(_) => rest.rsplit_once('@').map_or(rest, |(_, host)| host),
    };
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    cut(&format!("{scheme}://{rest}"))
}

/// The bytes as the name of a file in some directory, if they are one.
pub(crate) fn plain_name(name: Vec<u8>) -> Option<String> {
    let name = String::from_utf8(name).ok()?;
    let unfit = name.is_empty()
        || name == "."
        || name == ".."
        || name.starts_with(".wh.")
        || name.len() > MAX_NAME_BYTES
        || name.contains(|char: char| char == '/' || char.is_control());
    (!unfit).then_some(name)
}

/// Replaces `%41` by `A`; what is no escape stays.
pub(crate) fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        match rest {
            [b'%', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                decoded.push(digit(*high) * 16 + digit(*low));
                rest = tail;
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    decoded
}

/// The value of a hexadecimal digit.
fn digit(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        _ => (hex | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_the_last_element_of_the_path() {
        for (url, name) in [
            ("https://h/a/b.tgz", Some("b.tgz")),
            ("https://h/a/b.tgz?x=/y#z/w", Some("b.tgz")),
            ("https://h/a%20b%2Bc+d", Some("a b+c+d")),
            ("https://h/%E2%98%BA", Some("\u{263a}")),
            ("https://h/\u{263a}", Some("\u{263a}")),
            ("https://h/100%", Some("100%")),
            ("https://h/a/..", None),
            ("https://h/a/%2e%2E", None),
            ("https://h/a%2Fb", None),
            ("https://h/a%00b", None),
            ("https://h/a%0Ab", None),
            ("https://h/%ff", None),
            ("https://h/.wh.a", None),
            ("https://h/%2ewh.a", None),
            ("https://h/a/", None),
            ("https://h", None),
            ("mailto:x", None),
            ("not a url", None),
        ] {
            assert_eq!(file_name_of(url).as_deref(), name, "{url}");
        }
        assert_eq!(file_name_of(&format!("https://h/{}", "a".repeat(256))), None);
    }

    #[test]
    fn secrets_are_redacted() {
        for (url, shown) in [
            ("https://h/a", "https://h/a"),
            ("https://user:pass@h:8/a?token=1#frag", "https://h:8/a?…"),
            ("https://user@h/a@b", "https://h/a@b"),
            ("https://h?q@x", "https://h?…"),
            ("https://us@er:p@h/a#x?y", "https://h/a"),
            ("http://u:pa/ss@h/a?b", "http://h/a?…"),
            ("http://u:pa?ss@h/a", "http://h/a"),
            ("h/a?token", "h/a?…"),
        ] {
            assert_eq!(redacted(url), shown, "{url}");
        }
    }
}
