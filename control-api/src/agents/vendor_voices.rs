//! The voices of vendors, as their own lists have them; a list is kept for an hour, a failure for half a minute.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{check::Voice, credentials::Opened};
use crate::{
    net::{self, Outward},
    seal,
};

/// How long a list is believed.
const KEPT: Duration = Duration::from_secs(3600);
/// How long a vendor that did not answer is left alone.
const LEFT: Duration = Duration::from_secs(30);
/// Lists of so many keys are kept.
const MOST: usize = 200;
/// A list must be there by then.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a list at most.
const LARGEST: usize = 8 << 20;
/// Voices of a list at most.
const VOICES: usize = 2_000;

/// A vendor's list: where it is, how the key is shown, and how it is read.
struct Vendor {
    id: &'static str,
    base: &'static str,
    path: &'static str,
    header: &'static str,
    read: fn(&Value) -> Vec<Voice>,
}

const VENDORS: &[Vendor] = &[Vendor {
    id: "elevenlabs",
    base: "https://api.elevenlabs.io",
    path: "/v1/voices",
    header: "xi-api-key",
    read: elevenlabs,
}];

/// What a vendor listed, or that it did not answer, and when.
type Listed = (Option<Vec<Voice>>, Instant);

/// Lists that were read lately, by vendor and key.
#[derive(Default)]
pub(crate) struct Lists(Mutex<HashMap<String, Listed>>);

impl Lists {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Listed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The voices that a key opens at a vendor; `None`: the vendor does not say.
    pub(crate) async fn of(&self, outward: &Outward, provider: &str, key: &Opened) -> Option<Vec<Voice>> {
        let vendor = VENDORS.iter().find(|vendor| vendor.id == provider)?;
        let base = key.base_url.as_deref().unwrap_or(vendor.base).trim_end_matches('/');
        let mark = seal::sha256_hex(format!("{provider}\n{base}\n{}", key.secret).as_bytes());
        if let Some((voices, since)) = self.lock().get(&mark)
            && since.elapsed() < if voices.is_some() { KEPT } else { LEFT }
        {
            return voices.clone();
        }
        let asked = tokio::time::timeout(PATIENCE, ask(outward, vendor, base, &key.secret)).await;
        let voices = match asked.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(voices) => Some(voices),
            Err(why) => {
                tracing::warn!(provider, why, "the vendor's voices cannot be listed");
                None
            }
        };
        let mut lists = self.lock();
        if lists.len() >= MOST {
            lists.retain(|_, (_, since)| since.elapsed() < KEPT);
        }
        if lists.len() >= MOST {
            let oldest = lists.iter().min_by_key(|(_, (_, since))| *since).map(|(mark, _)| mark.clone());
            oldest.map(|oldest| lists.remove(&oldest));
        }
        lists.insert(mark, (voices.clone(), Instant::now()));
        voices
    }
}

async fn ask(outward: &Outward, vendor: &Vendor, base: &str, key: &str) -> Result<Vec<Voice>, String> {
    // Links speak over WebSockets, lists over HTTP: it is the same server.
    let base = match base.split_once("://") {
        Some(("wss", rest)) => format!("https://{rest}"),
        Some(("ws", rest)) => format!("http://{rest}"),
        _ => base.to_owned(),
    };
    let url = outward.guard().read(&format!("{base}{}", vendor.path)).map_err(|error| error.to_string())?;
    let request = outward.request(reqwest::Method::GET, url).header(vendor.header, key);
    let response = request.send().await.map_err(|error| error.without_url().to_string())?;
    if !response.status().is_success() {
        return Err(format!("status {}", response.status().as_u16()));
    }
    let body = net::body(response, LARGEST).await.map_err(|error| error.to_string())?;
    let list: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let mut voices = (vendor.read)(&list);
    voices.truncate(VOICES);
    Ok(voices)
}

/// `{"voices": [{"voice_id", "name", "labels": {"gender", "language"}, "verified_languages": [{"locale"}], "preview_url"}]}`
fn elevenlabs(list: &Value) -> Vec<Voice> {
    let text = |value: &Value| value.as_str().map(|text| text.chars().take(200).collect::<String>());
    let voice = |voice: &Value| {
        let id = text(&voice["voice_id"])?;
        let verified = voice["verified_languages"].as_array().into_iter().flatten();
        let mut languages: Vec<String> =
            verified.filter_map(|one| text(&one["locale"]).or_else(|| text(&one["language"]))).collect();
        languages.extend(text(&voice["labels"]["language"]));
        languages.sort();
        languages.dedup();
        Some(Voice {
            id: format!("elevenlabs:{id}"),
            provider: "elevenlabs".into(),
            name: text(&voice["name"]).unwrap_or(id),
            languages,
            gender: text(&voice["labels"]["gender"]),
            sample_url: text(&voice["preview_url"]),
            native_ulaw: true,
        })
    };
    list["voices"].as_array().into_iter().flatten().filter_map(voice).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_read_and_what_is_no_voice_is_left_out() {
        let list = json!({"voices": [
            {"voice_id": "21m00Tcm4TlvDq8ikWAM", "name": "Rachel", "labels": {"gender": "female", "language": "en"},
             "verified_languages": [{"language": "en", "locale": "en-US"}], "preview_url": "https://x.example/r.mp3"},
            {"name": "nobody"}, 7]});
        let voices = elevenlabs(&list);
        assert_eq!(voices.len(), 1);
        assert_eq!(
            (voices[0].id.as_str(), voices[0].gender.as_deref()),
            ("elevenlabs:21m00Tcm4TlvDq8ikWAM", Some("female"))
        );
        assert_eq!(voices[0].languages, ["en", "en-US"]);
        assert!(elevenlabs(&json!({"detail": "no"})).is_empty());
    }
}
