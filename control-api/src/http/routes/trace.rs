//! What was said on the wire in a call: JSON, a ladder, or a capture for Wireshark (API.md §1.6).

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::CallId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Row as _;
use utoipa::{IntoParams, ToSchema};

use super::calls::find;
use crate::{
    Store,
    http::{
        State,
        actor::Actor,
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        query::Query,
    },
    time::{now_ms, rfc3339},
};

/// A trace is stored a few seconds after its call has ended, when the last answer has come.
const SETTLING_MS: i64 = 15_000;
const DAY_MS: i64 = 86_400_000;

/// The shape of a trace.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TraceQuery {
    /// `json`, `text` (a ladder) or `pcap`; `json` when absent.
    format: Option<String>,
}

/// The SIP messages of a call.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Trace {
    call_id: String,
    /// False when older messages were let go.
    complete: bool,
    messages: Vec<TraceMessage>,
}

/// One SIP message.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TraceMessage {
    /// Unix time, µs.
    at_us: i64,
    /// The same as RFC 3339.
    at: String,
    /// `in` or `out`.
    direction: &'static str,
    /// `UDP`, `TCP`, `TLS`, `WS` or `WSS`.
    transport: String,
    /// Our socket address.
    local: String,
    /// The other's.
    peer: String,
    /// The Call-ID.
    sip_call_id: String,
    /// The request's line, or the response's with the method that it answers.
    summary: String,
    /// As on the wire; answers to challenges, media keys and pressed keys are blanked.
    message: String,
    #[serde(skip)]
    n: i64,
}

/// What was said on the wire.
#[utoipa::path(get, path = "/api/v1/calls/{id}/trace", tag = "calls", operation_id = "getCallTrace",
    params(("id" = String, Path, description = "The call"), TraceQuery), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Trace), (status = 202, description = "The call lasts, or has only just ended"),
        (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 410, body = ErrorEnvelope)))]
pub(crate) async fn trace(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(query): Query<TraceQuery>,
) -> Result<Response, ApiError> {
    actor.needs("calls:trace")?;
    let format = query.format.as_deref().unwrap_or("json");
    if !["json", "text", "pcap"].contains(&format) {
        return Err(ApiError::invalid("format", "format is json, text or pcap"));
    }
    let call = find(&state, &actor, id).await?;
    let messages = state.app.store.trace(id).await?;
    if messages.is_empty() {
        let ended = state.app.store.ended_at(id).await?;
        let kept_days = state.app.store.trace_days(actor.tenant).await?;
        return match ended {
            Some(at) if now_ms() - at > kept_days * DAY_MS => {
                Err(ApiError::new(StatusCode::GONE, "gone", "the trace is past its retention"))
            }
            Some(at) if now_ms() - at > SETTLING_MS => Err(ApiError::not_found()),
            _ => {
                let state = json!({"state": "not_yet_stored"});
                Ok((StatusCode::ACCEPTED, [(header::RETRY_AFTER, "5")], Json(state)).into_response())
            }
        };
    }
    Ok(match format {
        "text" => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], ladder(&messages)).into_response(),
        "pcap" => {
            let kind = (header::CONTENT_TYPE, "application/vnd.tcpdump.pcap".to_owned());
            let name = (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.pcap\""));
            ([kind, name], pcap(&messages)).into_response()
        }
        _ => {
            let complete = messages.iter().map(|message| message.n).min() == Some(1);
            Json(Trace { call_id: call.id, complete, messages }).into_response()
        }
    })
}

impl Store {
    /// The SIP messages of a call, in the order in which they passed.
    async fn trace(&self, call: CallId) -> Result<Vec<TraceMessage>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT n, sip_call_id, at_us, outgoing, transport, local, peer, message FROM sip_messages WHERE call_id = $1 ORDER BY at_us, n",
        )
        .bind(call.to_string())
        .fetch_all(self.pool())
        .await?;
        let read = |row: &sqlx::any::AnyRow| {
            let (at_us, message): (i64, String) = (row.try_get("at_us")?, row.try_get("message")?);
            let at = rfc3339(at_us.div_euclid(1000));
            Ok(TraceMessage {
                at: at.replacen('Z', &format!("{:03}Z", at_us.rem_euclid(1000)), 1),
                at_us,
                direction: if row.try_get::<i64, _>("outgoing")? == 0 { "in" } else { "out" },
                transport: row.try_get("transport")?,
                local: row.try_get("local")?,
                peer: row.try_get("peer")?,
                sip_call_id: row.try_get("sip_call_id")?,
                summary: summary(&message),
                message,
                n: row.try_get("n")?,
            })
        };
        rows.iter().map(read).collect()
    }

    async fn ended_at(&self, call: CallId) -> Result<Option<i64>, sqlx::Error> {
        let row = sqlx::query("SELECT ended_at FROM calls WHERE id = $1").bind(call.to_string());
        row.fetch_one(self.pool()).await?.try_get(0)
    }
}

/// `INVITE sip:demo@host`, or `200 OK (INVITE)`.
fn summary(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default().trim();
    let short = |text: &str| text.chars().take(120).collect::<String>();
    match first.strip_prefix("SIP/2.0 ") {
        Some(status) => {
            let cseq = message.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.trim().eq_ignore_ascii_case("CSeq").then(|| value.split_whitespace().nth(1)).flatten()
            });
            format!("{} ({})", short(status), cseq.unwrap_or("?"))
        }
        None => short(first.strip_suffix(" SIP/2.0").unwrap_or(first)),
    }
}

/// One line for each message: when, which way, what; then the messages themselves.
fn ladder(messages: &[TraceMessage]) -> String {
    let mut out = String::new();
    let began = messages.first().map_or(0, |first| first.at_us);
    let (mut dialog, mut peer) = ("", "");
    for message in messages {
        if message.sip_call_id != dialog || message.peer != peer {
            (dialog, peer) = (&message.sip_call_id, &message.peer);
            let _ = writeln!(out, "\n{} over {} to {peer}, Call-ID {dialog}", message.local, message.transport);
        }
        let (since, arrow) = (message.at_us - began, if message.direction == "out" { "──▶" } else { "◀──" });
        let _ = writeln!(out, "{:>6}.{:06}  {arrow}  {}", since / 1_000_000, since % 1_000_000, message.summary);
    }
    for message in messages {
        let way = if message.direction == "out" { "to" } else { "from" };
        let text = message.message.replace("\r\n", "\n");
        let _ =
            writeln!(out, "\n── {} {way} {} ({})\n{}", message.at, message.peer, message.transport, text.trim_end());
    }
    out.trim_start().to_owned()
}

/// A classic capture file of raw IP packets. SIP over streams and inside TLS is shown as datagrams, so that every tool reads it.
fn pcap(messages: &[TraceMessage]) -> Vec<u8> {
    const RAW_IP: u32 = 101;
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4_u32.to_le_bytes());
    file.extend([2, 0, 4, 0]);
    file.extend([0; 8]);
    file.extend(0x0004_0000_u32.to_le_bytes());
    file.extend(RAW_IP.to_le_bytes());
    for message in messages {
        let (Ok(local), Ok(peer)) = (message.local.parse(), message.peer.parse()) else { continue };
        let (from, to) = if message.direction == "out" { (local, peer) } else { (peer, local) };
        let Some(packet) = datagram(from, to, message.message.as_bytes()) else { continue };
        let (seconds, micros) = (message.at_us.div_euclid(1_000_000), message.at_us.rem_euclid(1_000_000));
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX).to_le_bytes();
        file.extend(u32::try_from(seconds).unwrap_or_default().to_le_bytes());
        file.extend(u32::try_from(micros).unwrap_or_default().to_le_bytes());
        file.extend(length);
        file.extend(length);
        file.extend(packet);
    }
    file
}

/// One's complement sum of RFC 1071.
fn checksum(parts: &[&[u8]]) -> u16 {
    let pairs = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u64 = pairs.map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A UDP packet; `None` when the two ends are not of one family. What is too long for one is cut.
fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
    let payload = &payload[..payload.len().min(65_000)];
    let length = u16::try_from(payload.len() + 8).ok()?.to_be_bytes();
    let mut udp = [&from.port().to_be_bytes()[..], &to.port().to_be_bytes(), &length, &[0, 0]].concat();
    let mut packet = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = u16::try_from(payload.len() + 28).ok()?.to_be_bytes();
            let mut header =
                [&[0x45, 0][..], &total, &[0, 0, 0x40, 0, 64, 17, 0, 0], &from.octets(), &to.octets()].concat();
            let sum = checksum(&[&header]);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            header
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            // Without a checksum IPv6 takes no datagram.
            let sum = checksum(&[&from.octets(), &to.octets(), &[0, 17], &length, &udp, payload]);
            udp[6..8].copy_from_slice(&if sum == 0 { 0xffff } else { sum }.to_be_bytes());
            [&[0x60, 0, 0, 0][..], &length, &[17, 64], &from.octets(), &to.octets()].concat()
        }
        _ => return None,
    };
    packet.extend(udp);
    packet.extend(payload);
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(at_us: i64, direction: &'static str, text: &str) -> TraceMessage {
        TraceMessage {
            at_us,
            at: String::new(),
            direction,
            transport: "UDP".into(),
            local: "192.0.2.2:5060".into(),
            peer: "192.0.2.1:5070".into(),
            sip_call_id: "x".into(),
            summary: summary(text),
            message: text.into(),
            n: 1,
        }
    }

    #[test]
    fn messages_are_named_by_what_they_ask_or_answer() {
        assert_eq!(summary("INVITE sip:demo@host SIP/2.0\r\nCSeq: 1 INVITE\r\n"), "INVITE sip:demo@host");
        assert_eq!(summary("SIP/2.0 486 Busy Here\r\ncseq : 1 INVITE\r\n"), "486 Busy Here (INVITE)");
        assert_eq!(summary(""), "");
    }

    #[test]
    fn the_ladder_shows_times_and_ways() {
        let told = ladder(&[
            message(5_000_000, "in", "INVITE sip:a SIP/2.0\r\n\r\n"),
            message(5_012_345, "out", "SIP/2.0 100 Trying\r\nCSeq: 1 INVITE\r\n"),
        ]);
        assert!(told.contains("     0.000000  ◀──  INVITE sip:a\n"), "{told}");
        assert!(told.contains("     0.012345  ──▶  100 Trying (INVITE)\n"), "{told}");
    }

    #[test]
    fn a_capture_holds_sound_packets_of_both_families() {
        let mut v6 = message(2_000_001, "out", "odd");
        (v6.local, v6.peer) = ("[2001:db8::1]:5060".into(), "[2001:db8::2]:5060".into());
        let file = pcap(&[message(1_500_000, "in", "BYE"), v6.clone()]);
        assert_eq!((&file[..4], file[20]), (&[0xd4, 0xc3, 0xb2, 0xa1][..], 101));
        let packet = &file[40..40 + 31];
        assert_eq!((&file[24..32], packet.len()), (&[1, 0, 0, 0, 0x20, 0xa1, 7, 0][..], 31));
        assert_eq!(
            (checksum(&[&packet[..20]]), &packet[20..22], &packet[28..]),
            (0, &5070_u16.to_be_bytes()[..], &b"BYE"[..])
        );
        let (from, to) = (v6.local.parse().unwrap(), v6.peer.parse().unwrap());
        let six = datagram(from, to, b"odd").unwrap();
        assert_eq!(checksum(&[&six[8..40], &[0, 17, 0, 11], &six[40..]]), 0);
        v6.peer = "192.0.2.1:1".into();
        assert!(datagram(from, v6.peer.parse().unwrap(), b"").is_none());
    }
}
