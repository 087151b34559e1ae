//! An object store that speaks S3 by path (`/bucket/key`): PUT, GET with ranges, HEAD, DELETE, each signed by SigV4 in its query.
//!
//! The signature is computed here anew from what arrived, by the published recipe and not by the client's library, so that a wrong
//! secret, a wrong region, an altered key or an old link meet what they would meet at AWS, MinIO or Ceph.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::any,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest as _, Md5};
use ring::hmac;
use serde_json::json;
use sha2::Sha256;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    Fault, Knobs, Running,
    running::{Stage, anywhere},
};

/// Who may ask.
#[derive(Clone, Debug)]
pub struct S3Keys {
    /// The access key's name.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// The region that signatures are made for.
    pub region: String,
}

impl Default for S3Keys {
    fn default() -> Self {
        Self { access_key: "AKIDSIM".into(), secret_key: "sim-secret".into(), region: "eu-central-1".into() }
    }
}

/// Simulator of one bucket. Of [`Fault`]: `Refuse` is an answer without effect; `Drop` keeps half of what is stored and breaks off what
/// is fetched in its middle; `Stall` answers nothing.
#[derive(Debug)]
pub struct S3 {
    running: Running,
    store: Arc<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    stage: Arc<Stage>,
    name: String,
    keys: S3Keys,
    fault: Mutex<Fault>,
    objects: Mutex<BTreeMap<String, Bytes>>,
}

impl S3 {
    /// Listens on a free port of the loopback.
    ///
    /// # Errors
    /// When the system gives none.
    pub async fn start(bucket: &str, keys: S3Keys, knobs: Knobs) -> io::Result<Self> {
        let fault = Mutex::new(knobs.fault.clone());
        let stage = Stage::new(knobs);
        let store =
            Arc::new(Bucket { stage: Arc::clone(&stage), name: bucket.into(), keys, fault, objects: Mutex::default() });
        let router = Router::new()
            .route("/{bucket}/{*key}", any(serve))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&store));
        Ok(Self { running: Running::start(anywhere(), router, vec![stage]).await?, store })
    }

    /// `http://127.0.0.1:PORT`, the endpoint of clients.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.running.addr())
    }

    /// What goes wrong from now on.
    pub fn fault(&self, fault: Fault) {
        *locked(&self.store.fault) = fault;
    }

    /// Key and length of what it holds.
    #[must_use]
    pub fn objects(&self) -> Vec<(String, usize)> {
        locked(&self.store.objects).iter().map(|(key, object)| (key.clone(), object.len())).collect()
    }

    /// Requests so far, as `{"method","key","status"}`.
    #[must_use]
    pub fn seen(&self) -> Vec<serde_json::Value> {
        self.running.seen()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(
    State(bucket): State<Arc<Bucket>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let fault = match bucket.stage.connection() {
        Fault::None => locked(&bucket.fault).clone(),
        fault => fault,
    };
    tokio::time::sleep(bucket.stage.knobs.first_byte).await;
    let key = decoded(uri.path()).trim_start_matches('/').to_owned();
    let answer = answer(&bucket, &fault, &method, &uri, &headers, &key, body.ok()).await;
    bucket.stage.note(json!({"method": method.as_str(), "key": key, "status": answer.status().as_u16()}));
    answer
}

async fn answer(
    bucket: &Bucket,
    fault: &Fault,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    path: &str,
    body: Option<Bytes>,
) -> Response {
    if let Fault::Stall { .. } = fault {
        std::future::pending::<()>().await;
    }
    if let Fault::Refuse { status, code, .. } = fault {
        return wrong(*status, code);
    }
    if let Err(code) = signed(&bucket.keys, method, uri, headers, now()) {
        return wrong(403, code);
    }
    let Some(key) = path.strip_prefix(&format!("{}/", bucket.name)) else { return wrong(404, "NoSuchBucket") };
    match *method {
        Method::PUT => {
            // A body that broke off is not kept.
            let Some(body) = body else { return wrong(400, "IncompleteBody") };
            let md5 = Md5::digest(&body);
            let claimed = headers.get("content-md5").and_then(|value| value.to_str().ok());
            if claimed.is_some_and(|claimed| claimed != STANDARD.encode(md5)) {
                return wrong(400, "BadDigest");
            }
            let kept = if matches!(fault, Fault::Drop { .. }) { body.slice(..body.len() / 2) } else { body };
            let etag = etag(&kept);
            locked(&bucket.objects).insert(key.to_owned(), kept);
            ([(header::ETAG, etag)], "").into_response()
        }
        Method::DELETE => {
            locked(&bucket.objects).remove(key);
            StatusCode::NO_CONTENT.into_response()
        }
        Method::GET | Method::HEAD => {
            let Some(object) = locked(&bucket.objects).get(key).cloned() else { return wrong(404, "NoSuchKey") };
            fetched(bucket, fault, headers, object)
        }
        _ => wrong(405, "MethodNotAllowed"),
    }
}

fn fetched(bucket: &Bucket, fault: &Fault, headers: &HeaderMap, object: Bytes) -> Response {
    let (etag, length) = (etag(&object), object.len());
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
    });
    let (status, part) = match range {
        Some((first, last)) if first < length && first <= last => {
            (StatusCode::PARTIAL_CONTENT, object.slice(first..length.min(last + 1)))
        }
        Some(_) => return wrong(416, "InvalidRange"),
        None => (StatusCode::OK, object),
    };
    let size = part.len();
    let (sender, receiver) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(1);
    let (cut, pace) = (matches!(fault, Fault::Drop { .. }), bucket.stage.knobs.pace);
    tokio::spawn(async move {
        let end = if cut { size / 2 } else { size };
        // Odd pieces, as a network gives them.
        for at in (0..end).step_by(1021) {
            tokio::time::sleep(pace).await;
            if sender.send(Ok(part.slice(at..end.min(at + 1021)))).await.is_err() {
                return;
            }
        }
        if cut {
            let _ = sender.send(Err(io::ErrorKind::ConnectionReset.into())).await;
        }
    });
    let body = Body::from_stream(ReceiverStream::new(receiver));
    (status, [(header::ETAG, etag), (header::CONTENT_LENGTH, size.to_string())], body).into_response()
}

fn etag(object: &[u8]) -> String {
    format!("\"{}\"", hex(&Md5::digest(object)))
}

fn wrong(status: u16, code: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code></Error>");
    (status, [(header::CONTENT_TYPE, "application/xml")], body).into_response()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Signature Version 4, query parameters: <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>.
fn signed(keys: &S3Keys, method: &Method, uri: &Uri, headers: &HeaderMap, now: i64) -> Result<(), &'static str> {
    let query = uri.query().unwrap_or_default();
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect();
    let get = |name: &str| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let (Some(credential), Some(date), Some(expires), Some(names), Some(signature)) = (
        get("X-Amz-Credential"),
        get("X-Amz-Date"),
        get("X-Amz-Expires"),
        get("X-Amz-SignedHeaders"),
        get("X-Amz-Signature"),
    ) else {
        return Err("AccessDenied");
    };
    if get("X-Amz-Algorithm").as_deref() != Some("AWS4-HMAC-SHA256") {
        return Err("AccessDenied");
    }
    let day = date.get(..8).unwrap_or_default();
    let scope = format!("{day}/{}/s3/aws4_request", keys.region);
    if credential != format!("{}/{scope}", keys.access_key) {
        return Err("InvalidAccessKeyId");
    }
    let (Some(at), Ok(lasts)) = (unix(&date), expires.parse::<i64>()) else { return Err("AccessDenied") };
    if now > at + lasts || at > now + 900 {
        return Err("AccessDenied");
    }
    pairs.retain(|(name, _)| name != "X-Amz-Signature");
    let mut query: Vec<_> = pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    query.sort();
    let mut canonical = String::new();
    for name in names.split(';') {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        canonical.push_str(&format!("{name}:{}\n", value.trim()));
    }
    // HTTP/2 would name the host elsewhere; this server speaks HTTP/1.1.
    if !names.split(';').any(|name| name == "host") {
        return Err("AccessDenied");
    }
    let path: Vec<_> = uri.path().split('/').map(|part| encoded(&decoded(part))).collect();
    let request = format!("{method}\n{}\n{}\n{canonical}\n{names}\nUNSIGNED-PAYLOAD", path.join("/"), query.join("&"));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(request.as_bytes())));
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{}", keys.secret_key).as_bytes());
    for part in [day, &keys.region, "s3", "aws4_request"] {
        key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
    }
    let expected = hex(hmac::sign(&key, text.as_bytes()).as_ref());
    if signature == expected { Ok(()) } else { Err("SignatureDoesNotMatch") }
}

/// `20130524T000000Z` as Unix time.
fn unix(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    // Days since 1970 in the proleptic Gregorian calendar, years counted from March.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Percent-encoded but for the unreserved characters of RFC 3986.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let escaped =
            (bytes[at] == b'%').then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()));
        match escaped.flatten() {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the published recipe.
    const EXAMPLE: &str = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
        &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
        &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

    #[test]
    fn the_published_example_is_believed_and_nothing_beside_it() {
        let keys = S3Keys {
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            region: "us-east-1".into(),
        };
        let headers = HeaderMap::from_iter([(header::HOST, "examplebucket.s3.amazonaws.com".parse().unwrap())]);
        let check = |keys: &S3Keys, method: &Method, uri: &str, now: i64| {
            signed(keys, method, &uri.parse().unwrap(), &headers, now)
        };
        let at = 1_369_353_600;
        assert_eq!(unix("20130524T000000Z"), Some(at));
        assert_eq!(check(&keys, &Method::GET, EXAMPLE, at + 10), Ok(()));
        assert_eq!(check(&keys, &Method::PUT, EXAMPLE, at + 10), Err("SignatureDoesNotMatch"));
        assert_eq!(check(&keys, &Method::GET, &EXAMPLE.replace("test", "rest"), at + 10), Err("SignatureDoesNotMatch"));
        assert_eq!(check(&keys, &Method::GET, EXAMPLE, at + 86_401), Err("AccessDenied"));
        assert_eq!(check(&keys, &Method::GET, "/test.txt", at), Err("AccessDenied"));
        let other = S3Keys { secret_key: "another".into(), ..keys.clone() };
        assert_eq!(check(&other, &Method::GET, EXAMPLE, at), Err("SignatureDoesNotMatch"));
        assert_eq!(
            check(&S3Keys { region: "eu-central-1".into(), ..keys }, &Method::GET, EXAMPLE, at),
            Err("InvalidAccessKeyId")
        );
    }
}
