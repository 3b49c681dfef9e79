//! What can go wrong with a watch.

use kube_client::Error as ClientError;
use kube_client::core::Status;

/// Why a list or a watch failed: a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// 401: the credentials are not, or no longer, valid.
    Unauthorized,
    /// 403: the role does not allow it.
    Forbidden,
    /// 404: the API does not have this kind.
    Absent,
    /// 410, or a version that the API does not know: what has changed meanwhile
    /// cannot be told, so everything is listed anew.
    Expired,
    /// 429: too many requests.
    Throttled,
    /// Any other answer that is an error.
    Refused,
    /// No answer, or one that broke off.
    Away,
    /// An answer that is not what an API says.
    Malformed,
    /// A watch of which nothing came for so long that its connection may be
    /// dead.
    Silent,
}

impl Failure {
    /// All of them, in the order of [`Failure::index`].
    pub const ALL: [Self; 9] = [
        Self::Unauthorized,
        Self::Forbidden,
        Self::Absent,
        Self::Expired,
        Self::Throttled,
        Self::Refused,
        Self::Away,
        Self::Malformed,
        Self::Silent,
    ];

    /// Its place in [`Failure::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Absent => "absent",
            Self::Expired => "expired",
            Self::Throttled => "throttled",
            Self::Refused => "refused",
            Self::Away => "away",
            Self::Malformed => "malformed",
            Self::Silent => "silent",
        }
    }

    /// Of an error, and what it says.
    pub(super) fn of_client(error: &ClientError) -> (Self, String) {
        match error {
            ClientError::Api(status) => Self::of_status(status),
            ClientError::SerdeError(_)
            | ClientError::FromUtf8(_)
            | ClientError::LinesCodecMaxLineLengthExceeded => (Self::Malformed, chain(error)),
            _ => (Self::Away, chain(error)),
        }
    }

    /// The same of what the API says.
    pub(super) fn of_status(status: &Status) -> (Self, String) {
        // 504 with this cause says that the version is of the future: etcd has
        // been restored from a backup (`NewTimeoutError`,
        // `apiserver/pkg/storage/errors.go`).
        let causes = status.details.iter().flat_map(|details| &details.causes);
        let mut reasons = causes.map(|cause| &*cause.reason);
        let failure = match status.code {
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::Absent,
            410 => Self::Expired,
            429 => Self::Throttled,
            504 if reasons.any(|reason| reason == "ResourceVersionTooLarge") => Self::Expired,
            _ => Self::Refused,
        };
        (failure, status.message.clone())
    }

    /// Whether a watch must begin with a new list.
    pub(super) const fn begins_anew(self) -> bool {
        matches!(self, Self::Expired | Self::Absent | Self::Malformed)
    }
}

/// An error with all that is behind it: what `hyper` says by itself is only
/// that there was an error.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        for (code, expected) in [
            (401, Failure::Unauthorized),
            (403, Failure::Forbidden),
            (404, Failure::Absent),
            (410, Failure::Expired),
            (429, Failure::Throttled),
            (500, Failure::Refused),
            (504, Failure::Refused),
        ] {
            let status = Status {
                code,
                message: "why".to_owned(),
                ..Status::default()
            };
            let error = ClientError::Api(Box::new(status));
            let told = Failure::of_client(&error);
            assert_eq!(told, (expected, "why".to_owned()), "{code}");
        }
        for (place, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure.index(), place);
        }
    }

    #[test]
    fn a_version_of_the_future_needs_a_new_list() {
        let text = r#"{"kind": "Status", "status": "Failure", "code": 504, "reason": "Timeout",
            "message": "Timeout: Too large resource version: 900, current: 7",
            "details": {"causes": [{"reason": "ResourceVersionTooLarge",
            "message": "Too large resource version"}], "retryAfterSeconds": 1}}"#;
        let status: Status = serde_json::from_str(text).unwrap();
        let (failure, _) = Failure::of_status(&status);
        assert_eq!(failure, Failure::Expired);
        assert!(failure.begins_anew());
    }
}
