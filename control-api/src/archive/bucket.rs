//! A bucket over HTTP: requests signed by SigV4 in their query (rusty-s3), sent by reqwest.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Body, Client, RequestBuilder, Response, StatusCode, header};
use rusty_s3::{Bucket as Place, Credentials, S3Action as _, UrlStyle};
use tokio::{fs::File, time::Instant};

use super::{ArchiveError, Flow, OGG_OPUS, S3Settings, SCHEME, Source};

/// How long a signature is good; it never leaves this process but to the bucket itself.
const SIGNED_FOR: Duration = Duration::from_secs(300);
/// To the end of the TLS handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// Without a byte of an answer for so long, there is none.
const SILENCE: Duration = Duration::from_secs(30);
/// The slowest uplink that an upload is still given time for, bytes a second.
const SLOWEST: u64 = 64 * 1024;
/// How long a bucket that did not answer is left alone: work on it must not keep that of others waiting.
const LEFT_ALONE: Duration = Duration::from_secs(15);
/// Of a refusal's body.
const SAID: usize = 4096;

/// Why a bucket did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BucketFault {
    /// There is no such object.
    #[error("the bucket has no such object")]
    Missing,
    /// It does not answer, or too late.
    #[error("the bucket does not answer: {0}")]
    Away(String),
    /// It answers, and says no.
    #[error("the bucket says {status}{said}")]
    Refused { status: u16, said: String },
    /// What it holds is not what it was given.
    #[error("the bucket holds something else: {0}")]
    Differs(String),
    /// This node's own file.
    #[error("{0}")]
    File(std::io::Error),
}

/// What is to be stored.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    pub(super) bytes: u64,
    pub(super) md5: [u8; 16],
    pub(super) sha256: String,
}

/// A client of one bucket.
pub(crate) struct Bucket {
    client: Client,
    endpoint: reqwest::Url,
    style: UrlStyle,
    name: String,
    region: String,
    prefix: String,
    credentials: Credentials,
    away: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Bucket {
    pub(super) fn open(settings: &S3Settings) -> Result<Self, ArchiveError> {
        let wrong = |key, reason: String| ArchiveError { key, reason };
        for (key, value) in
            [("recording.s3.access_key", &settings.access_key), ("recording.s3.secret_key", &settings.secret_key)]
        {
            if value.is_empty() {
                return Err(wrong(key, "a bucket needs it; it belongs in the environment".into()));
            }
        }
        let endpoint = reqwest::Url::parse(&settings.endpoint)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                wrong("recording.s3.endpoint", format!("{:?} is no http or https URL", settings.endpoint))
            })?;
        let prefix = settings.prefix.trim_matches('/');
        let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(char::is_control);
        if !prefix.is_empty() && !prefix.split('/').all(plain) {
            return Err(wrong("recording.s3.prefix", format!("{:?} is no path", settings.prefix)));
        }
        // The process has one TLS backend; whoever needs it first installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| wrong("recording.s3.endpoint", error.to_string()))?;
        let bucket = Self {
            client,
            endpoint,
            style: if settings.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost },
            name: settings.bucket.clone(),
            region: settings.region.clone(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            credentials: Credentials::new(settings.access_key.clone(), settings.secret_key.clone()),
            away: Mutex::default(),
        };
        bucket.place(&bucket.name).map_err(|fault| wrong("recording.s3.bucket", fault.to_string()))?;
        Ok(bucket)
    }

    /// Where a tenant's recording goes.
    pub(super) fn locator(&self, tenant: &str, recording: &str, format: &str) -> String {
        let ending = if format == OGG_OPUS { "ogg" } else { "wav" };
        format!("{SCHEME}{}/{}{tenant}/{recording}.{ending}", self.name, self.prefix)
    }

    /// Sends a request, unless the last one was in vain a moment ago. The error is without the URL, which is signed.
    async fn send(&self, request: RequestBuilder) -> Result<Response, BucketFault> {
        let lately = *self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if lately.is_some_and(|since| since.elapsed() < LEFT_ALONE) {
            return Err(BucketFault::Away("it did not a moment ago".into()));
        }
        let answer = request.send().await;
        let away = answer.is_err().then(Instant::now);
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = away;
        answer.map_err(|error| BucketFault::Away(error.without_url().to_string().chars().take(200).collect()))
    }

    fn place(&self, name: &str) -> Result<Place, BucketFault> {
        Place::new(self.endpoint.clone(), self.style, name.to_owned(), self.region.clone())
            .map_err(|error| BucketFault::Away(error.to_string()))
    }

    /// A locator's bucket and key: what was stored under an earlier name is still there.
    fn split<'a>(&self, locator: &'a str) -> Result<(Place, &'a str), BucketFault> {
        let (name, key) = locator
            .strip_prefix(SCHEME)
            .and_then(|rest| rest.split_once('/'))
            .filter(|(name, key)| !name.is_empty() && !key.is_empty() && key.split('/').all(|part| part != ".."))
            .ok_or(BucketFault::Missing)?;
        Ok((self.place(name)?, key))
    }

    /// A part of an object whose length is known.
    pub(super) async fn get(&self, locator: &str, first: u64, size: u64, length: u64) -> Result<Response, BucketFault> {
        let (place, key) = self.split(locator)?;
        let url = place.get_object(Some(&self.credentials), key).sign(SIGNED_FOR);
        let range = format!("bytes={first}-{}", first + size - 1);
        let answer = self.send(self.client.get(url).header(header::RANGE, range)).await?;
        let answer = good(answer).await?;
        // Some servers answer the whole with 200 when it is the whole that is asked for.
        let whole = answer.status() == StatusCode::OK && first == 0 && size == length;
        if answer.status() != StatusCode::PARTIAL_CONTENT && !whole {
            return Err(BucketFault::Differs(format!("{} to a range", answer.status().as_u16())));
        }
        match answer.content_length() {
            Some(given) if given != size => Err(BucketFault::Differs(format!("{given} bytes instead of {size}"))),
            _ => Ok(answer),
        }
    }

    /// Stores a file and looks whether it is there, whole.
    pub(super) async fn put(
        &self,
        locator: &str,
        path: &Path,
        sums: &Sums,
        content_type: &str,
    ) -> Result<(), BucketFault> {
        use base64::Engine as _;
        let (place, key) = self.split(locator)?;
        let file = File::open(path).await.map_err(BucketFault::File)?;
        let body = Flow { from: Source::File(file), left: sums.bytes }.pieces();
        let url = place.put_object(Some(&self.credentials), key).sign(SIGNED_FOR);
        let request = self
            .client
            .put(url)
            .timeout(SILENCE * 2 + Duration::from_secs(sums.bytes / SLOWEST))
            .header(header::CONTENT_LENGTH, sums.bytes)
            .header(header::CONTENT_TYPE, content_type)
            // The server compares before it says yes.
            .header("content-md5", base64::engine::general_purpose::STANDARD.encode(sums.md5))
            .body(Body::wrap_stream(body));
        good(self.send(request).await?).await?;
        self.verify(locator, sums).await
    }

    /// Whether an object is what it should be: its size, and its ETag where that is a checksum of what was sent.
    async fn verify(&self, locator: &str, sums: &Sums) -> Result<(), BucketFault> {
        let (place, key) = self.split(locator)?;
        let url = place.head_object(Some(&self.credentials), key).sign(SIGNED_FOR);
        let answer = good(self.send(self.client.head(url).timeout(SILENCE)).await?).await?;
        let said = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let held = said("content-length").and_then(|length| length.parse::<u64>().ok());
        if held != Some(sums.bytes) {
            return Err(BucketFault::Differs(format!("{held:?} of {} bytes", sums.bytes)));
        }
        let etag = said("etag").unwrap_or_default().trim_matches('"').to_ascii_lowercase();
        // With a key of one's own or of a key service, and for an object of parts, the ETag is no MD5 of the content.
        let opaque = said("x-amz-server-side-encryption").is_some_and(|by| by.starts_with("aws:kms"))
            || said("x-amz-server-side-encryption-customer-algorithm").is_some()
            || etag.len() != 32;
        if !opaque && etag != crate::seal::hex(&sums.md5) {
            return Err(BucketFault::Differs(format!("ETag {etag}")));
        }
        Ok(())
    }

    /// Deletes an object; one that is not there is deleted already.
    pub(super) async fn delete(&self, locator: &str) -> Result<(), BucketFault> {
        let (place, key) = self.split(locator)?;
        let url = place.delete_object(Some(&self.credentials), key).sign(SIGNED_FOR);
        match good(self.send(self.client.delete(url).timeout(SILENCE)).await?).await {
            Ok(_) | Err(BucketFault::Missing) => Ok(()),
            Err(fault) => Err(fault),
        }
    }
}

/// An answer that is no refusal; of a refusal what stands in its `<Code>`.
async fn good(mut answer: Response) -> Result<Response, BucketFault> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let mut body = Vec::new();
    while let Ok(Some(piece)) = answer.chunk().await {
        body.extend_from_slice(&piece);
        if body.len() >= SAID {
            break;
        }
    }
    let text = String::from_utf8_lossy(&body);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
    // A bucket that does not exist is the operator's fault and no missing object.
    if status == StatusCode::NOT_FOUND && code != Some("NoSuchBucket") {
        return Err(BucketFault::Missing);
    }
    let said: String = code.map(|code| format!(" {code}")).unwrap_or_default().chars().take(80).collect();
    Err(BucketFault::Refused { status: status.as_u16(), said })
}
