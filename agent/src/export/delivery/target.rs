//! Where a backend listens.

use std::fmt;
use std::net::IpAddr;

use hyper::Uri;

use super::credentials::Credentials;

/// An `http` or `https` URL taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Over TLS.
    pub(super) secure: bool,
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
    /// Neither `http` nor `https`.
    #[error("`{url}`: unknown scheme `{scheme}`, wanted {wanted}")]
    Scheme {
        /// As configured.
        url: String,
        /// Its scheme.
        scheme: String,
        /// What can be used here.
        wanted: &'static str,
    },
    /// Credentials in a URL end up in logs.
    #[error("the endpoint at `{host}` has credentials in its URL; name a file with them instead")]
    Credentials {
        /// The host, without what must not be shown.
        host: String,
    },
    /// Not a place for datagrams.
    #[error("`{address}` is not of the form HOST:PORT")]
    Address {
        /// As configured.
        address: String,
    },
}

impl Target {
    /// Reads a URL such as `http://zipkin:9411/api/v2/spans`.
    ///
    /// # Errors
    ///
    /// The URL is malformed, has another scheme than `http` and `https`, or
    /// has credentials in it.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        let malformed = |url: &str, reason: String| TargetError::Malformed {
            url: url.to_owned(),
            reason,
        };
        // Before anything is said that repeats the URL.
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if let Some((_, host)) = authority.rsplit_once('@') {
            return Err(TargetError::Credentials {
                host: host.to_owned(),
            });
        }
        let uri: Uri = url
            .parse()
            .map_err(|error: hyper::http::uri::InvalidUri| malformed(url, error.to_string()))?;
        let authority = uri
            .authority()
            .ok_or_else(|| malformed(url, "it names no host".to_owned()))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(scheme) => {
                return Err(TargetError::Scheme {
                    url: url.to_owned(),
                    scheme: scheme.to_owned(),
                    wanted: "http or https",
                });
            }
            None => return Err(malformed(url, "it has no scheme".to_owned())),
        };
        if authority.host().is_empty() {
            return Err(malformed(url, "it names no host".to_owned()));
        }
        // An empty one is the scheme's; what is no port would become that, too.
        let port = authority.as_str().strip_prefix(authority.host());
        let digits = port.and_then(|port| port.strip_prefix(':')).unwrap_or("");
        if !digits.is_empty() && !digits.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(malformed(url, "the port is not from 1 to 65535".to_owned()));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let default_port = if secure { 443 } else { 80 };
        Ok(Self {
            secure,
            // Brackets belong to the URL, not to the address in them.
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(default_port),
            authority: authority.as_str().to_owned(),
            path: path.parse().unwrap_or_else(|_| Uri::from_static("/")),
        })
    }

    /// Whether this host is meant.
    pub(super) fn is_local(&self) -> bool {
        let loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
        self.host.eq_ignore_ascii_case("localhost") || self.host.parse().is_ok_and(loopback)
    }
}

impl Target {
    /// The whole URL, as a proxy is told it.
    pub(super) fn absolute(&self) -> Option<Uri> {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.path)
            .parse()
            .ok()
    }
}

/// For logs and status: some backends take a key in the query.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path.path())?;
        match self.path.query() {
            Some(_) => f.write_str("?..."),
            None => Ok(()),
        }
    }
}

/// Where datagrams go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// Reads `HOST:PORT`, `ADDRESS:PORT` or `[ADDRESS]:PORT`.
    ///
    /// # Errors
    ///
    /// It is not of that form, or the port is 0.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let parsed = || {
            let (host, port) = text.trim().rsplit_once(':')?;
            let port = port.parse().ok().filter(|port| *port > 0)?;
            let bare = match host.strip_prefix('[') {
                Some(rest) => rest.strip_suffix(']')?,
                None if host.contains(':') => return None,
                None => host,
            };
            let fits = |c: char| !c.is_whitespace() && !c.is_control() && !"/@?#".contains(c);
            (!bare.is_empty() && bare.chars().all(fits)).then(|| Self {
                host: bare.to_owned(),
                port,
            })
        };
        parsed().ok_or_else(|| TargetError::Address {
            address: text.to_owned(),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "udp://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "udp://{}:{}", self.host, self.port)
        }
    }
}

/// A proxy for HTTP, spoken to without TLS: requests for `http` go to it in
/// absolute form, those for `https` through a tunnel (RFC 9110, 9.3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    pub(super) target: Target,
    pub(super) credentials: Option<Credentials>,
}

impl Proxy {
    /// Reads a URL such as `http://proxy:3128`.
    ///
    /// # Errors
    ///
    /// The URL is malformed, has another scheme than `http`, or has
    /// credentials in it.
    pub fn parse(url: &str, credentials: Option<Credentials>) -> Result<Self, TargetError> {
        let target = Target::parse(url)?;
        if target.secure {
            return Err(TargetError::Scheme {
                url: url.to_owned(),
                scheme: "https".to_owned(),
                wanted: "http",
            });
        }
        Ok(Self {
            target,
            credentials,
        })
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
        assert_eq!(target.to_string(), "http://zipkin:9411/api/v2/spans?...");
        let absolute = target.absolute().unwrap();
        assert_eq!(absolute, "http://zipkin:9411/api/v2/spans?a=b");
        let target = Target::parse("https://zipkin/x").unwrap();
        assert_eq!((target.secure, target.port), (true, 443));
        assert_eq!(target.to_string(), "https://zipkin/x");
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
        assert!(error("ftp://z/").contains("unknown scheme `ftp`"));
        assert!(error("zipkin:9411").contains("no scheme"));
        assert!(error("/api").contains("names no host"));
        assert!(error("").contains("not a URL"));
        for port in ["0", "65536", "99999"] {
            let url = format!("http://z:{port}/");
            let wrong = Target::parse(&url).unwrap_err().to_string();
            assert!(wrong.contains("port"), "{wrong}");
        }
        assert_eq!(Target::parse("http://z:/").unwrap().port, 80);
        for url in [
            "http://user:pass@z/",
            "user:pass@z",
            "http://u ser:pass@z:x/?",
        ] {
            let secret = error(url);
            assert!(secret.contains('z') && !secret.contains("pass"), "{secret}");
        }
        let proxy = |url| Proxy::parse(url, None);
        assert_eq!(proxy("http://p:3128").unwrap().target.port, 3128);
        assert!(
            proxy("https://p:3128")
                .unwrap_err()
                .to_string()
                .contains("wanted http")
        );
    }

    #[test]
    fn local_is_what_stays_on_this_host() {
        for (url, local) in [
            ("http://localhost:9411/", true),
            ("http://127.1.2.3/", true),
            ("http://[::1]/", true),
            ("http://[::ffff:127.0.0.1]/", true),
            ("http://10.0.0.1/", false),
            ("http://zipkin/", false),
        ] {
            assert_eq!(Target::parse(url).unwrap().is_local(), local, "{url}");
        }
    }

    #[test]
    fn addresses_of_datagrams() {
        for (text, host, port) in [
            ("jaeger:6831", "jaeger", 6831),
            ("127.0.0.1:1", "127.0.0.1", 1),
            (" [::1]:65535", "::1", 65535),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
        }
        for text in [
            "", "jaeger", ":1", "a:0", "a:65536", "::1:6831", "[::1:1", "a/b:1", "[]:1",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            Address::parse("[::1]:5").unwrap().to_string(),
            "udp://[::1]:5"
        );
    }
}
