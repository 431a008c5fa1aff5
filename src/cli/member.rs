//! Arguments of a process that is one of several.

use std::path::PathBuf;

use clap::Args;

use crate::cluster::peer::{CLUSTER_DEFAULT, Member, Secret, Tls};
use crate::error::{Error, Result};
use crate::limits::CLUSTER_ID_BYTES_MAX;

/// Holds the cluster secret where no file does.
const SECRET_VARIABLE: &str = "FLOODMARK_CLUSTER_SECRET";

/// How processes of one cluster know each other.
#[derive(Debug, Args)]
#[command(next_help_heading = "Between processes")]
pub struct MemberArguments {
    /// Name of the cluster; processes of another one are refused
    #[arg(long, value_name = "NAME", default_value = CLUSTER_DEFAULT, value_parser = cluster_id)]
    cluster_id: String,
    /// File with the secret that processes prove to each other to know; without it the environment
    /// variable FLOODMARK_CLUSTER_SECRET holds it
    #[arg(long, value_name = "FILE")]
    cluster_secret_file: Option<PathBuf>,
    /// PEM file with the certificate of this process: connections between processes are encrypted,
    /// and both sides show one
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    tls_cert: Option<PathBuf>,
    /// PEM file with the private key of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// PEM file with the certificate of the authority that all certificates are of
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
}

impl MemberArguments {
    /// Process `process` of those at `addresses`.
    pub fn member(&self, process: usize, addresses: Vec<String>, workers: usize) -> Result<Member> {
        let cluster = self.cluster_id.clone();
        let tls = self.tls()?;
        Ok(Member { cluster, tls, ..Member::new(process, addresses, workers, self.secret()?) })
    }

    fn tls(&self) -> Result<Option<Tls>> {
        match (&self.tls_cert, &self.tls_key, &self.tls_ca) {
            (Some(cert), Some(key), Some(ca)) => Tls::read(cert, key, ca).map(Some),
            _ => Ok(None),
        }
    }

    fn secret(&self) -> Result<Secret> {
        if let Some(path) = &self.cluster_secret_file {
            return Secret::read(path);
        }
        match std::env::var_os(SECRET_VARIABLE) {
            Some(text) => Secret::new(SECRET_VARIABLE, text.as_encoded_bytes()),
            None => Err(Error::config("processes need a cluster secret to know each other by")
                .with_hint(format!(
                    "head -c 32 /dev/urandom | base64 > cluster.secret, and give every process \
                     --cluster-secret-file cluster.secret or the same in {SECRET_VARIABLE}"
                ))),
        }
    }
}

fn cluster_id(text: &str) -> std::result::Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > CLUSTER_ID_BYTES_MAX || !text.chars().all(is_plain) {
        return Err(format!(
            "a cluster id has 1 to {CLUSTER_ID_BYTES_MAX} letters, digits, '-', '_' and '.'"
        ));
    }
    Ok(text.to_string())
}
