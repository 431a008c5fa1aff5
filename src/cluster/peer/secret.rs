//! The cluster secret: what a process proves to know, without saying it.

use std::fmt;
use std::io::Read;
use std::path::Path;

use ring::hmac;

use crate::error::{Error, Result};
use crate::limits::{CLUSTER_SECRET_BYTES_MAX, CLUSTER_SECRET_BYTES_MIN};

/// Bytes of a proof.
pub(super) const PROOF_BYTES: usize = 32;

/// The cluster secret, as a key; the text itself is not kept.
#[derive(Clone)]
pub struct Secret(hmac::Key);

impl Secret {
    /// The secret `text`, which `what` names in errors; line ends at its end are no part of it.
    pub fn new(what: &str, text: &[u8]) -> Result<Self> {
        let end = text.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
        let secret = text.get(..end).unwrap_or_default();
        if secret.len() < CLUSTER_SECRET_BYTES_MIN {
            return Err(Error::config(format!(
                "{what} has {} bytes; a cluster secret has at least {CLUSTER_SECRET_BYTES_MIN}",
                secret.len()
            ))
            .with_hint("make one: head -c 32 /dev/urandom | base64 > cluster.secret"));
        }
        if secret.len() > CLUSTER_SECRET_BYTES_MAX {
            return Err(Error::config(format!(
                "{what} is longer than the {CLUSTER_SECRET_BYTES_MAX} bytes of a cluster secret"
            )));
        }
        Ok(Secret(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// The secret in the file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let failed = |error| Error::io(&name, &error);
        let file = std::fs::File::open(path).map_err(failed)?;
        warn_if_open(&name, &file.metadata().map_err(failed)?);
        let mut text = Vec::new();
        // Two bytes for a line end, one to see that there is too much.
        let bytes_max = CLUSTER_SECRET_BYTES_MAX as u64 + 3;
        file.take(bytes_max).read_to_end(&mut text).map_err(failed)?;
        Secret::new(&name, &text)
    }

    /// Proves knowledge of the secret over `parts`, in that order and cut.
    pub(super) fn prove(&self, parts: &[&[u8]]) -> [u8; PROOF_BYTES] {
        let tag = hmac::sign(&self.0, &transcript(parts));
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// Whether `proof` is that of somebody who knows the secret; takes as long for any wrong one.
    pub(super) fn holds(&self, parts: &[&[u8]], proof: &[u8; PROOF_BYTES]) -> bool {
        hmac::verify(&self.0, &transcript(parts), proof).is_ok()
    }
}

/// Each part with its length before it, so that no two transcripts are the same bytes.
fn transcript(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A secret that everybody on the machine can read is none.
fn warn_if_open(name: &str, metadata: &std::fs::Metadata) {
    use std::os::unix::fs::PermissionsExt;
    if metadata.permissions().mode() & 0o004 != 0 {
        tracing::warn!("{name} can be read by every user of this machine: chmod 600 {name}");
    }
}
