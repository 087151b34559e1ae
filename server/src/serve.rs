//! `sidetone serve`: opens everything in order, serves until a signal, closes everything in the other order.

use std::time::Duration;

use control_api::{
    AfterSettings, App, Background, BackgroundSettings, Entry, Guard, HttpSettings, Journal, JournalSettings, NodeInfo,
    NodeKey, RecordingStage, RecordingState, Retention, Settings, Shelves, Store, StoreDirectory, TenantPurge,
    ToolClient, WebhookSender, after_call, billing_handlers,
};
use domain::EndedReason;
use pipeline::offline::{Speech, SpeechConfig};
use pipeline::voice_thread::Voice;
use sip_stack::{BouncerConfig, EndpointConfig};
use tokio::runtime::Handle;
use wire::media::{Media, MediaConfig};
use wire::sip::{Resolver, SipConfig, SipHandle, TlsConfig, TraceConfig};

use crate::agents::Machines;
use crate::call::desk::{Desk, Parts};
use crate::call::record::{Recorder, salvage};
use crate::call::stir::Stir;
use crate::call::traces::Traces;
use crate::config;
use crate::house::House;
use crate::shutdown::{HangUps, Signals};
use crate::trunks::{self, Challenger, Trunks};

type Failure = Box<dyn std::error::Error>;

/// Opens the database and brings it to this version.
///
/// # Errors
/// When it cannot be opened, in one line.
pub async fn open_store(house: &House) -> Result<Store, Failure> {
    let url = &house.config.store.url;
    if let Some(dir) = url.strip_prefix("sqlite://").and_then(|path| std::path::Path::new(path).parent()) {
        std::fs::create_dir_all(dir).map_err(|error| format!("store.url: {}: {error}", dir.display()))?;
    }
    let store = Store::open(url).await.map_err(|error| format!("store.url: {error}"))?;
    store.migrate().await.map_err(|error| format!("store.url: {error}"))?;
    Ok(store)
}

/// The key that seals secrets in the store: as configured, or the node's own, made at the first run.
fn seal_key(house: &House) -> Result<NodeKey, Failure> {
    let config::Store { seal_key, seal_file, .. } = &house.config.store;
    if !seal_key.is_empty() {
        return NodeKey::from_base64(seal_key).map_err(|error| format!("store.seal_key: {error}").into());
    }
    if let Some(dir) = seal_file.parent() {
        std::fs::create_dir_all(dir).map_err(|error| format!("store.seal_file: {}: {error}", dir.display()))?;
    }
    NodeKey::from_file(seal_file).map_err(|error| format!("store.seal_file: {error}").into())
}

/// Serves until SIGTERM or SIGINT; what may wait a moment works in the office.
///
/// # Errors
/// The first thing that cannot be opened, in one line.
pub async fn serve(house: House, office: &Handle) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let store = open_store(&house).await?;
    let key = Some(house.config.http.bootstrap_key.as_str()).filter(|key| !key.is_empty());
    let first = store
        .first_run_for(key, &house.config.auth.owner_email)
        .await
        .map_err(|error| format!("http.bootstrap_key: {error}"))?;
    let journal = {
        let _office = office.enter();
        Journal::start(store.clone(), JournalSettings::default())
    };
    close_orphans(&house, &store, &journal).await?;
    let archive = house.config.recording.archive()?;
    let seal = seal_key(&house)?;
    let sender = WebhookSender::new(Guard::new(house.config.events.webhook_loopback))
        .map_err(|error| format!("webhooks: no certificates to check receivers by: {error}"))?;
    let mut handlers = after_call(&AfterSettings {
        analysis: house.config.analysis.clone(),
        mail: house.config.mail.clone(),
        files: house.config.files.clone(),
        recordings: archive.clone(),
        tenants: Some((sender.outward().clone(), seal.clone())),
    })?;
    handlers.push(std::sync::Arc::new(Retention));
    handlers.extend(billing_handlers(&house.config.billing));
    store.offer_plans(&house.config.billing.plans).await.map_err(|error| error.to_string())?;
    handlers.push(control_api::number_orders(&house.config.carriers));
    handlers.push(control_api::number_ports(&house.config.carriers, seal.clone(), &house.config.files));
    handlers.push(std::sync::Arc::new(TenantPurge));
    let settings = BackgroundSettings {
        node: house.node.clone(),
        handlers,
        webhooks: Some((sender.clone(), seal.clone())),
        nats: house.config.events.nats.clone(),
        archive: Some(archive.clone()),
        ..BackgroundSettings::default()
    };
    let opened = store.clone();
    let background = office.spawn(async move { Background::start(&opened, settings).await }).await?;
    let mut background = background.map_err(|error| format!("store.url: {error}"))?;
    if house.config.recording.enabled {
        let dir = &house.config.recording.dir;
        std::fs::create_dir_all(dir).map_err(|error| format!("recording.dir: {}: {error}", dir.display()))?;
    }

    let checked = house.checked.clone();
    let http = tokio::net::TcpListener::bind(checked.http)
        .await
        .map_err(|error| format!("http.listen {}: {error}", checked.http))?;
    let traces = Traces::new(journal.clone(), house.config.sip.trace_messages > 0);
    let (sip, events) = wire::sip::bind(sip_config(&house, &traces)).await?;
    // From here on it ends the process no more.
    let hang_ups = HangUps::listen()?;
    let media = Media::start(MediaConfig {
        threads: house.config.media_threads(),
        bind: std::net::Ipv4Addr::UNSPECIFIED.into(),
        advertise: std::net::Ipv4Addr::LOCALHOST.into(),
        ports: checked.rtp_ports,
        draining: Duration::from_millis(house.config.rtp.draining_ms),
    })?;
    if media.is_urgent() {
        tracing::debug!("media threads have real-time priority");
    } else {
        tracing::info!(
            "media threads have no real-time priority: on a busy machine packets may be late; allow it by LimitRTPRIO=10 in the unit \
             (ulimit -r 10)"
        );
    }
    let speech = open_speech(&house).await;
    let drain = Duration::from_secs(house.config.limits.drain_s);
    let settings = Settings {
        http: HttpSettings { cors_origins: house.config.http.cors_origins.clone(), compat: house.config.http.compat },
        files: house.config.files.clone(),
        events: house.config.events.clone(),
        billing: house.config.billing.clone(),
        carriers: house.config.carriers.clone(),
        auth: house.config.auth.clone(),
    };
    let hello = hello(&house, first.new_key.filter(|_| key.is_none()).as_deref());
    let tools = ToolClient::new(sender.outward().clone());
    let shelves = Shelves::new(store.clone());
    let machines =
        Machines { files: house.agents.clone(), demo: house.config.agents.demo.clone(), speech: speech.clone() };
    let (node_name, boot) = (house.node.clone(), house.boot);
    let directory = StoreDirectory::open(store.clone(), checked.private.clone(), Some(seal.clone())).await?;
    let (trunks, keeper) = Trunks::start(trunks::Parts {
        sip: sip.clone(),
        resolver: resolver(&house)?,
        directory: directory.clone(),
        private: checked.private.clone(),
        trusted: checked.trusted.clone(),
        node: house.node.clone(),
    });
    // What callers name is never on this machine, whatever webhooks may reach.
    let stir = Stir::new(&house.config.stir, control_api::Outward::new(Guard::new(false))?)?;
    reload_on_hang_up(hang_ups, sip.clone(), stir.clone());
    let desk = Desk::new(Parts {
        trunks,
        stir,
        challenger: Challenger::new(&house.config.sip.realm, house.config.sip.digest()),
        traces,
        directory,
        store: store.clone(),
        journal: journal.clone(),
        hub: background.hub().clone(),
        media,
        voice: Voice::start(1)?,
        sip,
        recorder: Recorder::start()?,
        speech,
        seal: seal.clone(),
        tools: tools.clone(),
        shelves: shelves.clone(),
        tenant: first.tenant,
        house,
    });
    let calls = tokio::spawn(desk.clone().run(events));
    let sweeper = tokio::spawn(desk.clone().sweep());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let node = NodeInfo {
        id: node_name,
        boot,
        address: checked.http.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        started_at_ms: control_api::now_ms(),
    };
    {
        let _office = office.enter();
        background.attend(std::sync::Arc::new(desk.clone()), node.clone());
        background.place_calls(std::sync::Arc::new(desk.clone()), &node);
    }
    let app = App {
        directory: desk.directory.clone(),
        store,
        journal: journal.clone(),
        switchboard: std::sync::Arc::new(desk.clone()),
        recordings: archive,
        hub: background.hub().clone(),
        node,
        sender,
        seal,
        settings: std::sync::Arc::new(settings),
        agents: std::sync::Arc::new(machines),
        tools,
        shelves,
    };
    let api = office.spawn(
        axum::serve(http, control_api::router(app).into_make_service_with_connect_info::<std::net::SocketAddr>())
            .with_graceful_shutdown(async {
                let _ = stopped.await;
            })
            .into_future(),
    );
    crate::say(&hello);
    tracing::info!("serving");

    let signal = signals.next().await;
    tracing::info!(signal, calls = desk.live_calls(), "draining");
    desk.set_draining(true);
    // Whoever is not registered any more is sent no more calls.
    let leaving = tokio::spawn(keeper.stop());
    let patience = tokio::time::sleep(drain);
    tokio::pin!(patience);
    while desk.live_calls() > 0 {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            () = &mut patience => break,
            _ = signals.next() => break,
        }
    }
    desk.end_all(EndedReason::DrainForced);
    let closing = tokio::time::Instant::now() + Duration::from_secs(5);
    while desk.live_calls() > 0 && tokio::time::Instant::now() < closing {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let _ = stop.send(());
    let _ = leaving.await;
    let _ = tokio::time::timeout(Duration::from_secs(2), api).await;
    let _ = desk.sip.hand_over_traces().await;
    calls.abort();
    sweeper.abort();
    if tokio::time::timeout(Duration::from_secs(10), journal.flush()).await.is_err() {
        tracing::error!(entries = journal.counts().backlog, "the database did not take the last entries");
    }
    background.stop(Duration::from_secs(5)).await;
    tracing::info!("stopped");
    Ok(())
}

/// Where SIP is spoken, and how.
fn sip_config(house: &House, traces: &Traces) -> SipConfig {
    let (sip, guard, checked) = (&house.config.sip, &house.config.guard, &house.checked);
    let given = |path: &std::path::Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
    let bouncer = guard.enabled.then(|| BouncerConfig {
        throttle_after: guard.throttle_after,
        ban_after: guard.ban_after,
        forget_one: Duration::from_millis(guard.forget_ms),
        ban: Duration::from_secs(guard.ban_s),
        exempt: checked.trusted.iter().map(|network| (network.base(), network.bits())).collect(),
    });
    SipConfig {
        udp: checked.sip_udp.clone(),
        tcp: checked.sip_tcp.clone(),
        tls: checked.sip_tls.clone(),
        ws: checked.sip_ws.clone(),
        wss: checked.sip_wss.clone(),
        certificates: TlsConfig {
            certificate: sip.tls_certificate.clone(),
            key: sip.tls_key.clone(),
            client_roots: given(&sip.tls_client_ca),
            roots: given(&sip.tls_ca),
        },
        trace: TraceConfig {
            messages: sip.trace_messages,
            sink: Some(traces.sink()),
            hep: checked.hep,
            hep_node: sip.hep_node,
        },
        endpoint: EndpointConfig {
            user_agent: Some(sip.user_agent.clone()).filter(|name| !name.is_empty()),
            bouncer,
            ..EndpointConfig::default()
        },
    }
}

/// The certificates of TLS, and the anchors and the key of signed callers, are read again on SIGHUP; what cannot be used is told, and
/// stays as it was.
fn reload_on_hang_up(mut hang_ups: HangUps, sip: SipHandle, stir: Stir) {
    tokio::spawn(async move {
        loop {
            hang_ups.next().await;
            match sip.reload_tls() {
                Ok(()) => tracing::info!("certificates were read again"),
                Err(error) => tracing::error!(%error, "certificates stay as they were"),
            }
            match stir.reload() {
                Ok(()) => tracing::debug!("the files of [stir] were read again"),
                Err(error) => tracing::error!(error, "anchors and key of [stir] stay as they were"),
            }
        }
    });
}

/// Who finds hosts. Without a configuration of the system's only addresses and given servers are found.
fn resolver(house: &House) -> Result<Resolver, Failure> {
    if let Some(server) = house.checked.dns {
        return Ok(Resolver::with_server(server)?);
    }
    Ok(Resolver::system().or_else(|error| {
        tracing::warn!(%error, "no name server: hosts of trunks are found by their addresses only (sip.dns)");
        Resolver::with_server(std::net::SocketAddr::from(([127, 0, 0, 1], 53)))
    })?)
}

/// Calls that an earlier run left behind are closed with their evidence, and their recordings described as they are.
async fn close_orphans(house: &House, store: &Store, journal: &Journal) -> Result<(), Failure> {
    for orphan in store.close_orphans(&house.node, house.boot).await? {
        tracing::warn!(call_id = %orphan.call, "an earlier run left this call behind");
        for (id, locator) in orphan.recordings {
            let file = salvage(&house.config.recording.dir.join(&locator));
            let state = if file.is_some() { RecordingStage::Ready } else { RecordingStage::Failed };
            let state = RecordingState {
                id,
                state,
                locator,
                format: "wav",
                channels: 2,
                duration_ms: file.as_ref().map(|file| file.duration_ms),
                bytes: file.as_ref().map(|file| file.bytes),
                sha256: file.map(|file| file.sha256),
            };
            journal.write(orphan.call, Entry::Recording(state));
        }
    }
    let settled = store.sweep_old_boots(&house.node, house.boot, control_api::now_ms()).await?;
    if settled > 0 {
        tracing::warn!(settled, "leases of earlier runs were settled by evidence");
    }
    Ok(())
}

async fn open_speech(house: &House) -> Option<Speech> {
    let speech = &house.config.speech;
    let config = SpeechConfig { worker: house.worker(), workers: speech.workers, voice: speech.voice.clone() };
    match Speech::start(config).await {
        Ok(speech) => Some(speech),
        Err(unavailable) => {
            tracing::warn!("{unavailable}; agents that use it beep and understand keys only");
            None
        }
    }
}

/// Printed once, so that a newcomer knows whom to call.
fn hello(house: &House, key: Option<&str>) -> String {
    let port = house.checked.sip_udp.first().or(house.checked.sip_tcp.first()).map_or(5060, std::net::SocketAddr::port);
    let at = if port == 5060 { String::new() } else { format!(":{port}") };
    let mut text = format!(
        "Sidetone is up. Call sip:{}@<this machine>{at} with a softphone, or:\n  sidetone call sip:demo@127.0.0.1{at} --say \"i would like to book an appointment\"\nAPI: http://{}/docs",
        "demo", house.checked.http
    );
    if let Some(key) = key {
        text.push_str(&format!("\nAPI key, shown this once: {key}"));
    }
    text
}
