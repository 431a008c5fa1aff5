//! Copies of snapshots as objects of a bucket that speaks the protocol of S3.
//!
//! Alone in knowing `object_store`, which signs, repeats what failed for the moment, and cuts large
//! objects into parts. An object appears whole or not at all, but a copy is many of them: the list
//! of checksums comes last and makes it one. The manifest comes first: what is below the prefix of
//! a copy that was broken off belongs to the same snapshot if its manifest has the same bytes, and
//! is gone on with; else it is removed.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientConfigKey, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart,
};
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};

use super::export::is_file_of_a_copy;
use super::place::Found;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{
    OBJECT_PART_BYTES, OBJECT_PARTS_AT_ONCE_MAX, OBJECT_REQUEST_SECONDS_MAX, OBJECT_RETRIES_MAX,
    OBJECT_RETRY_SECONDS_MAX, OBJECTS_AT_ONCE_MAX,
};

/// How to reach object stores: options by their usual names, such as `AWS_ENDPOINT_URL`.
///
/// Plain data: who owns the environment fills it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ObjectOptions {
    values: BTreeMap<String, String>,
}

impl fmt::Debug for ObjectOptions {
    /// The names alone: values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

fn key_of(name: &str) -> Option<AmazonS3ConfigKey> {
    let is_usual = name.starts_with("AWS_");
    is_usual.then(|| name.to_ascii_lowercase().parse().ok()).flatten()
}

impl ObjectOptions {
    /// The options among the variables of an environment; others are none of ours.
    pub fn of_environment(variables: impl Iterator<Item = (String, String)>) -> Self {
        let is_option =
            |(name, value): &(String, String)| key_of(name).is_some() && !value.is_empty();
        ObjectOptions { values: variables.filter(is_option).collect() }
    }

    /// Sets one by name, instead of that of the environment.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        if key_of(name).is_none() {
            return Err(Error::config(format!("'{name}' is no option of an object store"))
                .with_hint(
                    "there are AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, \
                     AWS_REGION, AWS_ENDPOINT_URL, AWS_ALLOW_HTTP and others",
                ));
        }
        self.values.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Where requests go, if not to Amazon.
    fn endpoint(&self) -> Option<&str> {
        let names = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
        names.iter().find_map(|name| self.get(name))
    }

    fn has_credentials(&self) -> bool {
        self.values.keys().any(|name| {
            ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE"]
                .contains(&name.as_str())
                || name.starts_with("AWS_CONTAINER_")
        })
    }
}

/// A prefix in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    name: String,
    prefix: Path,
    options: ObjectOptions,
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.name)?;
        match self.prefix.as_ref() {
            "" => Ok(()),
            prefix => write!(f, "/{prefix}"),
        }
    }
}

impl Bucket {
    /// `rest` is what follows the scheme in `text`.
    pub(super) fn parse(text: &str, rest: &str, options: &ObjectOptions) -> Result<Bucket> {
        let wrong = |what: &str| {
            Error::config(format!("'{text}': {what}")).with_hint("write s3://bucket/prefix")
        };
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = |c: char| c.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&c);
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(wrong("it names no bucket"));
        }
        let prefix = Path::parse(prefix).map_err(|_| wrong("the prefix has an empty part"))?;
        Ok(Bucket { name: name.to_owned(), prefix, options: options.clone() })
    }

    fn connect(&self) -> Result<Connected> {
        let options = &self.options;
        let is_url = |url: &&str| {
            let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            host.is_some_and(|host| host.starts_with(|c: char| c.is_alphanumeric() || c == '['))
        };
        let endpoint = options.endpoint();
        if let Some(wrong) = endpoint.filter(|url| !is_url(url)) {
            return Err(Error::config(format!("the endpoint '{wrong}' is no address"))
                .with_hint("write http://host:port or https://host:port"));
        }
        let timeout = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
        let mut builder = AmazonS3Builder::new()
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: OBJECT_RETRIES_MAX,
                retry_timeout: Duration::from_secs(OBJECT_RETRY_SECONDS_MAX),
            })
            .with_config(timeout, format!("{OBJECT_REQUEST_SECONDS_MAX}s"));
        // Who names an address without encryption wants it.
        if endpoint.is_some_and(|url| url.starts_with("http://")) {
            builder = builder.with_allow_http(true);
        }
        for (name, value) in &options.values {
            if let Some(key) = key_of(name) {
                builder = builder.with_config(key, value);
            }
        }
        let store = builder.with_bucket_name(&self.name).build();
        let store = store.map_err(|error| {
            Error::config(format!("the options of {self}: {error}"))
                .with_hint("they are the variables AWS_* of the environment, and --set")
        })?;
        self.over(Arc::new(store))
    }

    /// What is in the bucket is in `store`.
    fn over(&self, store: Arc<dyn ObjectStore>) -> Result<Connected> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("objects")
            .enable_all()
            .build()
            .map_err(|error| Error::io("the runtime for object stores", &error))?;
        Ok(Connected { bucket: self.clone(), store, runtime })
    }

    /// The error of a request about the object `name`, in the words of a user.
    fn failed(&self, name: &str, error: &object_store::Error) -> Error {
        let texts = chain(error);
        let says = |part: &str| texts.iter().any(|text| text.contains(part));
        let at = match name {
            "" => self.to_string(),
            name => format!("{self}/{name}"),
        };
        let fail = |message: String| Error::new(ErrorKind::Io, message);
        let credentials = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
        if says("NoSuchBucket") {
            let message = format!("there is no bucket '{}' for {at}", self.name);
            return Error::new(ErrorKind::NotFound, message)
                .with_hint("make it, or check its name, AWS_REGION and AWS_ENDPOINT_URL");
        }
        let is_denied = matches!(
            error,
            object_store::Error::PermissionDenied { .. }
                | object_store::Error::Unauthenticated { .. }
        );
        if is_denied || says("status code: 403") || says("status code: 401") {
            let what = code_of(&texts).unwrap_or_else(|| "no rights".to_owned());
            return fail(format!("{at}: access denied: {what}"))
                .with_hint(format!("check the rights of the key; {credentials}"));
        }
        if let object_store::Error::NotFound { .. } = error {
            return Error::new(ErrorKind::NotFound, format!("{at}: there is no such object"));
        }
        if !self.options.has_credentials() && (says("169.254.169.254") || says("latest/api")) {
            return fail(format!("{at}: no credentials")).with_hint(credentials);
        }
        let what = code_of(&texts).or_else(|| texts.last().cloned()).unwrap_or_default();
        let endpoint = self.options.endpoint().unwrap_or("Amazon S3");
        match says("rror sending request") {
            true => fail(format!("{at}: {endpoint} cannot be reached: {what}"))
                .with_hint("check AWS_ENDPOINT_URL and the network"),
            false => fail(format!("{at}: {what}")).with_hint("check AWS_REGION and the service"),
        }
    }
}

/// The texts of an error and of what caused it.
fn chain(error: &dyn StdError) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts
}

/// What a service says in an answer such as `<Error><Code>c</Code><Message>m</Message></Error>`.
fn code_of(texts: &[String]) -> Option<String> {
    let between = |text: &str, tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        rest.split_once(&format!("</{tag}>")).map(|(inner, _)| inner.to_owned())
    };
    texts.iter().find_map(|text| {
        let code = between(text, "Code")?;
        Some(between(text, "Message").map_or(code.clone(), |message| format!("{code}: {message}")))
    })
}

/// A bucket with what it takes to reach it.
struct Connected {
    bucket: Bucket,
    store: Arc<dyn ObjectStore>,
    runtime: Runtime,
}

/// What came of one upload: the object, and its bytes or the error.
type Uploaded = (String, object_store::Result<u64>);

impl Connected {
    fn path(&self, name: &str) -> Path {
        self.bucket.prefix.clone().join(name)
    }

    /// Names and sizes of what is below the prefix; a name that ends in `/` stands for more.
    fn list(&self) -> Result<BTreeMap<String, u64>> {
        let prefix = &self.bucket.prefix;
        let listed = self.runtime.block_on(self.store.list_with_delimiter(Some(prefix)));
        let listed = listed.map_err(|error| self.bucket.failed("", &error))?;
        let name = |path: &Path| path.filename().unwrap_or_default().to_owned();
        let mut found: BTreeMap<String, u64> = listed
            .objects
            .iter()
            // Some tools make an object of no bytes for a prefix itself.
            .filter(|object| object.location != *prefix)
            .map(|object| (name(&object.location), object.size))
            .collect();
        found.extend(listed.common_prefixes.iter().map(|path| (name(path) + "/", 0)));
        Ok(found)
    }

    fn read(&self, name: &str, bytes_max: u64) -> Result<Found> {
        let got = self.runtime.block_on(get(Arc::clone(&self.store), self.path(name), bytes_max));
        got.map_err(|error| self.bucket.failed(name, &error))
    }
}

async fn get(
    store: Arc<dyn ObjectStore>,
    path: Path,
    bytes_max: u64,
) -> object_store::Result<Found> {
    let got = store.get(&path).await?;
    match got.meta.size {
        size if size > bytes_max => Ok(Err(size)),
        _ => got.bytes().await.map(|bytes| Ok(bytes.to_vec())),
    }
}

async fn put(store: Arc<dyn ObjectStore>, path: Path, bytes: Bytes) -> object_store::Result<u64> {
    let size = bytes.len() as u64;
    if bytes.len() <= OBJECT_PART_BYTES {
        store.put(&path, bytes.into()).await?;
        return Ok(size);
    }
    let upload = store.put_multipart(&path).await?;
    let mut parts = WriteMultipart::new_with_chunk_size(upload, OBJECT_PART_BYTES);
    let mut rest = bytes;
    while !rest.is_empty() {
        if let Err(error) = parts.wait_for_capacity(OBJECT_PARTS_AT_ONCE_MAX).await {
            // What failed says more than a failure of the tidying.
            let _ = parts.abort().await;
            return Err(error);
        }
        parts.put(rest.split_to(rest.len().min(OBJECT_PART_BYTES)));
    }
    parts.finish().await?;
    Ok(size)
}

/// A copy that is being written, some objects at a time.
pub(super) struct ObjectWriter {
    to: Connected,
    uploads: JoinSet<Uploaded>,
    /// What a copy of the same snapshot that was broken off has left, with sizes.
    present: BTreeMap<String, u64>,
}

impl ObjectWriter {
    pub(super) fn begin(bucket: &Bucket, manifest: (&str, &[u8]), last: &str) -> Result<Self> {
        Self::begin_over(bucket.connect()?, manifest, last)
    }

    fn begin_over(to: Connected, (name, bytes): (&str, &[u8]), last: &str) -> Result<Self> {
        let mut present = to.list()?;
        let conflict = |what: String| {
            Error::new(ErrorKind::Conflict, what).with_hint("name a prefix of its own")
        };
        if let Some(foreign) = present.keys().find(|name| !is_file_of_a_copy(name)) {
            return Err(conflict(format!("{}/{foreign} is no part of a snapshot", to.bucket)));
        }
        if present.contains_key(last) {
            return Err(conflict(format!("a snapshot is there already: {}", to.bucket)));
        }
        let is_same = match present.get(name) {
            Some(size) if *size == bytes.len() as u64 => {
                to.read(name, *size)?.is_ok_and(|found| found == bytes)
            }
            _ => false,
        };
        if !is_same {
            // The manifest goes last: while it is there the others are known to be of it.
            let others = present.keys().filter(|other| *other != name);
            for gone in others.cloned().chain(present.get_key_value(name).map(|(n, _)| n.clone())) {
                let deleted = to.runtime.block_on(to.store.delete(&to.path(&gone)));
                deleted.map_err(|error| to.bucket.failed(&gone, &error))?;
            }
            present.clear();
            let put = put(Arc::clone(&to.store), to.path(name), Bytes::copy_from_slice(bytes));
            to.runtime.block_on(put).map_err(|error| to.bucket.failed(name, &error))?;
        }
        Ok(ObjectWriter { to, uploads: JoinSet::new(), present })
    }

    pub(super) fn write(
        &mut self,
        name: &str,
        bytes: &[u8],
        done: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let size = bytes.len() as u64;
        if self.present.get(name) == Some(&size) {
            done(size);
            return Ok(());
        }
        self.wait_below(OBJECTS_AT_ONCE_MAX, done)?;
        let (store, path) = (Arc::clone(&self.to.store), self.to.path(name));
        let (name, bytes) = (name.to_owned(), Bytes::copy_from_slice(bytes));
        let upload = async move { (name, put(store, path, bytes).await) };
        self.uploads.spawn_on(upload, self.to.runtime.handle());
        Ok(())
    }

    /// Waits until fewer than `uploads_max` uploads are under way.
    fn wait_below(&mut self, uploads_max: usize, done: &mut dyn FnMut(u64)) -> Result<()> {
        while self.uploads.len() >= uploads_max.max(1) {
            let Some(ended) = self.to.runtime.block_on(self.uploads.join_next()) else { break };
            let (name, uploaded) =
                ended.map_err(|error| Error::internal(format!("an upload: {error}")))?;
            match uploaded {
                Ok(bytes) => done(bytes),
                Err(error) => {
                    // The others end by themselves: what they write is gone on with.
                    while self.to.runtime.block_on(self.uploads.join_next()).is_some() {}
                    return Err(self.to.bucket.failed(&name, &error));
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish(
        mut self,
        (name, bytes): (&str, &[u8]),
        done: &mut dyn FnMut(u64),
    ) -> Result<()> {
        self.wait_below(1, done)?;
        self.write(name, bytes, done)?;
        self.wait_below(1, done)
    }
}

/// A copy that is being read, some objects ahead.
pub(super) struct ObjectReader {
    from: Connected,
}

impl ObjectReader {
    pub(super) fn open(bucket: &Bucket) -> Result<Self> {
        Ok(ObjectReader { from: bucket.connect()? })
    }

    pub(super) fn place(&self) -> String {
        self.from.bucket.to_string()
    }

    pub(super) fn names(&self) -> Result<Vec<String>> {
        Ok(self.from.list()?.into_keys().collect())
    }

    pub(super) fn read(&self, name: &str, bytes_max: u64) -> Result<Found> {
        self.from.read(name, bytes_max)
    }

    pub(super) fn read_each(
        &self,
        files: &[(String, u64)],
        take: &mut dyn FnMut(usize, Found) -> Result<()>,
    ) -> Result<()> {
        let from = &self.from;
        let mut waiting = files.iter();
        let mut ahead: VecDeque<JoinHandle<object_store::Result<Found>>> = VecDeque::new();
        for (index, (name, _)) in files.iter().enumerate() {
            while ahead.len() < OBJECTS_AT_ONCE_MAX {
                let Some((name, bytes_max)) = waiting.next() else { break };
                let got = get(Arc::clone(&from.store), from.path(name), *bytes_max);
                ahead.push_back(from.runtime.spawn(got));
            }
            let Some(got) = ahead.pop_front() else { break };
            let got = from.runtime.block_on(got);
            let got = got.map_err(|error| Error::internal(format!("a download: {error}")))?;
            take(index, got.map_err(|error| from.bucket.failed(name, &error))?)?;
        }
        Ok(())
    }
}
