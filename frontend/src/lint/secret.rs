//! Variables whose names say that they hold secrets.

use super::Subject;
use crate::ast::{Arguments, Statement, Word};
use crate::diagnostic::{self, Diagnostic};
use crate::evaluate;

/// `secret-variable`
pub(super) fn variable(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for statement in &subject.file.statements {
        for (name, word) in names(statement).into_iter().filter(|(name, _)| is_secret(name)) {
            found.push(diagnostic::secret_variable(word.span, statement.keyword, name));
        }
    }
    found
}

/// The names a statement gives values to; an ARG may get its value later.
fn names(statement: &Statement) -> Vec<(&str, &Word)> {
    let assigned = |word: &'_ Word| word.text.find('=').filter(|at| at + 1 < word.text.len());
    match (statement.keyword, &statement.arguments) {
        ("ENV", Arguments::Pairs(pairs)) => {
            let given = |word: &Word| !word.text.trim_matches(['"', '\'']).is_empty();
            let pairs = pairs.iter().filter(|pair| pair.value.as_ref().is_some_and(given));
            pairs.map(|pair| (pair.key.text.as_str(), &pair.key)).collect()
        }
        ("ARG", _) => {
            let name = |word: &'_ Word| word.text.find('=').unwrap_or(word.text.len());
            evaluate::words(statement).iter().map(|word| (&word.text[..name(word)], word)).collect()
        }
        ("APPENV", _) => {
            let pairs = evaluate::words(statement).iter().skip(1);
            pairs.filter_map(|word| Some((&word.text[..assigned(word)?], word))).collect()
        }
        _ => Vec::new(),
    }
}

/// Words that name secrets.
const SECRETS: &[&str] = &[
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "passphrase",
    "passwd",
    "password",
    "pword",
    "secret",
    "secrets",
    "token",
];

/// Last words that make it the name of something that is no secret itself.
const ABOUT: &[&str] = &["dir", "file", "id", "length", "name", "path", "size", "type", "url"];

fn is_secret(name: &str) -> bool {
    let words = words(name);
    let is_about = words.last().is_some_and(|last| ABOUT.contains(&last.as_str()));
    let is_public = words.iter().any(|word| word == "public");
    !is_about && !is_public && words.iter().any(|word| SECRETS.contains(&word.as_str()))
}

/// `DB_PASSWORD`, `db-password` and `dbPassword` are two words, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for c in name.chars() {
        let starts = !c.is_alphanumeric() || (c.is_uppercase() && after_lower);
        if starts && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
        after_lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_words_and_not_parts_of_words() {
        for name in [
            "PASSWORD",
            "DB_PASSWORD",
            "dbPassword",
            "api-key",
            "AWS_SECRET_ACCESS_KEY",
            "TOKEN",
            "GH.TOKEN_",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in
            ["PUBLIC_KEY", "MONKEY", "PASSWORD_FILE", "tokenizer", "KEY_ID", "SECRET_NAME", "", "_", "AUTHOR"]
        {
            assert!(!is_secret(name), "{name}");
        }
    }
}
