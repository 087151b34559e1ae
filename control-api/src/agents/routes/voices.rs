//! What agents can talk with: providers, voices, and a sample of a voice.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::TenantId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    agents::{
        check::{Engines, Voice},
        credentials::Opened,
    },
    http::{
        State,
        actor::Actor,
        body,
        error::{ApiError, ErrorEnvelope},
        query::{NoParameters, Query},
    },
    seal,
};

/// Samples a minute.
const PER_MINUTE: usize = 10;
/// How long a sample is kept, and how many.
const KEPT: Duration = Duration::from_secs(24 * 3600);
const MOST: usize = 200;
/// Samples a second of the voices of this machine.
const RATE: u32 = 8_000;

/// Engines by stage, with the settings that each takes.
#[utoipa::path(get, path = "/api/v1/providers", tag = "agents", operation_id = "listProviders",
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Engines), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn providers(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<Engines>, ApiError> {
    actor.needs("agents:read")?;
    Ok(Json(state.app.agents.engines()))
}

/// Which voices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct VoicesQuery {
    provider: Option<String>,
    /// BCP 47, or the beginning of it: `en` finds `en-US`.
    language: Option<String>,
    gender: Option<String>,
    /// Part of the name, whatever its case.
    q: Option<String>,
}

/// Voices.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VoiceList {
    data: Vec<Voice>,
    next_cursor: Option<String>,
    /// Providers whose voices are missing from this answer.
    incomplete: Vec<String>,
}

/// The voices of this machine, and those of vendors that the tenant's or the operator's key opens. A vendor without a key, or that does not
/// answer, stands in `incomplete`.
#[utoipa::path(get, path = "/api/v1/voices", tag = "agents", operation_id = "listVoices", params(VoicesQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = VoiceList), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn voices(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(query): Query<VoicesQuery>,
) -> Result<Json<VoiceList>, ApiError> {
    actor.needs("agents:read")?;
    let wanted = |provider: &str| query.provider.as_deref().is_none_or(|wanted| wanted == provider);
    let language = |voice: &Voice| {
        let wanted = query.language.as_deref().map(str::to_lowercase);
        wanted.is_none_or(|wanted| voice.languages.iter().any(|one| one.to_lowercase().starts_with(&wanted)))
    };
    let named = |voice: &Voice| {
        let wanted = query.q.as_deref().map(str::to_lowercase);
        wanted.is_none_or(|wanted| voice.name.to_lowercase().contains(&wanted))
    };
    let gender = |voice: &Voice| query.gender.is_none() || voice.gender == query.gender;
    let mut data = state.app.agents.voices();
    let mut incomplete = Vec::new();
    let engines = state.app.agents.engines();
    for engine in engines.tts.into_iter().filter(|engine| engine.needs_key && wanted(&engine.id)) {
        let own = state.app.store.open_credential_of(&state.app.seal, actor.tenant, &engine.id).await?;
        let key = own.or_else(|| {
            let secret = state.app.agents.operator_key(&engine.id)?;
            Some(Opened { secret, base_url: None })
        });
        let listed = match key {
            Some(key) => state.voices.of(state.app.tools.outward(), &engine.id, &key).await,
            None => None,
        };
        match listed {
            Some(voices) => data.extend(voices),
            None => incomplete.push(engine.id),
        }
    }
    data.retain(|voice| wanted(&voice.provider) && language(voice) && gender(voice) && named(voice));
    Ok(Json(VoiceList { data, next_cursor: None, incomplete }))
}

/// What a voice is to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preview {
    /// An id from `GET voices`.
    voice: String,
    /// 1 to 300 characters.
    text: Option<String>,
    /// `wav`.
    format: Option<String>,
}

/// A sample of a voice of this machine, as WAV at 8 kHz.
#[utoipa::path(post, path = "/api/v1/voices/preview", tag = "agents", operation_id = "previewVoice", request_body = Preview,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, content_type = "audio/wav", description = "16-bit samples"), (status = 400, body = ErrorEnvelope),
        (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 429, body = ErrorEnvelope),
        (status = 502, body = ErrorEnvelope)))]
pub(crate) async fn preview(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(wanted): body::Json<Preview>,
) -> Result<Response, ApiError> {
    actor.needs("agents:write")?;
    let text = wanted.text.as_deref().unwrap_or("Hello, this is how I sound.");
    if !(1..=300).contains(&text.chars().count()) {
        return Err(ApiError::invalid("text", "text has 1 to 300 characters"));
    }
    if wanted.format.as_deref().is_some_and(|format| format != "wav") {
        return Err(ApiError::invalid("format", "format is wav"));
    }
    if !state.app.agents.voices().iter().any(|voice| voice.id == wanted.voice) {
        return Err(ApiError::invalid("voice", "voice is one of the ids of GET voices"));
    }
    let key = seal::sha256_hex(format!("{}\n{text}", wanted.voice).as_bytes());
    let wav = match state.samples.kept(&key) {
        Some(wav) => wav,
        None => {
            if !state.samples.may(actor.tenant) {
                let message = "at most 10 new samples a minute";
                return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message).retry_after(60));
            }
            let spoken = state.app.agents.speak(&wanted.voice, text).await;
            let samples = spoken.map_err(|why| ApiError::new(StatusCode::BAD_GATEWAY, "vendor_failed", why))?;
            state.samples.keep(key, wav(&samples))
        }
    };
    Ok(([(header::CONTENT_TYPE, "audio/wav")], wav).into_response())
}

/// A WAV file of one channel (RIFF, PCM).
fn wav(samples: &[i16]) -> Vec<u8> {
    let data = u32::try_from(samples.len() * 2).unwrap_or(u32::MAX);
    let mut file = Vec::with_capacity(44 + samples.len() * 2);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&data.saturating_add(36).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend_from_slice(&RATE.to_le_bytes());
    file.extend_from_slice(&(RATE * 2).to_le_bytes());
    file.extend_from_slice(b"\x02\0\x10\0data");
    file.extend_from_slice(&data.to_le_bytes());
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

/// Samples that were asked for lately, and who asked.
#[derive(Default)]
pub(crate) struct Samples(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    kept: HashMap<String, (Vec<u8>, Instant)>,
    asked: HashMap<TenantId, Vec<Instant>>,
}

impl Samples {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self, key: &str) -> Option<Vec<u8>> {
        self.lock().kept.get(key).filter(|(_, since)| since.elapsed() < KEPT).map(|(wav, _)| wav.clone())
    }

    fn keep(&self, key: String, wav: Vec<u8>) -> Vec<u8> {
        let mut inner = self.lock();
        if inner.kept.len() >= MOST {
            let oldest = inner.kept.iter().min_by_key(|(_, (_, since))| *since).map(|(key, _)| key.clone());
            oldest.map(|oldest| inner.kept.remove(&oldest));
        }
        inner.kept.insert(key, (wav.clone(), Instant::now()));
        wav
    }

    fn may(&self, tenant: TenantId) -> bool {
        let mut inner = self.lock();
        inner.asked.retain(|_, asked| asked.iter().any(|at| at.elapsed() < Duration::from_secs(60)));
        let asked = inner.asked.entry(tenant).or_default();
        asked.retain(|at| at.elapsed() < Duration::from_secs(60));
        let free = asked.len() < PER_MINUTE;
        if free {
            asked.push(Instant::now());
        }
        free
    }
}
