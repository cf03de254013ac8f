//! How a registry is reached: by HTTPS, or by HTTP where that may be; then the first request is the question.

use std::net::IpAddr;

use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::Registry;
use super::error::RegistryError;
use super::host::{Call, Endpoint, Host, Role, sent};
use super::reference::server;
use crate::net::{FetchError, Live, Peers};

impl Host {
    /// How the registry is reached. Who is the first to ask also gets the answer to their call, if it could be the question; it
    /// was asked without telling who we are.
    pub(super) async fn reached(
        &self,
        registry: &Registry,
        live: &Live,
        call: &Call<'_>,
    ) -> Result<(&Endpoint, Option<Response>), RegistryError> {
        let mut first = None;
        let found = async {
            let (endpoint, answer) = self.reach(registry, live, call).await?;
            first = answer;
            Ok::<_, RegistryError>(endpoint)
        };
        let endpoint = self.endpoint.get_or_try_init(|| found).await?;
        Ok((endpoint, first))
    }

    /// Finds out how the registry is reached: where HTTP may be spoken, by asking.
    async fn reach(
        &self,
        registry: &Registry,
        live: &Live,
        call: &Call<'_>,
    ) -> Result<(Endpoint, Option<Response>), RegistryError> {
        let schemes: [&str; 2] =
            match (is_loopback(server(&self.name)), registry.trust.is_insecure(&self.name)) {
                _ if self.role == Role::PlainMirror => {
                    return Ok((self.endpoint_of(registry, live, "http")?, None));
                }
                (true, _) if registry.trust.authorities(&self.name).is_empty() => ["http", "https"],
                (_, true) => ["https", "http"],
                _ => return Ok((self.endpoint_of(registry, live, "https")?, None)),
            };
        let greeting = greeting(call);
        let is_question = is_question(call);
        let question = if is_question { call } else { &greeting };
        let (mut failure, mut bad) = (None, None);
        for scheme in schemes {
            let found = self.endpoint_of(registry, live, scheme)?;
            match self.answer(registry, &found, question).await {
                // A TLS server tells those who do not speak TLS that their request is a bad one.
                Ok(answer) if answer.status() == StatusCode::BAD_REQUEST && scheme == "http" => {
                    bad = Some((found, answer));
                }
                Ok(answer) => return Ok((found, is_question.then_some(answer))),
                // Of two failures the one of the scheme that belongs to the host says more; and who shows a certificate
                // speaks TLS.
                Err(error) => {
                    let is_untrusted = matches!(&error, RegistryError::Net(error) if error.is_untrusted());
                    let says_more = scheme == schemes[0] || is_untrusted;
                    failure = if says_more { Some(error) } else { failure.or(Some(error)) }
                }
            }
        }
        // It may be a bad request, too; a greeting is none.
        if is_question
            && let Some((found, answer)) = bad
            && let Ok(greeted) = self.answer(registry, &found, &greeting).await
            && greeted.status() != StatusCode::BAD_REQUEST
        {
            return Ok((found, Some(answer)));
        }
        Err(failure
            .expect("what is no good answer over HTTP is followed or preceded by a failure over HTTPS"))
    }

    /// What is answered at an endpoint to somebody who does not say who they are. What the registry wants to know is kept in mind before
    /// anybody else asks.
    async fn answer(
        &self,
        registry: &Registry,
        endpoint: &Endpoint,
        call: &Call<'_>,
    ) -> Result<Response, RegistryError> {
        let url = endpoint.at(&self.name, call.url)?;
        registry.fetcher.count_request();
        let answer = sent(endpoint.request(call, &url), &url).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.learn(&answer);
        }
        Ok(answer)
    }

    fn endpoint_of(&self, registry: &Registry, live: &Live, scheme: &str) -> Result<Endpoint, RegistryError> {
        let host = server(&self.name);
        let base = Url::parse(&format!("{scheme}://{host}/"))
            .map_err(|source| FetchError::Url { url: host.to_owned(), source })?;
        let (trust, settings) = (&registry.trust, registry.fetcher.settings());
        let peers = match scheme {
            "https" if trust.is_insecure(&self.name) => Peers::Everybody,
            "https" => live.trusting(settings, &trust.authorities(&self.name))?,
            _ => Peers::Nobody,
        };
        Ok(Endpoint { base, client: peers.client(settings)?, peers })
    }
}

/// Whether a call can be asked of whoever answers, and asked again: it changes nothing, has no body, and goes to the registry.
fn is_question(call: &Call<'_>) -> bool {
    matches!(call.method, Method::GET | Method::HEAD)
        && call.body.is_none()
        && call.url.starts_with('/')
        && !call.url.starts_with("//")
}

/// What every registry has an answer to (distribution-spec, determining support).
fn greeting<'a>(call: &Call<'a>) -> Call<'a> {
    Call::new(Method::GET, "/v2/", call.access, "a greeting")
}

/// Whether a host is this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_by_name_and_address() {
        for host in
            ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "r.localhost"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "128.0.0.1", "registry-1.docker.io", "[::2]"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
