//! Who a registry is told we are: answers to its challenges (distribution, token authentication).

use reqwest::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode};
use url::Url;

use super::challenge::{Challenge, TokenAnswer};
use super::credentials::Credential;
use super::error::RegistryError;
use super::host::{Access, Endpoint, Host, TOKEN_LIMIT, lock, sent};
use super::{Registry, limited};
use crate::net::{FetchError, redacted};

impl Host {
    /// Remembers what the registry asks of those it does not know.
    pub(super) fn learn(&self, response: &Response) {
        let fields =
            response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|field| field.to_str().ok());
        let mut challenges: Vec<Challenge> = fields.filter_map(Challenge::parse).collect();
        challenges.sort_by_key(|challenge| match challenge {
            Challenge::Bearer { .. } => 0,
            Challenge::Basic => 1,
            Challenge::Other(_) => 2,
        });
        *lock(&self.challenge) = challenges.into_iter().next();
    }

    /// What to say in `Authorization`; `None` where nothing was asked, or there is nothing to say. `stale` was said
    /// before, and was not enough. Many that need the same token ask for it once.
    pub(super) async fn authorization(
        &self,
        registry: &Registry,
        endpoint: &Endpoint,
        access: &Access,
        stale: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let challenge = lock(&self.challenge).clone();
        match challenge {
            None => Ok(None),
            Some(Challenge::Other(scheme)) => Err(RegistryError::Scheme { host: self.name.clone(), scheme }),
            Some(Challenge::Basic) => Ok(match registry.credentials.find(&access.repository)? {
                Some(Credential::Password { user, password }) => Some(basic(&user, &password)),
                Some(Credential::IdentityToken(_)) | None => None,
            }),
            Some(Challenge::Bearer { realm, service }) => {
                let scope = access.scopes().join(" ");
                let _one_at_a_time = self.asking.lock().await;
                let known = lock(&self.tokens).get(&scope).cloned();
                if let Some(token) = known.filter(|token| Some(token) != stale) {
                    return Ok(Some(token));
                }
                let token = self.token(registry, endpoint, access, &realm, service.as_deref()).await?;
                lock(&self.tokens).insert(scope, token.clone());
                Ok(Some(token))
            }
        }
    }

    /// Asks the realm for a token.
    async fn token(
        &self,
        registry: &Registry,
        endpoint: &Endpoint,
        access: &Access,
        realm: &str,
        service: Option<&str>,
    ) -> Result<HeaderValue, RegistryError> {
        let unsafe_realm = || RegistryError::Realm { host: self.name.clone(), realm: redacted(realm) };
        let mut url = Url::parse(realm).map_err(|_| unsafe_realm())?;
        let is_as_safe =
            url.scheme() == "https" || (url.scheme() == "http" && endpoint.base.scheme() == "http");
        if !is_as_safe {
            return Err(unsafe_realm());
        }
        let credential = registry.credentials.find(&access.repository)?;
        let mut pairs: Vec<(&str, String)> = Vec::new();
        pairs.extend(service.map(|service| ("service", service.to_owned())));
        pairs.extend(access.scopes().into_iter().map(|scope| ("scope", scope)));
        registry.fetcher.count_request();
        let request = match &credential {
            Some(Credential::IdentityToken(token)) => {
                // OAuth wants one `scope`, its parts with blanks between them.
                pairs.retain(|(name, _)| *name != "scope");
                pairs.push(("scope", access.scopes().join(" ")));
                pairs.push(("grant_type", "refresh_token".to_owned()));
                pairs.push(("client_id", "sealer".to_owned()));
                pairs.push(("refresh_token", token.clone()));
                let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
                endpoint
                    .client
                    .post(url.clone())
                    .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form)
            }
            Some(Credential::Password { user, password }) => {
                url.query_pairs_mut().extend_pairs(pairs).append_pair("account", user);
                endpoint.client.get(url.clone()).header(AUTHORIZATION, basic(user, password))
            }
            None => {
                url.query_pairs_mut().extend_pairs(pairs);
                endpoint.client.get(url.clone())
            }
        };
        let response = sent(request, &url).await?;
        let status = response.status();
        let refused = |is_known| RegistryError::Unauthorized {
            host: self.name.clone(),
            path: access.repository.path.clone(),
            action: access.action(),
            is_known,
            message: None,
        };
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(refused(credential.is_some()));
        }
        if !status.is_success() {
            return Err(FetchError::Status { url: redacted(url.as_str()), status: status.as_u16() }.into());
        }
        let body = limited(response, TOKEN_LIMIT).await?;
        let answer: Option<TokenAnswer> = serde_json::from_slice(&body).ok();
        let token = answer.and_then(TokenAnswer::token).and_then(|token| secret(format!("Bearer {token}")));
        token.ok_or_else(|| RegistryError::Json {
            what: "the token",
            name: self.name.clone(),
            reason: "it is not what distribution's documentation describes".to_owned(),
        })
    }
}

fn basic(user: &str, password: &str) -> HeaderValue {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    secret(format!("Basic {text}")).expect("base64 can stand in a header")
}

/// A header that shows itself to nobody.
fn secret(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
