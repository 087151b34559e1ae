//! A simulator that listens, and what it has seen so far.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use axum::{
    Json, Router,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{Deepgram, ElevenLabs, Fault, Knobs, OpenAi};

/// What the connections of one simulator share.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) knobs: Knobs,
    faults_left: AtomicU32,
    connections: AtomicU32,
    cancelled: AtomicU32,
    audio_bytes: AtomicU32,
    script: AtomicU32,
    seen: Mutex<Vec<Value>>,
}

impl Stage {
    pub(crate) fn new(knobs: Knobs) -> Arc<Self> {
        Arc::new(Self {
            faults_left: AtomicU32::new(knobs.times),
            knobs,
            connections: AtomicU32::new(0),
            cancelled: AtomicU32::new(0),
            audio_bytes: AtomicU32::new(0),
            script: AtomicU32::new(0),
            seen: Mutex::default(),
        })
    }

    /// Counts a connection and says what goes wrong on it.
    pub(crate) fn connection(&self) -> Fault {
        self.connections.fetch_add(1, Relaxed);
        if self.knobs.fault == Fault::None {
            return Fault::None;
        }
        match self.faults_left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => self.knobs.fault.clone(),
            Err(_) => Fault::None,
        }
    }

    pub(crate) fn note(&self, message: Value) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }

    pub(crate) fn heard(&self, bytes: usize) {
        self.audio_bytes.fetch_add(u32::try_from(bytes).unwrap_or(u32::MAX), Relaxed);
    }

    pub(crate) fn cancelled(&self) {
        self.cancelled.fetch_add(1, Relaxed);
    }

    /// The next line of the script that all sockets share.
    pub(crate) fn next_line(&self) -> usize {
        self.script.fetch_add(1, Relaxed) as usize
    }

    pub(crate) fn admits(&self, shown: Option<&str>) -> bool {
        self.knobs.key.as_deref().is_none_or(|key| shown == Some(key))
    }
}

/// A refusal with the vendor's own body.
pub(crate) fn refuse(status: u16, retry_after: Option<u32>, body: Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(body)).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

/// A simulator that listens on the loopback until this is dropped.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    stages: Vec<Arc<Stage>>,
    server: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(listen: SocketAddr, router: Router, stages: Vec<Arc<Stage>>) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        let server = tokio::spawn(async move {
            // Ends only with the task; axum sleeps over errors of accept.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { addr, stages, server })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `ws://…` without a path, for vendors on WebSocket.
    pub fn ws(&self) -> String {
        format!("ws://{}", self.addr)
    }

    /// `http://…/v1`, the base URL of OpenAI-compatible clients.
    pub fn http(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// Connections or requests so far.
    pub fn connections(&self) -> u32 {
        self.stages.iter().map(|stage| stage.connections.load(Relaxed)).sum()
    }

    /// Answers that the client did not want to the end.
    pub fn cancelled(&self) -> u32 {
        self.stages.iter().map(|stage| stage.cancelled.load(Relaxed)).sum()
    }

    /// Bytes of audio received.
    pub fn audio_bytes(&self) -> u32 {
        self.stages.iter().map(|stage| stage.audio_bytes.load(Relaxed)).sum()
    }

    /// JSON messages and request bodies received, in order; a request's query comes as `{"query":{…}}`.
    pub fn seen(&self) -> Vec<Value> {
        let seen = |stage: &Arc<Stage>| stage.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.stages.iter().flat_map(seen).collect()
    }

    /// Runs until the process ends.
    pub async fn forever(mut self) {
        let _ = (&mut self.server).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// All three vendors on one address.
pub async fn start_all(listen: SocketAddr, knobs: Knobs) -> io::Result<Running> {
    let stages: Vec<_> = (0..3).map(|_| Stage::new(knobs.clone())).collect();
    let router = Deepgram::router(stages[0].clone())
        .merge(OpenAi::router(stages[1].clone()))
        .merge(ElevenLabs::router(stages[2].clone()));
    Running::start(listen, router, stages).await
}

/// A free port of the loopback.
pub(crate) fn anywhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}
