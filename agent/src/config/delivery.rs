//! The keys of `[export]` that say how backends are fed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::read::one_of;
use super::table::{Findings, Placed, Reader};
use crate::export::Overflow;
use crate::export::delivery::{
    Credentials, DeliveryConfig, Gzip, Proxy, SecretError, check_authorities,
};

/// Reads them; paths are relative to `folder`. Files are looked into, so that
/// what is wrong with them is said here and not at the first batch.
pub(super) fn delivery(
    table: &mut Reader<'_>,
    folder: &Path,
    findings: &Findings,
) -> DeliveryConfig {
    let mut delivery = DeliveryConfig::default();
    sizes(table, &mut delivery);
    times(table, &mut delivery);
    if let Some(word) = table.string("overflow") {
        let known = [("newest", Overflow::Newest), ("oldest", Overflow::Oldest)];
        delivery.overflow = one_of(&word, &known, findings).unwrap_or_default();
    }
    if let Some(word) = table.string("gzip") {
        let known = [("auto", Gzip::Auto), ("on", Gzip::On), ("off", Gzip::Off)];
        delivery.gzip = one_of(&word, &known, findings).unwrap_or_default();
    }
    if let Some(file) = table.name("caFile") {
        let path = folder.join(file.value);
        if let Err(error) = check_authorities(&path) {
            let hint = "a PEM file of the authorities that signed the backend's certificate";
            findings.error(&file.at, error.to_string(), hint);
        }
        delivery.ca = Some(path);
    }
    let basic = secret(table, "basicAuthFile", Credentials::Basic, folder, findings);
    let bearer = secret(
        table,
        "bearerTokenFile",
        Credentials::Bearer,
        folder,
        findings,
    );
    delivery.credentials = match (basic, bearer) {
        (Some(basic), Some(bearer)) => {
            let message = "with basicAuthFile in the table, there is a second Authorization";
            findings.error(&bearer.at, message, "remove one of them");
            Some(basic.value)
        }
        (basic, bearer) => basic.or(bearer).map(|credentials| credentials.value),
    };
    let proxy_auth = secret(table, "proxyAuthFile", Credentials::Basic, folder, findings);
    match (table.name("proxy"), proxy_auth) {
        (Some(url), auth) => match Proxy::parse(url.value, auth.map(|auth| auth.value)) {
            Ok(proxy) => delivery.proxy = Some(proxy),
            Err(error) => findings.error(&url.at, error.to_string(), "write http://HOST:PORT"),
        },
        (None, Some(auth)) => {
            findings.error(
                &auth.at,
                "there is no proxy that is shown this",
                "set proxy",
            );
        }
        (None, None) => {}
    }
    delivery
}

fn sizes(table: &mut Reader<'_>, delivery: &mut DeliveryConfig) {
    if let Some(spans) = table.integer("batchSpans", 1..=100_000) {
        delivery.batch.spans = spans;
    }
    if let Some(bytes) = table.integer("batchBytes", 1000..=50_000_000) {
        delivery.batch.bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    if let Some(spans) = table.integer("queueSpans", 1..=10_000_000) {
        delivery.queue.spans = spans;
    }
    if let Some(bytes) = table.integer("queueBytes", 10_000..=4 << 30) {
        delivery.queue.bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
}

fn times(table: &mut Reader<'_>, delivery: &mut DeliveryConfig) {
    let mut duration = |key, from, to, setting: &mut Duration| {
        if let Some(value) = table.duration(key, from..=to) {
            *setting = value;
        }
    };
    let (ms, min, hours) = (
        Duration::from_millis,
        Duration::from_mins,
        Duration::from_hours,
    );
    let timeouts = &mut delivery.timeouts;
    duration("batchDelay", ms(1), min(1), &mut delivery.batch.delay);
    duration("connectTimeout", ms(10), min(5), &mut timeouts.connect);
    duration("answerTimeout", ms(10), min(5), &mut timeouts.answer);
    let give_up = &mut delivery.retry.give_up_after;
    duration("giveUpAfter", ms(0), hours(24), give_up);
    duration("shutdownGrace", ms(0), min(10), &mut delivery.grace);
}

/// A file with a secret in it that can be used as it is now.
fn secret(
    table: &mut Reader<'_>,
    key: &'static str,
    kind: fn(PathBuf) -> Credentials,
    folder: &Path,
    findings: &Findings,
) -> Option<Placed<Credentials>> {
    let file = table.name(key)?;
    let credentials = kind(folder.join(file.value));
    if let Err(error) = credentials.check() {
        let hint = match error {
            SecretError::NoPassword { .. } => "write name:password into the file, and no more",
            _ => "the file holds the secret, not its name",
        };
        findings.error(&file.at, error.to_string(), hint);
    }
    Some(Placed {
        value: credentials,
        at: file.at,
    })
}
