//! SIP over WebSocket (RFC 7118): each message of the socket is one SIP message, the subprotocol is `sip`.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use sip_stack::Flow;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use crate::sip_stream::{End, StreamNews, Streams};

const PROTOCOL: &str = "Sec-WebSocket-Protocol";

/// RFC 7118 §4: a client that does not offer `sip` is not one of ours.
#[allow(clippy::result_large_err, reason = "the shape that the handshake wants")]
fn agree(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request
        .headers()
        .get_all(PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|protocol| protocol.trim().eq_ignore_ascii_case("sip"));
    if offered {
        response.headers_mut().insert(PROTOCOL, HeaderValue::from_static("sip"));
        return Ok(response);
    }
    let mut refusal = ErrorResponse::new(Some("the subprotocol `sip` is wanted".to_owned()));
    *refusal.status_mut() = StatusCode::BAD_REQUEST;
    Err(refusal)
}

/// Answers the handshake; `None` when there was none in time.
pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    patience: Duration,
) -> Option<WebSocketStream<S>> {
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(sip_stack::message::MAX_MESSAGE);
    config.max_frame_size = Some(sip_stack::message::MAX_MESSAGE);
    timeout(patience, accept_hdr_async_with_config(stream, agree, Some(config))).await.ok()?.ok()
}

/// The life of one connection after its handshake.
pub(crate) async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: WebSocketStream<S>,
    flow: Flow,
    mut to_send: mpsc::Receiver<Vec<u8>>,
    streams: &Streams,
) -> End {
    let limits = streams.limits;
    let (mut proven, mut active) = (false, Instant::now());
    loop {
        let deadline = active + if proven { limits.idle } else { limits.message };
        tokio::select! {
            message = socket.next() => {
                let bytes = match message {
                    Some(Ok(Message::Text(text))) => text.as_bytes().to_vec(),
                    Some(Ok(Message::Binary(bytes))) => bytes.to_vec(),
                    // Pings are answered below us; they keep a proven connection alive and prove none.
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                        if proven {
                            active = Instant::now();
                        }
                        continue;
                    }
                    Some(Ok(Message::Close(_) | Message::Frame(_))) | None => return End::Gone,
                    Some(Err(_)) => return End::Malformed,
                };
                (proven, active) = (true, Instant::now());
                // RFC 7118 §6: a double line end inside is a keep-alive as well.
                if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                    continue;
                }
                streams.tally.received.one();
                if streams.news.send(StreamNews::Message { flow, bytes }).await.is_err() {
                    return End::Gone;
                }
            }
            message = to_send.recv() => {
                let Some(message) = message else { return End::Gone };
                // Text frames may hold nothing but UTF-8.
                let frame = match String::from_utf8(message) {
                    Ok(text) => Message::text(text),
                    Err(bytes) => Message::binary(bytes.into_bytes()),
                };
                if !matches!(timeout(limits.patience, socket.send(frame)).await, Ok(Ok(()))) {
                    return End::Gone;
                }
                if proven {
                    active = Instant::now();
                }
            }
            () = tokio::time::sleep_until(deadline) => return End::Reaped,
        }
    }
}
