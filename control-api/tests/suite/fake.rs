//! A switchboard without a telephone, calls as the node would journal them, and a client for the router.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use control_api::{
    AgentCheck, App, Archive, Ask, AskRefused, BoxFuture, DialRefused, DialRequest, Ended, Engine, Engines, Entry,
    Found, Guard, Health, Heard, Hub, Journal, LiveCall, NewCall, NodeInfo, NodeKey, PlanQuery, ProbeRefused, Probed,
    Settings, Shelves, StoreDirectory, Switchboard, ToolClient, Voice, WebhookSender, router,
};
use domain::{AgentSpec, BootId, CallId, Channel, Direction, EndedReason, Speaker, Status, TenantId, Turn};
use serde_json::{Map, Value};
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::db::{Db, KEY};

pub(crate) struct Fake {
    journal: Journal,
    pub(crate) live: Mutex<Vec<LiveCall>>,
    pub(crate) dialled: Mutex<Vec<DialRequest>>,
    /// The call that sounds, and where.
    pub(crate) line: Mutex<Option<(CallId, tokio::sync::broadcast::Sender<Heard>)>>,
    /// What was asked of live calls.
    pub(crate) asked: Mutex<Vec<(CallId, Ask)>>,
    pub(crate) draining: AtomicBool,
    /// What everybody who dials is told.
    pub(crate) refuses: Mutex<Option<DialRefused>>,
    directory: StoreDirectory,
}

impl Switchboard for Fake {
    fn dial<'a>(&'a self, request: DialRequest) -> BoxFuture<'a, Result<(), DialRefused>> {
        Box::pin(async move {
            if self.draining.load(Ordering::Relaxed) {
                return Err(DialRefused::Draining);
            }
            if let Some(refused) = self.refuses.lock().unwrap().clone() {
                return Err(refused);
            }
            let mut new = new_call(request.tenant, Direction::Outbound, control_api::now_ms());
            if let Some(asked_at_ms) = request.asked_at_ms {
                self.directory.plan(&PlanQuery::of(&request)).await?;
                (new.scheduled, new.created_at_ms) = (true, asked_at_ms);
            }
            new.to = request.to.clone();
            new.variables = request.variables.clone();
            (new.agent_id, new.agent_version) = (request.agent_id, request.agent_version);
            self.journal.write(request.call, Entry::Created(Box::new(new)));
            self.journal.write(request.call, status(Status::Initiating, control_api::now_ms()));
            self.live.lock().unwrap().push(live(request.call, request.tenant));
            self.dialled.lock().unwrap().push(request);
            Ok(())
        })
    }

    fn ask<'a>(&'a self, call: CallId, ask: Ask) -> BoxFuture<'a, Result<(), AskRefused>> {
        Box::pin(async move {
            let mut live = self.live.lock().unwrap();
            let at = live.iter().position(|live| live.id == call).ok_or(AskRefused::NotActive)?;
            self.asked.lock().unwrap().push((call, ask.clone()));
            let answered = live[at].status == Status::InProgress;
            match ask {
                Ask::End { reason, .. } => {
                    live.remove(at);
                    let reason = if answered { reason } else { EndedReason::Canceled };
                    self.journal.write(call, ended(reason, control_api::now_ms()));
                }
                _ if !answered => return Err(AskRefused::NotActive),
                Ask::Instruct { .. } => return Err(AskRefused::NoModel),
                _ => {}
            }
            Ok(())
        })
    }

    fn live(&self) -> Vec<LiveCall> {
        self.live.lock().unwrap().clone()
    }

    fn health(&self) -> Health {
        let draining = self.draining.load(Ordering::Relaxed);
        Health { sip: true, rtp_ports_free: 100, draining, disk: true, calls: 0, max_calls: 100, begun_10s: 5 }
    }

    fn drain(&self, patience: Option<std::time::Duration>) {
        self.draining.store(patience.is_some(), Ordering::Relaxed);
    }

    fn listen(&self, call: CallId) -> Option<tokio::sync::broadcast::Receiver<Heard>> {
        self.line.lock().unwrap().as_ref().filter(|(on, _)| *on == call).map(|(_, line)| line.subscribe())
    }

    fn probe<'a>(&'a self, _: domain::TrunkId) -> BoxFuture<'a, Result<Vec<Probed>, ProbeRefused>> {
        let probed = |host: &str, status, ms: Option<u64>| Probed {
            gateway: host.into(),
            host: host.into(),
            status,
            rtt: ms.map(std::time::Duration::from_millis),
            detail: ms.is_none().then(|| "no answer".into()),
        };
        let all =
            vec![probed("a.example", 408, None), probed("b.example", 503, Some(3)), probed("c.example", 200, Some(12))];
        Box::pin(async move { if self.draining.load(Ordering::Relaxed) { Err(ProbeRefused::Busy) } else { Ok(all) } })
    }

    fn metrics(&self) -> String {
        "# TYPE sidetone_calls gauge\nsidetone_calls 0\n".into()
    }
}

/// The key of every test's store.
pub(crate) fn seal_key() -> NodeKey {
    NodeKey::from_bytes(&[7; 32]).unwrap()
}

/// A node of this name.
pub(crate) fn node_info(id: &str) -> NodeInfo {
    NodeInfo {
        id: id.into(),
        boot: BootId(Uuid::now_v7()),
        address: "127.0.0.1:8080".into(),
        version: "0.0.0",
        started_at_ms: control_api::now_ms(),
    }
}

/// Sends webhooks to this machine.
pub(crate) fn sender() -> WebhookSender {
    WebhookSender::new(Guard::new(true)).unwrap()
}

/// The conversation's machines themselves, without engines behind them.
pub(crate) struct Machines;

impl AgentCheck for Machines {
    fn check(&self, agent: &AgentSpec) -> Found {
        let found = pipeline::agent::check(agent);
        Found { faults: found.faults, warnings: found.warnings }
    }

    fn engines(&self) -> Engines {
        let engine = |provider: pipeline::roster::Provider| Engine {
            id: provider.id.into(),
            name: provider.name.into(),
            needs_key: provider.needs_key,
            settings_schema: provider.settings,
            models: provider.models.iter().map(|model| (*model).to_owned()).collect(),
        };
        let all = |list: Vec<pipeline::roster::Provider>| list.into_iter().map(engine).collect();
        Engines {
            stt: all(pipeline::roster::stt()),
            llm: all(pipeline::roster::llm()),
            tts: all(pipeline::roster::tts()),
            realtime: Vec::new(),
        }
    }

    fn voices(&self) -> Vec<Voice> {
        let voice = |name: &str| Voice {
            id: format!("builtin:{name}"),
            provider: "builtin".into(),
            name: name.to_uppercase(),
            languages: vec!["en-US".into()],
            gender: None,
            sample_url: None,
            native_ulaw: false,
        };
        vec![voice("slt"), voice("kal")]
    }

    fn speak<'a>(&'a self, voice: &'a str, text: &'a str) -> BoxFuture<'a, Result<Vec<i16>, String>> {
        let spoken = match voice {
            "builtin:slt" => Ok(vec![0; text.len() * 400]),
            _ => Err(format!("there is no voice {voice} on this machine")),
        };
        Box::pin(async { spoken })
    }

    fn operator_key(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, name: &str) -> Option<Arc<AgentSpec>> {
        (name == "receptionist").then(|| Arc::new(AgentSpec::named(name)))
    }
}

pub(crate) fn live(id: CallId, tenant: TenantId) -> LiveCall {
    LiveCall {
        id,
        tenant,
        livemode: true,
        direction: Direction::Outbound,
        status: Status::Initiating,
        activity: None,
        from: "sip:node@127.0.0.1".to_owned().into(),
        verified: Some("B"),
        to: "+12125550123".to_owned().into(),
        number: None,
        trunk: None,
        leg_trunk: None,
        agent: "receptionist".into(),
        created_at_ms: 1_795_221_552_123,
        answered_at_ms: None,
    }
}

pub(crate) fn new_call(tenant: TenantId, direction: Direction, created_at_ms: i64) -> NewCall {
    NewCall {
        tenant,
        livemode: true,
        channel: Channel::Sip,
        direction,
        from: "+12125550123".to_owned().into(),
        to: "sip:demo@127.0.0.1".to_owned().into(),
        verified: None,
        number_id: None,
        trunk_id: None,
        agent_id: None,
        agent_version: None,
        config: serde_json::to_value(AgentSpec::named("Front desk")).ok(),
        variables: Map::new(),
        metadata: Map::new(),
        sip_call_id: Some("a84b4c76e66710@pc33".into()),
        node_id: "n1".into(),
        boot_id: BootId(Uuid::nil()),
        created_at_ms,
        scheduled: false,
    }
}

pub(crate) fn status(status: Status, at_ms: i64) -> Entry {
    Entry::Status { status, at_ms, sip_status: None, data: Map::new() }
}

pub(crate) fn ended(reason: EndedReason, at_ms: i64) -> Entry {
    Entry::Ended(Box::new(Ended { reason, at_ms, sip_status: Some(200), media: None, degraded: false, silent_ms: 0 }))
}

pub(crate) fn call_id() -> CallId {
    CallId(Uuid::now_v7())
}

/// A whole answered call, created at `at`, answered a second later, ended after a minute, with two turns.
pub(crate) fn conversation(journal: &Journal, tenant: TenantId, at: i64) -> CallId {
    let call = call_id();
    journal.write(call, Entry::Created(Box::new(new_call(tenant, Direction::Inbound, at))));
    journal.write(call, status(Status::Initiating, at + 1));
    journal.write(call, status(Status::Ringing, at + 4));
    journal.write(call, status(Status::InProgress, at + 1000));
    journal
        .write(call, Entry::Turn(Box::new(Turn::new(Speaker::Agent, "Hillside clinic, how can I help?", 100, 2100))));
    let mut cut = Turn::new(Speaker::Agent, "You are booked for Friday at three.", 4000, 5200);
    cut.heard_text = Some("You are booked for Fri".into());
    cut.interrupted = true;
    cut.latency = Some(domain::Latency {
        caller_stopped_ms: Some(3200),
        voice_to_voice_ms: Some(840),
        own_overhead_ms: Some(12),
        stt: Some("builtin".into()),
        ..Default::default()
    });
    journal.write(call, Entry::Turn(Box::new(Turn::new(Speaker::Caller, "Friday at three", 2500, 3200))));
    journal.write(call, Entry::Turn(Box::new(cut)));
    journal.write(call, ended(EndedReason::CallerHungUp, at + 61_000));
    call
}

/// The router and the switchboard behind it.
pub(crate) struct Client {
    pub(crate) router: Router,
    pub(crate) board: Arc<Fake>,
    pub(crate) key: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status, code and field of an error, whose envelope is checked.
    pub(crate) fn error(&self) -> (u16, String, Option<String>) {
        let body = self.json();
        let error = &body["error"];
        assert_eq!(error["request_id"], self.header("x-request-id"), "{body}");
        assert!(!error["message"].as_str().unwrap().is_empty());
        (self.status.as_u16(), error["code"].as_str().unwrap().into(), error["field"].as_str().map(Into::into))
    }
}

impl Client {
    /// A client of a node without a background: nothing is published.
    pub(crate) fn new(db: &Db) -> Self {
        Self::watching(db, &Hub::new(0))
    }

    pub(crate) fn watching(db: &Db, hub: &Hub) -> Self {
        Self::with(db, hub, Settings::default())
    }

    pub(crate) fn with(db: &Db, hub: &Hub, settings: Settings) -> Self {
        Self::build(db, hub, settings, sender(), db.folder.join("recordings").into())
    }

    /// Of a node whose recordings lie elsewhere too.
    pub(crate) fn keeping(db: &Db, archive: Archive) -> Self {
        Self::build(db, &Hub::new(0), Settings::default(), sender(), archive)
    }

    /// Of a node whose operator lets no request of a tenant go to the node itself.
    pub(crate) fn strict(db: &Db) -> Self {
        Self::sending(db, &Hub::new(0), WebhookSender::new(Guard::new(false)).unwrap())
    }

    pub(crate) fn sending(db: &Db, hub: &Hub, sender: WebhookSender) -> Self {
        Self::build(db, hub, Settings::default(), sender, db.folder.join("recordings").into())
    }

    fn build(db: &Db, hub: &Hub, settings: Settings, sender: WebhookSender, archive: Archive) -> Self {
        let directory = StoreDirectory::new(db.store.clone(), vec!["127.0.0.0/8".parse().unwrap()]);
        let board = Arc::new(Fake {
            journal: db.journal.clone(),
            live: Mutex::default(),
            dialled: Mutex::default(),
            line: Mutex::default(),
            asked: Mutex::default(),
            draining: AtomicBool::default(),
            refuses: Mutex::default(),
            directory: directory.clone(),
        });
        let tools = ToolClient::new(sender.outward().clone());
        let app = App {
            store: db.store.clone(),
            journal: db.journal.clone(),
            directory,
            switchboard: board.clone(),
            recordings: archive,
            hub: hub.clone(),
            node: node_info("n1"),
            sender,
            seal: seal_key(),
            settings: Arc::new(settings),
            agents: Arc::new(Machines),
            tools,
            shelves: Shelves::new(db.store.clone()),
        };
        Self { router: router(app), board, key: KEY.into() }
    }

    /// A file as `multipart/form-data`.
    pub(crate) async fn upload(&self, path: &str, file: &str, kind: &str, content: &[u8]) -> Answer {
        let mut body = format!(
            "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{file}\"\r\nContent-Type: {kind}\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n--XX--\r\n");
        let request = self.request("POST", path).header("content-type", "multipart/form-data; boundary=XX");
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        Request::builder().method(method).uri(path).header(header::AUTHORIZATION, format!("Bearer {}", self.key))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn get_with(&self, path: &str, name: &str, value: &str) -> Answer {
        self.send(self.request("GET", path).header(name, value).body(Body::empty()).unwrap()).await
    }

    /// A request with a body.
    async fn with_body(&self, method: &str, path: &str, body: &Value) -> Answer {
        let request = self.request(method, path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.with_body("PUT", path, &body).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.with_body("PATCH", path, &body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        let request = self.request("POST", path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }
}
