//! Where recordings lie: in a folder of the node that made them, as WAV and soon after as Ogg Opus where their agents want it, and, where
//! there is a bucket, in that bucket after that.
//!
//! A locator says which: a path below the folder, or `s3://bucket/key`. The bucket's own links are never handed out: one side of a
//! stereo file is cut here, a deletion holds for links that are out already, a bucket need not be reachable by browsers, and nobody
//! learns its name. So what is asked for is streamed through, range by range.

mod aside;
mod bucket;
mod encode;
mod move_out;
mod transcode;

use std::{
    io::{self, SeekFrom},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};

pub(crate) use aside::{aside, threads};
use bucket::Bucket;
pub(crate) use bucket::BucketFault;
pub use move_out::{Discard, Upload};
pub(crate) use move_out::{Ways, adopt, discard, is_pending, leave};
pub(crate) use transcode::{OGG_OPUS, Transcode, sweep};

/// Read and sent at a time.
const CHUNK: usize = 64 * 1024;
/// How a locator of an object begins.
const SCHEME: &str = "s3://";

/// Where finished recordings are kept.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// In the folder.
    #[default]
    Local,
    /// In the bucket.
    S3,
}

/// `[recording.s3]`: a bucket at AWS, MinIO, Ceph or whoever else speaks S3. The keys belong in the environment.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct S3Settings {
    /// Its name; "" = there is none.
    pub bucket: String,
    /// `https://s3.eu-central-1.amazonaws.com`, `http://minio:9000`.
    pub endpoint: String,
    /// As it is signed for.
    pub region: String,
    /// The bucket in the path (MinIO, Ceph) and not in the host's name.
    pub path_style: bool,
    /// Before each key, as `sidetone/recordings`.
    pub prefix: String,
    /// Who asks.
    pub access_key: String,
    /// The secret that requests are signed with.
    pub secret_key: String,
}

impl Default for S3Settings {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            endpoint: "https://s3.us-east-1.amazonaws.com".into(),
            region: "us-east-1".into(),
            path_style: true,
            prefix: "recordings".into(),
            access_key: String::new(),
            secret_key: String::new(),
        }
    }
}

impl std::fmt::Debug for S3Settings {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Settings")
            .field("bucket", &self.bucket)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("path_style", &self.path_style)
            .field("prefix", &self.prefix)
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// Why an archive cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct ArchiveError {
    /// The setting.
    pub key: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// The recordings of an installation, as one node sees them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Archive {
    folder: PathBuf,
    bucket: Option<Arc<Bucket>>,
    storage: Storage,
}

impl From<PathBuf> for Archive {
    /// A folder and nothing else.
    fn from(folder: PathBuf) -> Self {
        Self { folder, bucket: None, storage: Storage::Local }
    }
}

impl Archive {
    /// A folder, and the bucket that recordings move to, or that they lie in since an earlier configuration.
    ///
    /// # Errors
    /// Names the setting that cannot be used.
    pub fn open(folder: PathBuf, storage: Storage, s3: &S3Settings) -> Result<Self, ArchiveError> {
        let bucket = match s3.bucket.is_empty() {
            false => Some(Arc::new(Bucket::open(s3)?)),
            true if storage == Storage::S3 => {
                return Err(ArchiveError {
                    key: "recording.s3.bucket",
                    reason: "recording.storage = \"s3\" needs one".into(),
                });
            }
            true => None,
        };
        Ok(Self { folder, bucket, storage })
    }

    /// The bucket that finished recordings move to, if they do.
    pub(crate) fn target(&self) -> Option<&Arc<Bucket>> {
        self.bucket.as_ref().filter(|_| self.storage == Storage::S3)
    }

    /// The file of a locator that leads below the folder.
    pub(crate) fn file(&self, locator: &str) -> Option<PathBuf> {
        if is_remote(locator) { None } else { below(&self.folder, locator) }
    }

    /// What a locator leads to; `bytes` is the length that was noted for it.
    pub(crate) async fn media(&self, locator: &str, bytes: Option<i64>) -> Result<Media, NoMedia> {
        if !is_remote(locator) {
            return Media::file(&self.folder, locator).await;
        }
        let bucket = self.bucket.clone().ok_or(NoMedia::NoBucket)?;
        let length = bytes.and_then(|bytes| u64::try_from(bytes).ok()).ok_or(NoMedia::Absent)?;
        Ok(Media::Object { bucket, locator: locator.to_owned(), length })
    }

    /// Removes the file of a locator; one that is not there is removed already.
    pub(crate) async fn remove_file(&self, locator: &str) {
        if let Some(path) = self.file(locator) {
            remove(&path).await;
        }
    }
}

/// Whether a locator names an object.
pub(crate) fn is_remote(locator: &str) -> bool {
    locator.starts_with(SCHEME)
}

/// What a row's `format` is on the wire.
pub(crate) fn content_type(format: &str) -> &'static str {
    if format == OGG_OPUS { "audio/ogg" } else { "audio/wav" }
}

/// Removes a file for good; the log hears of one that stays.
pub(crate) async fn remove(path: &Path) {
    match tokio::fs::remove_file(path).await {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::error!(path = %path.display(), %error, "a file past its date cannot be deleted"),
    }
}

/// The file of a locator, which never leads out of the folder.
pub(crate) fn below(folder: &Path, locator: &str) -> Option<PathBuf> {
    let locator = Path::new(locator);
    let inside = locator.components().all(|part| matches!(part, Component::Normal(_)));
    (inside && !locator.as_os_str().is_empty()).then(|| folder.join(locator))
}

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoMedia {
    /// It is not where it should be.
    #[error("it is not there")]
    Absent,
    /// It lies in a bucket, and this node is told of none.
    #[error("it lies in a bucket, and none is configured")]
    NoBucket,
    /// The system refuses it.
    #[error("{0}")]
    Io(io::Error),
    /// The bucket does not answer as it should.
    #[error("{0}")]
    Bucket(BucketFault),
}

/// Bytes that lie somewhere.
#[derive(Debug)]
pub(crate) enum Media {
    /// On this node's disk.
    File { file: File, length: u64 },
    /// In the bucket.
    Object { bucket: Arc<Bucket>, locator: String, length: u64 },
}

impl Media {
    /// A file below a folder.
    pub(crate) async fn file(folder: &Path, locator: &str) -> Result<Self, NoMedia> {
        let path = below(folder, locator).ok_or(NoMedia::Absent)?;
        let file = File::open(path).await.map_err(io_fault)?;
        let length = file.metadata().await.map_err(io_fault)?.len();
        Ok(Self::File { file, length })
    }

    /// Of all of it.
    pub(crate) const fn length(&self) -> u64 {
        match self {
            Self::File { length, .. } | Self::Object { length, .. } => *length,
        }
    }

    /// So many bytes from a place on, which must be there.
    pub(crate) async fn read(&mut self, first: u64, size: u64) -> Result<Flow, NoMedia> {
        match self {
            Self::File { file, .. } => {
                // The place is shared with the handle before it, whose reader is done by then.
                let mut file = file.try_clone().await.map_err(io_fault)?;
                file.seek(SeekFrom::Start(first)).await.map_err(io_fault)?;
                Ok(Flow { from: Source::File(file), left: size })
            }
            Self::Object { bucket, locator, length } => {
                if size == 0 {
                    return Ok(Flow { from: Source::Nothing, left: 0 });
                }
                let answer = bucket.get(locator, first, size, *length).await.map_err(|fault| match fault {
                    BucketFault::Missing => NoMedia::Absent,
                    fault => NoMedia::Bucket(fault),
                })?;
                Ok(Flow { from: Source::Object(answer), left: size })
            }
        }
    }

    /// The first bytes, whole.
    pub(crate) async fn head<const N: usize>(&mut self) -> Result<Option<[u8; N]>, NoMedia> {
        if self.length() < N as u64 {
            return Ok(None);
        }
        Ok(self.bytes(0, N as u64).await?.try_into().ok())
    }

    /// A small part, whole.
    pub(crate) async fn bytes(&mut self, first: u64, size: u64) -> Result<Vec<u8>, NoMedia> {
        let mut flow = self.read(first, size).await?;
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        while let Some(piece) = flow.next().await {
            bytes.extend_from_slice(&piece.map_err(NoMedia::Io)?);
        }
        Ok(bytes)
    }
}

fn io_fault(error: io::Error) -> NoMedia {
    if error.kind() == io::ErrorKind::NotFound { NoMedia::Absent } else { NoMedia::Io(error) }
}

/// Bytes on their way.
#[derive(Debug)]
pub(crate) struct Flow {
    from: Source,
    left: u64,
}

#[derive(Debug)]
enum Source {
    File(File),
    Object(reqwest::Response),
    Nothing,
}

impl Flow {
    /// The next piece, read as fast as it is taken; none after the last. Fewer bytes than were promised are an error: the connection is
    /// cut rather than padded.
    pub(crate) async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.left == 0 {
            return None;
        }
        let piece = match &mut self.from {
            Source::File(file) => {
                let mut piece = vec![0; CHUNK.min(usize::try_from(self.left).unwrap_or(CHUNK))];
                match file.read(&mut piece).await {
                    Ok(read) => {
                        piece.truncate(read);
                        Ok(Some(Bytes::from(piece)))
                    }
                    Err(error) => Err(error),
                }
            }
            Source::Object(answer) => answer.chunk().await.map_err(|error| io::Error::other(error.without_url())),
            Source::Nothing => Ok(None),
        };
        match piece {
            Ok(Some(piece)) if !piece.is_empty() => {
                let piece = piece.slice(..piece.len().min(usize::try_from(self.left).unwrap_or(usize::MAX)));
                self.left -= piece.len() as u64;
                Some(Ok(piece))
            }
            // An empty piece of a file is its end.
            Ok(_) => {
                self.left = 0;
                Some(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            Err(error) => {
                self.left = 0;
                Some(Err(error))
            }
        }
    }

    /// All of it as a stream, read as fast as it is taken.
    pub(crate) fn pieces(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::unfold(self, |mut flow| async move { Some((flow.next().await?, flow)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locator_stays_in_its_folder() {
        let folder = Path::new("/var/lib/x");
        assert_eq!(below(folder, "2026/a.wav"), Some("/var/lib/x/2026/a.wav".into()));
        for escape in ["../a.wav", "/etc/passwd", "a/../../b", ""] {
            assert_eq!(below(folder, escape), None, "{escape}");
        }
        let archive = Archive::from(folder.to_owned());
        assert_eq!(archive.file("s3://bucket/a.wav"), None);
    }

    #[test]
    fn an_archive_that_cannot_work_says_which_setting_is_wrong() {
        let open =
            |storage, s3: S3Settings| Archive::open("x".into(), storage, &s3).map(drop).map_err(|error| error.key);
        let whole = S3Settings {
            bucket: "recordings".into(),
            access_key: "AK".into(),
            secret_key: "hunter2".into(),
            ..S3Settings::default()
        };
        assert_eq!(open(Storage::Local, S3Settings::default()), Ok(()));
        assert_eq!(open(Storage::S3, S3Settings::default()), Err("recording.s3.bucket"));
        assert_eq!(open(Storage::S3, whole.clone()), Ok(()));
        assert_eq!(
            open(Storage::S3, S3Settings { endpoint: "minio:9000".into(), ..whole.clone() }),
            Err("recording.s3.endpoint")
        );
        assert_eq!(
            open(Storage::S3, S3Settings { prefix: "a/../b".into(), ..whole.clone() }),
            Err("recording.s3.prefix")
        );
        assert_eq!(
            open(Storage::S3, S3Settings { secret_key: String::new(), ..whole.clone() }),
            Err("recording.s3.secret_key")
        );
        assert!(!format!("{whole:?}").contains("hunter2"));
    }
}
