//! The transcript: JSON, plain text, or captions (WebVTT, SubRip) for the recording.

use std::fmt::Write as _;

use axum::{
    Json,
    extract::State as Extract,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use domain::CallId;
use serde::Deserialize;
use utoipa::IntoParams;

use super::calls::find;
use crate::{
    http::{
        State,
        actor::Actor,
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        query::Query,
    },
    view::{Transcript, TurnView},
};

/// The shape of a transcript.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TranscriptQuery {
    /// `json`, `text`, `vtt` or `srt`; by `Accept` when absent.
    format: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Text,
    Vtt,
    Srt,
}

/// What was said, in order, with times; an agent's words as far as they were heard.
#[utoipa::path(get, path = "/api/v1/calls/{id}/transcript", tag = "calls", operation_id = "getTranscript",
    params(("id" = String, Path, description = "The call"), TranscriptQuery), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Transcript), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn transcript(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(query): Query<TranscriptQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    actor.needs("transcripts:read")?;
    let format = match query.format.as_deref() {
        Some("json") => Format::Json,
        Some("text") => Format::Text,
        Some("vtt") => Format::Vtt,
        Some("srt") => Format::Srt,
        Some(_) => return Err(ApiError::invalid("format", "format is json, text, vtt or srt")),
        None => accepted(&headers),
    };
    let call = find(&state, &actor, id).await?;
    let turns = state.app.store.turns(id).await?;
    let kind = match format {
        Format::Json => {
            let language = turns.iter().find_map(|turn| turn.lang.clone());
            return Ok(Json(Transcript { call_id: call.id, language, turns }).into_response());
        }
        Format::Text => "text/plain; charset=utf-8",
        Format::Vtt => "text/vtt; charset=utf-8",
        Format::Srt => "application/x-subrip; charset=utf-8",
    };
    Ok(([(header::CONTENT_TYPE, kind)], written(format, &turns)).into_response())
}

fn accepted(headers: &HeaderMap) -> Format {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let mut kinds = accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
    kinds
        .find_map(|kind| match kind {
            "application/json" => Some(Format::Json),
            "text/plain" => Some(Format::Text),
            "text/vtt" => Some(Format::Vtt),
            "application/x-subrip" => Some(Format::Srt),
            _ => None,
        })
        .unwrap_or(Format::Json)
}

fn written(format: Format, turns: &[TurnView]) -> String {
    let mut out = String::new();
    if format == Format::Vtt {
        out.push_str("WEBVTT\n\n");
    }
    let spoken = turns.iter().filter(|turn| matches!(turn.speaker.as_str(), "caller" | "agent"));
    for (n, turn) in spoken.enumerate() {
        let name = if turn.speaker == "agent" { "Agent" } else { "Caller" };
        // A line break would end a line of text, an empty line a caption; `-->` would be read as a time.
        let words = turn.heard_text.split_whitespace().collect::<Vec<_>>().join(" ");
        let cut = if turn.interrupted { "…" } else { "" };
        let end_ms = turn.end_ms.max(turn.start_ms);
        let _ = match format {
            Format::Json => Ok(()),
            Format::Text => writeln!(out, "[{}] {name}: {words}{cut}", clock(turn.start_ms, '.')),
            Format::Vtt => {
                let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                writeln!(out, "{} --> {}\n<v {name}>{words}{cut}\n", clock(turn.start_ms, '.'), clock(end_ms, '.'))
            }
            Format::Srt => {
                let words = words.replace("-->", "→");
                writeln!(
                    out,
                    "{}\n{} --> {}\n{name}: {words}{cut}\n",
                    n + 1,
                    clock(turn.start_ms, ','),
                    clock(end_ms, ',')
                )
            }
        };
    }
    out
}

/// `HH:MM:SS.mmm`.
fn clock(ms: i64, point: char) -> String {
    let ms = ms.max(0);
    format!("{:02}:{:02}:{:02}{point}{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns() -> Vec<TurnView> {
        let turn = |n, speaker: &str, text: &str, start_ms, end_ms| TurnView {
            n,
            speaker: speaker.into(),
            text: text.into(),
            heard_text: text.into(),
            interrupted: false,
            lang: None,
            confidence: None,
            start_ms,
            end_ms,
            words: serde_json::json!([]),
            latency: None,
        };
        let mut cut = turn(2, "agent", "You are booked for Friday", 61_500, 63_000);
        cut.heard_text = "You are <booked>\n\n-->".into();
        cut.interrupted = true;
        vec![turn(1, "caller", "Hello", 0, 900), cut, turn(3, "tool", "{}", 63_000, 63_000)]
    }

    #[test]
    fn text_has_a_line_per_turn_and_only_what_was_heard() {
        assert_eq!(
            written(Format::Text, &turns()),
            "[00:00:00.000] Caller: Hello\n[00:01:01.500] Agent: You are <booked> -->…\n"
        );
    }

    #[test]
    fn captions_cannot_be_broken_by_what_was_said() {
        assert_eq!(
            written(Format::Vtt, &turns()),
            "WEBVTT\n\n00:00:00.000 --> 00:00:00.900\n<v Caller>Hello\n\n00:01:01.500 --> 00:01:03.000\n<v Agent>You are &lt;booked&gt; --&gt;…\n\n"
        );
        assert_eq!(
            written(Format::Srt, &turns()),
            "1\n00:00:00,000 --> 00:00:00,900\nCaller: Hello\n\n2\n00:01:01,500 --> 00:01:03,000\nAgent: You are <booked> →…\n\n"
        );
    }
}
