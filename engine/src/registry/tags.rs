//! The tags of a repository, page by page (distribution-spec, listing tags).

use reqwest::Method;
use reqwest::header::LINK;
use serde_json::Value;
use url::Url;

use super::Registry;
use super::error::RegistryError;
use super::host::{Access, Call, block_on};
use super::reference::Repository;

/// Tags asked for at once.
const PAGE: usize = 1000;
/// Most pages of tags.
const PAGES: usize = 1000;

impl Registry {
    /// The tags of a repository, in the registry's order.
    ///
    /// # Errors
    /// When the registry does not answer, or has no such repository.
    pub fn tags(&self, repository: &Repository) -> Result<Vec<String>, RegistryError> {
        let access = Access::pull(repository);
        let host = self.host(&repository.host);
        let mut tags = Vec::new();
        let mut url = format!("/v2/{}/tags/list?n={PAGE}", repository.path);
        for _ in 0..PAGES {
            let call = Call::new(Method::GET, &url, &access, "a request for tags");
            let absent = || RegistryError::NotFound { reference: repository.to_string() };
            let (headers, body) =
                block_on(&self.fetcher, &repository.host, host.whole(self, &call, &absent))?;
            let links = headers.get_all(LINK).iter();
            let target = links.filter_map(|link| link.to_str().ok()).find_map(next_of);
            let next = target.and_then(|target| page_at(&url, target));
            let page: Value = serde_json::from_slice(&body).map_err(|error| RegistryError::Json {
                what: "the list of tags",
                name: repository.to_string(),
                reason: error.to_string(),
            })?;
            let page = page["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
            tags.extend(page.map(str::to_owned));
            match next {
                // A page that leads to itself is the last one.
                Some(next) if next != url => url = next,
                _ => break,
            }
        }
        Ok(tags)
    }
}

/// Where the next page is, of the links in a field (RFC 8288): `</v2/a/tags/list?last=x&n=2>; rel="next"`.
fn next_of(field: &str) -> Option<&str> {
    let mut rest = field;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        let mut is_quoted = false;
        let ends = |char| {
            is_quoted ^= char == '"';
            char == ',' && !is_quoted
        };
        let (parameters, next) = after.split_at(after.find(ends).unwrap_or(after.len()));
        if parameters.split(';').any(is_next) {
            return Some(target);
        }
        rest = next;
    }
}

/// Whether a parameter of a link says that it leads to the next page.
fn is_next(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
    name.trim().eq_ignore_ascii_case("rel") && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
}

/// What a registry is asked for to get the page at a link. Many write a whole URL there, some of them with a host that is theirs
/// behind a proxy alone: it is the registry that is asked, whatever host they name.
fn page_at(asked: &str, target: &str) -> Option<String> {
    let url = Url::parse("http://registry/").ok()?.join(asked).ok()?.join(target).ok()?;
    Some(url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_and_stays_on_its_server() {
        let wanted = Some("/v2/a/tags/list?last=x&n=2".to_owned());
        for link in [
            "</v2/a/tags/list?last=x&n=2>; rel=\"next\"",
            "</v2/a/tags/list?last=x&n=2>;rel=next",
            "<https://r.example/v2/a/tags/list?last=x&n=2>; rel=\"next\"",
            "<http://10.0.0.1:8080/v2/a/tags/list?last=x&n=2>; rel=\"next\"",
            "<//evil/v2/a/tags/list?last=x&n=2>; rel=\"next\"",
            "<?last=x&n=2>; rel=\"next\"",
            "<list?last=x&n=2>; rel=\"next\"",
            "</v2/a/tags/list?n=2>; rel=\"first\"; title=\"a, b\", </v2/a/tags/list?last=x&n=2>; Rel=\"last Next\"",
        ] {
            assert_eq!(
                next_of(link).and_then(|target| page_at("/v2/a/tags/list?n=2", target)),
                wanted,
                "{link}"
            );
        }
        for link in ["</x>; rel=\"first\"", "</x>; title=\"next\"", "</x>", "x", "<", ""] {
            assert_eq!(next_of(link), None, "{link}");
        }
    }
}
