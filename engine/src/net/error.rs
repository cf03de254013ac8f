//! What can go wrong with a download. Every URL in here is redacted: no user name, password or query reaches a terminal.

use std::error::Error;
use std::io;

/// Why a redirect was not followed.
#[derive(Debug, thiserror::Error)]
pub enum RedirectError {
    /// A longer chain than the limit.
    #[error("more than {limit} redirects")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// From `https` to `http`, or to something that is neither.
    #[error("redirect to `{to}` leaves `https` or is no web address")]
    Scheme {
        /// Where it leads, redacted.
        to: String,
    },
}

/// Why a URL was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not a URL.
    #[error("`{url}` is not a valid URL")]
    Url {
        /// The redacted text.
        url: String,
        /// What is wrong with it.
        source: url::ParseError,
    },
    /// Neither `http` nor `https`.
    #[error("`{url}` is neither an `http` nor an `https` URL")]
    Scheme {
        /// The redacted URL.
        url: String,
    },
    /// An answer that is not the file.
    #[error("`{url}` was answered with status {status}{}", phrase(*status))]
    Status {
        /// The redacted URL.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// More bytes than allowed; the rest was not read.
    #[error("`{url}` is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The redacted URL.
        url: String,
        /// The most bytes the request allowed.
        limit: u64,
    },
    /// Another number of bytes than the server announced.
    #[error("`{url}` ended after {actual} of {expected} bytes")]
    Length {
        /// The redacted URL.
        url: String,
        /// The announced length.
        expected: u64,
        /// The length that came.
        actual: u64,
    },
    /// A `206` answer that does not continue where the download stopped.
    #[error("`{url}` was answered with another range than `bytes {offset}-`")]
    Range {
        /// The redacted URL.
        url: String,
        /// The first byte that was asked for.
        offset: u64,
    },
    /// A chain of redirects that leads nowhere good.
    #[error("`{url}` was redirected in vain")]
    Redirect {
        /// The redacted URL of the request.
        url: String,
        /// Which redirect and why.
        source: RedirectError,
    },
    /// No answer, or half of one: names, connections, certificates, timeouts.
    #[error("`{url}` could not be fetched")]
    Transport {
        /// The redacted URL.
        url: String,
        /// What failed, without its URL.
        source: reqwest::Error,
    },
    /// The system has no certificate authorities.
    #[error(
        "`{url}` cannot be verified: this system has no certificate authorities (package `ca-certificates`)"
    )]
    NoAuthorities {
        /// The redacted URL.
        url: String,
    },
    /// What happened at the last of several attempts.
    #[error("{source}")]
    GivenUp {
        /// Attempts made.
        attempts: u32,
        /// The last failure.
        #[source]
        source: Box<Self>,
    },
    /// The receiver of the bytes failed.
    #[error("the bytes of `{url}` could not be kept")]
    Sink {
        /// The redacted URL.
        url: String,
        /// What the receiver said.
        source: io::Error,
    },
    /// The build was given up.
    #[error("fetching `{url}` was cancelled")]
    Cancelled {
        /// The redacted URL.
        url: String,
    },
    /// No connection may be made.
    #[error("`{needed}` would have to be asked, and `--offline` forbids it")]
    Offline {
        /// The redacted URL, or the host.
        needed: String,
    },
    /// A file with certificates cannot be used.
    #[error("`{}` cannot be used as certificate authorities: {reason}", path.display())]
    Certificates {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        reason: String,
    },
    /// The runtime did not start.
    #[error("the network threads could not be started")]
    Runtime {
        /// What the system said.
        source: io::Error,
    },
    /// The HTTP client did not start.
    #[error("the HTTP client could not be set up")]
    Client {
        /// What the library said.
        source: reqwest::Error,
    },
}

/// A status's words after a blank, or nothing for a status nobody named.
fn phrase(status: u16) -> String {
    let status = reqwest::StatusCode::from_u16(status).ok();
    let reason = status.and_then(|status| status.canonical_reason());
    reason.map_or_else(String::new, |reason| format!(" {reason}"))
}

impl FetchError {
    /// Sorts what the HTTP library reports and takes the URL out of its text.
    pub(crate) fn from_reqwest(url: String, error: reqwest::Error) -> FetchError {
        if let Some(RedirectError::TooMany { limit }) = cause(&error) {
            return FetchError::Redirect { url, source: RedirectError::TooMany { limit: *limit } };
        }
        if let Some(RedirectError::Scheme { to }) = cause(&error) {
            return FetchError::Redirect { url, source: RedirectError::Scheme { to: to.clone() } };
        }
        FetchError::Transport { url, source: error.without_url() }
    }

    /// Whether this only says that the user stopped it.
    pub fn is_cancelled(&self) -> bool {
        match self {
            FetchError::Cancelled { .. } => true,
            FetchError::GivenUp { source, .. } => source.is_cancelled(),
            _ => false,
        }
    }

    /// Whether there was nobody to talk to.
    pub(crate) fn is_connect(&self) -> bool {
        matches!(self, FetchError::Transport { source, .. } if source.is_connect())
    }

    /// Whether no trusted authority signed the server's certificate.
    pub fn is_untrusted(&self) -> bool {
        match self {
            FetchError::Transport { source, .. } => is_untrusted(source),
            FetchError::GivenUp { source, .. } => source.is_untrusted(),
            _ => false,
        }
    }

    /// Says whether the same request might succeed a moment later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            FetchError::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            FetchError::Length { .. } | FetchError::Range { .. } => true,
            FetchError::Transport { source, .. } => !source.is_builder() && !is_untrusted(source),
            _ => false,
        }
    }
}

/// A certificate that is wrong stays wrong.
fn is_untrusted(error: &reqwest::Error) -> bool {
    matches!(cause(error), Some(rustls::Error::InvalidCertificate(_)))
}

/// Finds a cause by its type. An `io::Error` hides the error it wraps from `source()`, so it is asked apart.
fn cause<T: Error + 'static>(error: &dyn Error) -> Option<&T> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match wrapped {
            Some(inner) if inner.is::<T>() => return inner.downcast_ref::<T>(),
            Some(inner) => next = Some(inner),
            None => next = error.source(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_put_in_words() {
        let text = |status| FetchError::Status { url: "http://h/x".to_owned(), status }.to_string();
        assert_eq!(text(404), "`http://h/x` was answered with status 404 Not Found");
        assert_eq!(text(599), "`http://h/x` was answered with status 599");
    }

    #[test]
    fn causes_are_found_inside_io_errors() {
        let inner = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let outer = FetchError::Runtime { source: io::Error::other(io::Error::other(inner)) };
        assert!(matches!(cause(&outer), Some(rustls::Error::InvalidCertificate(_))));
        assert!(cause::<RedirectError>(&outer).is_none());
    }
}
