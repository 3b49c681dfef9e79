//! Where a backend listens.

use std::fmt;

use hyper::Uri;

/// An `http` URL taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    /// Value of the `host` header.
    pub(super) authority: String,
    /// Path and query.
    pub(super) path: Uri,
}

/// Why an endpoint cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No URL at all.
    #[error("`{url}` is not a URL: {reason}; write http://HOST:PORT/api/v2/spans")]
    Malformed {
        /// As configured.
        url: String,
        /// What the parser says.
        reason: String,
    },
    /// TLS is for a later version.
    #[error(
        "`{url}`: https endpoints are not supported yet; use http, or a local proxy that speaks TLS"
    )]
    Tls {
        /// As configured.
        url: String,
    },
    /// Neither `http` nor `https`.
    #[error("`{url}`: unknown scheme `{scheme}`, wanted http")]
    Scheme {
        /// As configured.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// Credentials in a URL end up in logs.
    #[error("the endpoint at `{host}` has credentials in its URL, which are not supported")]
    Credentials {
        /// The host, without what must not be shown.
        host: String,
    },
}

impl Target {
    /// Reads a URL such as `http://zipkin:9411/api/v2/spans`.
    ///
    /// # Errors
    ///
    /// The URL is malformed, has another scheme than `http`, or has
    /// credentials in it.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        let malformed = |reason: String| TargetError::Malformed {
            url: url.to_owned(),
            reason,
        };
        let uri: Uri = url
            .parse()
            .map_err(|error: hyper::http::uri::InvalidUri| malformed(error.to_string()))?;
        let authority = uri
            .authority()
            .ok_or_else(|| malformed("it names no host".to_owned()))?;
        if authority.as_str().contains('@') {
            return Err(TargetError::Credentials {
                host: authority.host().to_owned(),
            });
        }
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(TargetError::Tls {
                    url: url.to_owned(),
                });
            }
            Some(scheme) => {
                return Err(TargetError::Scheme {
                    url: url.to_owned(),
                    scheme: scheme.to_owned(),
                });
            }
            None => return Err(malformed("it has no scheme".to_owned())),
        }
        if authority.host().is_empty() {
            return Err(malformed("it names no host".to_owned()));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            // Brackets belong to the URL, not to the address in them.
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.as_str().to_owned(),
            path: path.parse().unwrap_or_else(|_| Uri::from_static("/")),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let target = Target::parse("http://zipkin:9411/api/v2/spans?a=b").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("zipkin", 9411));
        assert_eq!(target.authority, "zipkin:9411");
        assert_eq!(target.to_string(), "http://zipkin:9411/api/v2/spans?a=b");
        let target = Target::parse("http://[::1]").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 80));
        assert_eq!(
            (target.authority.as_str(), target.path.path()),
            ("[::1]", "/")
        );
    }

    #[test]
    fn what_cannot_be_used_is_said_clearly() {
        let error = |url| Target::parse(url).unwrap_err().to_string();
        assert!(error("https://z/").contains("not supported yet"));
        assert!(error("ftp://z/").contains("unknown scheme `ftp`"));
        assert!(error("zipkin:9411").contains("no scheme"));
        assert!(error("/api").contains("names no host"));
        assert!(error("").contains("not a URL"));
        let secret = error("http://user:pass@z/");
        assert!(secret.contains('z') && !secret.contains("pass"));
    }
}
