//! URLs and addresses of backends.

use super::table::{Findings, Placed};

/// An `http` or `https` URL like the example.
pub(super) fn backend_url(
    url: &Placed<&str>,
    example: &str,
    findings: &Findings,
) -> Option<String> {
    let value = url.value.trim();
    match problem(value) {
        None => Some(value.to_owned()),
        Some(problem) => {
            findings.error(&url.at, problem, &format!("write {example}"));
            None
        }
    }
}

fn problem(value: &str) -> Option<String> {
    let Some((scheme, rest)) = value.split_once("://") else {
        return Some(format!("\"{value}\" is not a URL"));
    };
    let (authority, _) = rest.split_once(['/', '?', '#']).unwrap_or((rest, ""));
    let problem = if !["http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        "the scheme is not http or https"
    } else if authority.contains('@') {
        "a name and password in the URL are not supported; [export] has basicAuthFile"
    } else if authority.is_empty() || authority.starts_with(':') {
        "the URL names no host"
    } else if value.contains(char::is_whitespace) || value.contains(char::is_control) {
        "there is white space in the URL"
    } else if port_is_wrong(authority) {
        "the port is not a number from 1 to 65535"
    } else {
        return None;
    };
    Some(problem.to_owned())
}

fn port_is_wrong(authority: &str) -> bool {
    let after_host = match authority.rsplit_once(']') {
        Some((_, after)) => after,
        None => authority,
    };
    let Some((_, port)) = after_host.rsplit_once(':') else {
        return false;
    };
    !is_port(port)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse().is_ok_and(|port: u16| port > 0)
}

/// Where datagrams go: `HOST:PORT`, `ADDRESS:PORT` or `[ADDRESS]:PORT`.
pub(super) fn host_and_port(address: &Placed<&str>, findings: &Findings) -> Option<String> {
    let value = address.value.trim();
    let good = value.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').unwrap_or_default(),
            None if host.contains(':') => "",
            None => host,
        };
        let fits = |c: char| !c.is_whitespace() && !c.is_control() && !"/@?#[]".contains(c);
        is_port(port) && !bare.is_empty() && bare.chars().all(fits)
    });
    if !good {
        let message = format!("\"{value}\" is not a host and a port");
        findings.error(
            &address.at,
            message,
            "write \"127.0.0.1:6831\", \"[::1]:6831\" or \"HOST:6831\"",
        );
    }
    good.then(|| value.to_owned())
}
