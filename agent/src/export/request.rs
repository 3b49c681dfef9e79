//! A request line taken apart: what a span is called, and its URL.

use super::bytes::{any, equal, find};
use super::content::{MARK, Queries, Wording};
use super::name;
use crate::assemble::{Exchange, Text};

/// A request line taken apart (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Method.
    pub method: &'a [u8],
    /// Whom the request addresses: the authority of an absolute-form target,
    /// which beats `Host` (RFC 9112 section 3.2.2), else the `Host` header,
    /// else the target of CONNECT. Without userinfo. Empty if there is none.
    pub host: &'a [u8],
    /// Target as sent.
    pub target: &'a [u8],
    form: Form,
    wording: Wording,
}

/// Forms of a request target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `/path?query`.
    Origin,
    /// `scheme://authority/path?query`, with where the authority stands.
    Absolute(usize, usize),
    /// `*`, the target of CONNECT, or something else.
    Bare,
}

impl<'a> Request<'a> {
    /// Takes an exchange's request apart.
    #[inline]
    #[must_use]
    pub fn of(exchange: &'a Exchange, wording: impl Into<Wording>) -> Self {
        Self::line(&exchange.text, wording)
    }

    /// Takes a request line apart.
    #[inline]
    #[must_use]
    pub fn line(text: &'a Text, wording: impl Into<Wording>) -> Self {
        let (method, target) = (text.method(), text.target());
        let form = form(method, target);
        let authority = match form {
            Form::Absolute(start, end) => target.get(start..end).unwrap_or_default(),
            Form::Bare if method == b"CONNECT" && text.host().is_empty() => target,
            Form::Origin | Form::Bare => text.host(),
        };
        Self {
            method,
            host: without_userinfo(authority),
            target,
            form,
            wording: wording.into(),
        }
    }

    /// The span's name, `METHOD host`, piece by piece, cut to its limit. A
    /// request without a method, which no parser lets through, is called
    /// `HTTP`.
    #[inline]
    pub fn name(&self, put: impl FnMut(&[u8])) {
        let method = match self.method {
            b"" => b"HTTP",
            method => method,
        };
        name::put(method, self.host, self.wording.name_limit, put);
    }

    /// The URL, piece by piece: `http://<host><path>` for an origin-form
    /// target; as sent for all other forms, and for a request without a host,
    /// because nothing is invented. Values of the query and userinfo are
    /// replaced.
    #[inline]
    pub fn url(&self, mut put: impl FnMut(&[u8])) {
        match self.form {
            Form::Origin => {
                if !self.host.is_empty() {
                    put(b"http://");
                    put(self.host);
                }
                self.put_query(self.target, put);
            }
            Form::Absolute(start, end) => {
                put(self.target.get(..start).unwrap_or_default());
                if self.host.len() != end - start {
                    put(MARK);
                    put(b"@");
                }
                put(self.host);
                self.put_query(self.target.get(end..).unwrap_or_default(), put);
            }
            Form::Bare => {
                let shown = without_userinfo(self.target);
                if shown.len() != self.target.len() {
                    put(MARK);
                    put(b"@");
                }
                self.put_query(shown, put);
            }
        }
    }

    /// The scheme: what an absolute-form target says, else `http`.
    #[must_use]
    pub fn scheme(&self) -> &'a [u8] {
        match self.form {
            Form::Absolute(start, _) => {
                let scheme = start.checked_sub(3).and_then(|end| self.target.get(..end));
                scheme.unwrap_or_default()
            }
            Form::Origin | Form::Bare => b"http",
        }
    }

    /// The path, without query and fragment; `*` of `OPTIONS *`, empty for
    /// CONNECT.
    #[must_use]
    pub fn path(&self) -> &'a [u8] {
        let target = self.behind_authority();
        let end = find(target, [b'?', b'#']).unwrap_or(target.len());
        target.get(..end).unwrap_or_default()
    }

    /// The query without its question mark, piece by piece, with values
    /// replaced as in [`Request::url`]; nothing if it is empty or missing.
    pub fn query(&self, mut put: impl FnMut(&[u8])) {
        let target = self.behind_authority();
        let Some(start) = find(target, [b'?', b'#']) else {
            return;
        };
        let query = target.get(start..).unwrap_or_default();
        let end = find(query, [b'#']).unwrap_or(query.len());
        let mut first = true;
        self.put_query(query.get(..end).unwrap_or_default(), |piece| {
            let piece = match piece {
                [b'?', piece @ ..] if first => piece,
                piece => piece,
            };
            if !piece.is_empty() {
                first = false;
                put(piece);
            }
        });
    }

    /// What of the target stands behind scheme and authority.
    fn behind_authority(&self) -> &'a [u8] {
        match self.form {
            Form::Origin => self.target,
            Form::Absolute(_, end) => self.target.get(end..).unwrap_or_default(),
            Form::Bare if self.method == b"CONNECT" => b"",
            Form::Bare => without_userinfo(self.target),
        }
    }

    /// The host without its port, and the port; an IPv6 address without its
    /// brackets. What is no port stays with the host.
    #[must_use]
    pub fn host_and_port(&self) -> (&'a [u8], Option<u16>) {
        let colon = self.host.iter().rposition(|&b| b == b':');
        let split = colon.and_then(|at| {
            let (host, port) = self.host.split_at(at);
            let port = std::str::from_utf8(port.get(1..)?).ok()?;
            let bracketed = host.ends_with(b"]") || !host.contains(&b':');
            let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            (bracketed && digits).then_some((host, port.parse().ok()?))
        });
        let (host, port) = match split {
            Some((host, port)) => (host, Some(port)),
            None => (self.host, None),
        };
        match host {
            [b'[', host @ .., b']'] => (host, port),
            host => (host, port),
        }
    }

    #[inline]
    fn put_query(&self, target: &[u8], mut put: impl FnMut(&[u8])) {
        if self.wording.queries == Queries::AsSent {
            put(target);
        } else {
            put_redacted(target, put);
        }
    }
}

#[inline]
fn form(method: &[u8], target: &[u8]) -> Form {
    if target.first() == Some(&b'/') {
        Form::Origin
    } else {
        unusual_form(method, target)
    }
}

#[cold]
fn unusual_form(method: &[u8], target: &[u8]) -> Form {
    if method == b"CONNECT" {
        return Form::Bare;
    }
    let Some(colon) = find(target, [b':']).filter(|&at| at > 0) else {
        return Form::Bare;
    };
    let (scheme, rest) = target.split_at(colon);
    let scheme_letter = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
    match rest {
        [b':', b'/', b'/', rest @ ..] if scheme.iter().all(scheme_letter) => {
            let start = colon + 3;
            let len = find(rest, [b'/', b'?', b'#']).unwrap_or(rest.len());
            Form::Absolute(start, start + len)
        }
        _ => Form::Bare,
    }
}

#[inline]
fn has_userinfo(authority: &[u8]) -> bool {
    any(authority, |b| equal(b, b'@') & !b)
}

/// What follows the last `@`: credentials are never kept.
#[inline]
fn without_userinfo(authority: &[u8]) -> &[u8] {
    if has_userinfo(authority) {
        authority.rsplit(|&b| b == b'@').next().unwrap_or_default()
    } else {
        authority
    }
}

/// Replaces the values of a query, and the whole of a fragment, which no
/// client should send.
#[inline]
fn put_redacted(target: &[u8], mut put: impl FnMut(&[u8])) {
    let Some(start) = find(target, [b'?', b'#']) else {
        return put(target);
    };
    let (path, mut rest) = target.split_at(start);
    put(path);
    while let Some((&delimiter, tail)) = rest.split_first() {
        if delimiter == b'#' {
            put(b"#***");
            return;
        }
        let (item, after) = tail.split_at(find(tail, [b'&', b'#']).unwrap_or(tail.len()));
        // A piece is the delimiter, the name and the equals sign.
        let name = find(item, [b'=']).map_or(0, |equals| equals + 1);
        put(rest.get(..=name).unwrap_or_default());
        if !item.is_empty() {
            put(MARK);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing;

    #[track_caller]
    fn check(method: &str, target: &str, host: &str, name: &str, url: &str) {
        let span = testing::span_of(method, target, host);
        let request = Request::of(&span.exchange, Queries::Redacted);
        let (mut got_name, mut got_url) = (Vec::new(), Vec::new());
        request.name(|piece| got_name.extend_from_slice(piece));
        request.url(|piece| got_url.extend_from_slice(piece));
        assert_eq!(String::from_utf8_lossy(&got_name), name);
        assert_eq!(String::from_utf8_lossy(&got_url), url);
    }

    #[test]
    fn names_and_urls_follow_the_target_form() {
        check(
            "GET",
            "/a/b",
            "shop:80",
            "GET shop:80",
            "http://shop:80/a/b",
        );
        check("GET", "/a", "", "GET", "/a");
        check("OPTIONS", "*", "shop", "OPTIONS shop", "*");
        check(
            "CONNECT",
            "a.b:443",
            "a.b:443",
            "CONNECT a.b:443",
            "a.b:443",
        );
        check("CONNECT", "a.b:443", "", "CONNECT a.b:443", "a.b:443");
        check("GET", "http://x.y/p", "other", "GET x.y", "http://x.y/p");
        check(
            "GET",
            "https://x.y:8?q=1",
            "",
            "GET x.y:8",
            "https://x.y:8?q=***",
        );
        check("GET", "http://x.y", "", "GET x.y", "http://x.y");
        check("GET", "weird", "h", "GET h", "weird");
        check("GET", "a:b", "h", "GET h", "a:b");
        check("GET", "://x", "h", "GET h", "://x");
    }

    #[test]
    fn secrets_of_a_target_do_not_leave_the_node() {
        let url = |target, wanted| check("GET", target, "h", "GET h", wanted);
        url("/a?k=secret", "http://h/a?k=***");
        url("/a?k=s=ecret&m=", "http://h/a?k=***&m=***");
        url("/a?secret", "http://h/a?***");
        url("/a?", "http://h/a?");
        url("/a?&&k=v", "http://h/a?&&k=***");
        url("/a#secret?x", "http://h/a#***");
        url("/a?k=1#secret", "http://h/a?k=***#***");
        url("/p@q", "http://h/p@q");
        check(
            "GET",
            "http://u:p@x/y?z=1",
            "",
            "GET x",
            "http://***@x/y?z=***",
        );
        check("GET", "/", "u:p@h", "GET h", "http://h/");
        check("CONNECT", "u:p@h:1", "", "CONNECT h:1", "***@h:1");
    }

    #[test]
    fn the_parts_of_a_url_are_those_of_the_whole() {
        let parts = |method, target, host| {
            let span = testing::span_of(method, target, host);
            let request = Request::of(&span.exchange, Queries::Redacted);
            let mut query = Vec::new();
            request.query(|piece| query.extend_from_slice(piece));
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (host, port) = request.host_and_port();
            (
                format!("{} {}", text(request.scheme()), text(request.path())),
                text(&query),
                format!("{} {port:?}", text(host)),
            )
        };
        for (method, target, host, wanted) in [
            ("GET", "/a/b", "h:80", ("http /a/b", "", "h Some(80)")),
            ("GET", "/a?k=v&t#f", "h", ("http /a", "k=***&***", "h None")),
            ("GET", "/a?", "[::1]:8", ("http /a", "", "::1 Some(8)")),
            ("GET", "/a?=v", "[::1]", ("http /a", "=***", "::1 None")),
            ("GET", "/a#f?k=v", "::1", ("http /a", "", "::1 None")),
            ("GET", "/?&k=v", "h:", ("http /", "&k=***", "h: None")),
            ("GET", "/??", "h:1x", ("http /", "***", "h:1x None")),
            (
                "GET",
                "https://u:p@x:1/p?q=1",
                "",
                ("https /p", "q=***", "x Some(1)"),
            ),
            ("GET", "http://x", "h", ("http ", "", "x None")),
            ("OPTIONS", "*", "h:70000", ("http *", "", "h:70000 None")),
            ("CONNECT", "a.b:443", "", ("http ", "", "a.b Some(443)")),
            ("GET", "odd?k=v", "h:+1", ("http odd", "k=***", "h:+1 None")),
        ] {
            let (path, query, host) = parts(method, target, host);
            assert_eq!((&*path, &*query, &*host), wanted, "{target}");
        }
    }

    #[test]
    fn queries_stay_if_the_operator_wants_them() {
        let span = testing::span_of("GET", "/a?k=v#f", "h");
        let request = Request::of(&span.exchange, Queries::AsSent);
        let mut url = Vec::new();
        request.url(|piece| url.extend_from_slice(piece));
        assert_eq!(url, b"http://h/a?k=v#f");
    }
}
