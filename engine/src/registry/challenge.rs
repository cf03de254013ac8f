//! What a registry asks of those it does not know (RFC 9110 §11.6.1, distribution's token authentication).

use serde::Deserialize;

use crate::net::unquoted;

/// How a registry wants to be told who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password with every request (RFC 7617).
    Basic,
    /// A token from a realm.
    Bearer {
        /// Where tokens are to be had.
        realm: String,
        /// Whom they are for.
        service: Option<String>,
    },
    /// Something else.
    Other(String),
}

impl Challenge {
    /// The best of the challenges in a `WWW-Authenticate` field.
    pub(super) fn parse(field: &str) -> Option<Self> {
        let (scheme, parameters) = field.trim().split_once(' ').unwrap_or((field.trim(), ""));
        let value = |name: &str| {
            let found = parameters_of(parameters).into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value)
        };
        match scheme.to_ascii_lowercase().as_str() {
            "" => None,
            "basic" => Some(Self::Basic),
            "bearer" => Some(match value("realm") {
                Some(realm) => Self::Bearer { realm, service: value("service") },
                None => Self::Other("Bearer without a realm".to_owned()),
            }),
            other => Some(Self::Other(other.chars().filter(char::is_ascii_alphanumeric).take(20).collect())),
        }
    }
}

/// `a="b, c",d=e`
fn parameters_of(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',', '\t']).to_owned();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let (value, after) = after.split_once(',').unwrap_or((after, ""));
                (value.trim().to_owned(), after)
            }
        };
        found.push((name, value));
        rest = after;
    }
    found
}

/// What a realm answers.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl TokenAnswer {
    pub(super) fn token(self) -> Option<String> {
        [self.token, self.access_token].into_iter().flatten().find(|token| !token.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_name_of_a_token_will_do() {
        for (answer, wanted) in [
            (r#"{"token":"a","access_token":"b"}"#, Some("a")),
            (r#"{"token":"","access_token":"b"}"#, Some("b")),
            (r#"{"token":null,"access_token":"b"}"#, Some("b")),
            (r#"{"token":""}"#, None),
        ] {
            let answer: TokenAnswer = serde_json::from_str(answer).unwrap();
            assert_eq!(answer.token().as_deref(), wanted);
        }
    }

    #[test]
    fn challenges_are_understood() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into) })
        };
        for (field, wanted) in [
            (
                r#"Bearer realm="https://a/token",service="r",scope="repository:x:pull,push""#,
                bearer("https://a/token", Some("r")),
            ),
            (r#"bearer service=r, realm="https://a/\"t\"""#, bearer("https://a/\"t\"", Some("r"))),
            (r#"Basic realm="x""#, Some(Challenge::Basic)),
            ("Bearer", Some(Challenge::Other("Bearer without a realm".into()))),
            ("Negotiate abc", Some(Challenge::Other("negotiate".into()))),
            ("", None),
        ] {
            assert_eq!(Challenge::parse(field), wanted, "{field}");
        }
    }
}
