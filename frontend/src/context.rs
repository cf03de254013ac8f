//! Named build contexts: what the command line puts in the place of a stage or an image. It knows nothing of their files.

/// What a named context is, as far as a text is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// Files, wherever they are.
    Files,
    /// An image, by its reference.
    Image(String),
}

/// The form in which names of contexts are compared: an image name as short as people write it, without the tag it has
/// anyway; names of stages do not depend on case.
pub fn context_name(name: &str) -> String {
    let name = name.strip_suffix(":latest").unwrap_or(name);
    let hub = ["docker.io/", "index.docker.io/"].iter().find_map(|hub| name.strip_prefix(hub));
    let name = hub.map_or(name, |rest| rest.strip_prefix("library/").unwrap_or(rest));
    // Only a tag or a digest could have letters of both kinds.
    if name.contains([':', '@']) { name.to_owned() } else { name.to_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_are_compared_in_their_short_form() {
        for (name, short) in [
            ("alpine", "alpine"),
            ("docker.io/library/alpine:latest", "alpine"),
            ("index.docker.io/team/x", "team/x"),
            ("library/alpine", "library/alpine"),
            ("alpine:3.18", "alpine:3.18"),
            ("Base", "base"),
            ("h:5000/a:V1", "h:5000/a:V1"),
        ] {
            assert_eq!(context_name(name), short, "{name}");
        }
    }
}
