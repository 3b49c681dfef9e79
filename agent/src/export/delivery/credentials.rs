//! Secrets from files. They are read for each attempt, so that a rotated one
//! is used at once, and live no longer than the request.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;

/// Bytes of a secret at most.
const MAX_SECRET: u64 = 64 << 10;

/// What a server or a proxy is shown. Only the file's name is kept, so there
/// is nothing in here that must not be printed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credentials {
    /// A file with `user:password` (RFC 7617).
    Basic(PathBuf),
    /// A file with a token (RFC 6750).
    Bearer(PathBuf),
}

/// Why a secret cannot be used. Never says what is in the file.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("cannot read the secret {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is longer than any secret.
    #[error("the secret {} is longer than {MAX_SECRET} bytes", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
    },
    /// It is a pipe, a device or a folder: reading it may take for ever.
    #[error("the secret {} is not a file", path.display())]
    NotAFile {
        /// Which one.
        path: PathBuf,
    },
    /// There is nothing in it.
    #[error("the secret {} is empty", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// No colon.
    #[error("the secret {} is not of the form user:password", path.display())]
    NoPassword {
        /// Which file.
        path: PathBuf,
    },
    /// It would break the header.
    #[error("the secret {} has characters that cannot stand in a header", path.display())]
    Characters {
        /// Which file.
        path: PathBuf,
    },
}

impl Credentials {
    /// Whether the file can be used as it is now.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not of the right form.
    pub fn check(&self) -> Result<(), SecretError> {
        self.header().map(drop)
    }

    /// The secrets in such a value, in the forms in which somebody may repeat
    /// it: as it is on the wire, decoded, and the password alone.
    pub(super) fn forms(value: &HeaderValue) -> Vec<Vec<u8>> {
        let mut forms = Vec::new();
        if let Some(at) = value.as_bytes().iter().position(|byte| *byte == b' ') {
            let (scheme, shown) = value.as_bytes().split_at(at);
            let shown = shown.trim_ascii();
            forms.push(shown.to_vec());
            if scheme == b"Basic"
                && let Ok(plain) = STANDARD.decode(shown)
            {
                let password = plain.splitn(2, |byte| *byte == b':').nth(1);
                let password = password.unwrap_or_default().to_vec();
                forms.extend([plain, password]);
            }
        }
        // What is shorter stands everywhere, and is no secret.
        forms.retain(|form| form.len() >= 4);
        forms
    }

    /// The value of `authorization` or `proxy-authorization`.
    pub(super) fn header(&self) -> Result<HeaderValue, SecretError> {
        let (path, text) = match self {
            Self::Basic(path) => {
                let secret = read(path)?;
                if !secret.contains(&b':') {
                    return Err(SecretError::NoPassword { path: path.clone() });
                }
                (path, format!("Basic {}", STANDARD.encode(secret)))
            }
            Self::Bearer(path) => {
                let secret = read(path)?;
                // RFC 6750, 2.1: `b64token`; anything visible is let through.
                let token = String::from_utf8(secret).ok();
                let visible = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
                let token = token.filter(visible);
                let token = token.ok_or_else(|| SecretError::Characters { path: path.clone() })?;
                (path, format!("Bearer {token}"))
            }
        };
        let mut value = HeaderValue::try_from(text)
            .map_err(|_odd| SecretError::Characters { path: path.clone() })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The file's content without the white space that editors leave at its end.
fn read(path: &Path) -> Result<Vec<u8>, SecretError> {
    let mut bytes = Vec::new();
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(SecretError::NotAFile {
            path: path.to_owned(),
        });
    }
    File::open(path)
        .and_then(|file| file.take(MAX_SECRET + 1).read_to_end(&mut bytes))
        .map_err(|source| SecretError::Read {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > MAX_SECRET {
        return Err(SecretError::TooLong {
            path: path.to_owned(),
        });
    }
    bytes.truncate(bytes.trim_ascii_end().len());
    if bytes.is_empty() {
        return Err(SecretError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn headers_are_those_of_the_rfcs_and_show_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        // RFC 7617, 2.
        fs::write(&path, "Aladdin:open sesame\n").unwrap();
        let basic = Credentials::Basic(path.clone()).header().unwrap();
        assert_eq!(basic, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(!format!("{basic:?}").contains("QWxh"));
        fs::write(&path, "mF_9.B5f-4.1JqM\n").unwrap();
        let bearer = Credentials::Bearer(path.clone());
        assert_eq!(bearer.header().unwrap(), "Bearer mF_9.B5f-4.1JqM");
        assert!(!format!("{bearer:?}").contains("mF_9"));
        // A rotated secret is used at once.
        fs::write(&path, "new").unwrap();
        assert_eq!(bearer.header().unwrap(), "Bearer new");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let error = |content: &[u8], basic| {
            fs::write(&path, content).unwrap();
            let credentials = if basic {
                Credentials::Basic(path.clone())
            } else {
                Credentials::Bearer(path.clone())
            };
            let error = credentials.check().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"));
            error.to_string()
        };
        assert!(error(b"hunter2", true).contains("user:password"));
        assert!(error(b"\n", true).contains("empty"));
        assert!(error(b"hunter2\nhunter2", false).contains("characters"));
        assert!(error(b"hunter2\xff", false).contains("characters"));
        assert!(error(&[b'a'; 70_000], false).contains("longer than"));
        // Nobody writes to it, so opening it would not return.
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        for odd in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            let error = Credentials::Basic(odd.to_owned()).check().unwrap_err();
            assert!(error.to_string().contains("not a file"), "{error}");
        }
        let gone = Credentials::Bearer(folder.path().join("gone"));
        let gone = gone.check().unwrap_err().to_string();
        assert!(gone.contains("gone") && gone.contains("No such file"));
    }
}
