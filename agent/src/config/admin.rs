//! `[admin]`.

use std::net::SocketAddr;
use std::path::Path;

use super::settings::{Admin, Listen};
use super::table::{Findings, Placed, Reader, Switch};
use super::{MAX_KEY, read_at_most};
use crate::admin::api::{DEFAULT_ADDRESS, Token};

pub(super) fn admin(mut table: Reader<'_>, folder: &Path, findings: &Findings) -> Admin {
    let mut admin = Admin::default();
    if let Some(listen) = table.string("listen") {
        match listen.value.parse::<SocketAddr>() {
            Ok(address) => admin.listen = Listen::At(address),
            Err(_) if listen.value == "off" => admin.listen = Listen::Off,
            Err(_) => findings.error(
                &listen.at,
                format!("\"{}\" is not an address and port", listen.value),
                "write \"127.0.0.1:9903\" or \"[::1]:9903\", or \"off\"",
            ),
        }
    }
    let api = table.switch("api");
    let token_file = table.name("apiTokenFile");
    if let Some(file) = &token_file {
        admin.api_token = token(file, folder, findings);
    }
    if let Some(api) = api {
        admin.api = address(&api, findings);
        let others_reach = admin
            .api
            .filter(|api| !api.ip().to_canonical().is_loopback());
        if let (Some(address), None) = (others_reach, &token_file) {
            let message = format!(
                "others than this host reach {address}, and could change what is traced: this needs a token"
            );
            let hint = "name a file with one in `apiTokenFile`, or listen on 127.0.0.1";
            findings.error(&api.at, message, hint);
        }
    }
    if let Some(state) = table.name("stateFolder") {
        admin.state_folder = folder.join(state.value);
    }
    table.finish();
    admin
}

/// Where the API is, if it is on.
fn address(api: &Placed<Switch<'_>>, findings: &Findings) -> Option<SocketAddr> {
    let text = match api.value {
        Switch::On(on) => return on.then_some(DEFAULT_ADDRESS),
        Switch::Text("off") => return None,
        Switch::Text(text) => text,
    };
    let parsed = text.parse().ok();
    if parsed.is_none() {
        findings.error(
            &api.at,
            format!("\"{text}\" is not an address and port"),
            "write \"127.0.0.1:5681\" or \"[::1]:5681\", or true or false",
        );
    }
    parsed
}

fn token(file: &Placed<&str>, folder: &Path, findings: &Findings) -> Option<Token> {
    let path = folder.join(file.value);
    let message = match read_at_most(&path, MAX_KEY) {
        Ok(Some(content)) => match Token::new(&content) {
            Ok(token) => return Some(token),
            Err(wrong) => format!("the token file {}: {wrong}", path.display()),
        },
        Ok(None) => format!(
            "the token file {} is longer than {MAX_KEY} bytes",
            path.display()
        ),
        Err(error) => format!("cannot read the token file {}: {error}", path.display()),
    };
    findings.error(&file.at, message, "make one with `openssl rand -hex 32`");
    None
}
