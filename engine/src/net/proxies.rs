//! Proxies: which one is asked in place of a server, and which servers are asked directly.

use std::fmt;

use reqwest::{NoProxy, Proxy};

/// Proxies of the environment, as text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http` URLs.
    pub http: Option<String>,
    /// For `https` URLs.
    pub https: Option<String>,
    /// Hosts, domains and networks that are asked themselves, with commas between them.
    pub except: String,
}

/// This machine is never asked for through a proxy, whose own it would be (as Go's programs do it).
const OWN: &str = "localhost,127.0.0.0/8,::1";

impl Proxies {
    /// The proxies of a client; a text that names none counts for nothing.
    pub(super) fn list(&self) -> Vec<Proxy> {
        let except = self.exceptions();
        let http = self.http.as_deref().and_then(|url| Proxy::http(url).ok());
        let https = self.https.as_deref().and_then(|url| Proxy::https(url).ok());
        http.into_iter().chain(https).map(|proxy| proxy.no_proxy(NoProxy::from_string(&except))).collect()
    }

    /// The exceptions in the words of the HTTP library, which knows neither ports nor `*.` before a domain: an exception for one
    /// port is one for all of them.
    fn exceptions(&self) -> String {
        let mut all = String::from(OWN);
        for entry in self.except.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let entry = entry.strip_prefix("*.").unwrap_or(entry);
            let host = match (entry.strip_prefix('['), entry.rsplit_once(':')) {
                (Some(inside), _) => inside.split(']').next().unwrap_or(inside),
                (None, Some((host, port)))
                    if !host.contains(':') && port.bytes().all(|byte| byte.is_ascii_digit()) =>
                {
                    host
                }
                _ => entry,
            };
            all.push(',');
            all.push_str(host);
        }
        all
    }
}

impl fmt::Debug for Proxies {
    /// A proxy's URL may have a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies").field("except", &self.except).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_have_no_ports_and_no_stars() {
        let except = " a.b, *.c.d:80 ,[::2]:5000,[::3],::4,10.0.0.0/8,10.1.1.1:80,*,.e,";
        let proxies = Proxies { except: except.to_owned(), ..Proxies::default() };
        assert_eq!(proxies.exceptions(), format!("{OWN},a.b,c.d,::2,::3,::4,10.0.0.0/8,10.1.1.1,*,.e"));
        assert_eq!(Proxies::default().exceptions(), OWN);
    }
}
