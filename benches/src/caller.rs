//! The callers: places calls at a steady rate, holds them through the measured window, hangs up, and reports.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sip_stack::offer::{self, Ability, Codec};
use sip_stack::{CallHandle, EndpointConfig, Event, Flow, NameAddr, Outgoing, Transport, Uri};
use tokio::sync::mpsc::Receiver;
use tokio::time::MissedTickBehavior;
use wire::sip::{SipConfig, SipHandle};

use crate::gauge::{Glance, glance};
use crate::histogram::Histogram;
use crate::report::{Calls, Generator, Report, Rtp, Server, Setup};
use crate::stream::{Party, Stream};

/// Calls not answered this long after the last INVITE have failed (RFC 3261 timer B is 32 s; nobody waits so long).
const ANSWER: Duration = Duration::from_secs(10);
/// For the BYEs to be answered.
const GOODBYE: Duration = Duration::from_secs(5);
/// Hanging up faster than this would measure a storm nobody asked for.
const GOODBYES_PER_S: u32 = 500;

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whom to call: host and port are also the next hop.
    pub target: String,
    /// How many calls, all held at the same time unless `each` says otherwise.
    pub calls: usize,
    /// Calls started in a second.
    pub rate: f64,
    /// Length of the measured window, seconds.
    pub seconds: f64,
    /// How long a call lasts that is not held to the end, seconds.
    pub each: Option<f64>,
    /// The process to measure.
    pub pid: Option<u32>,
    /// Threads for RTP.
    pub threads: usize,
    /// Whether any RTP is sent; without, only signalling is measured.
    pub media: bool,
    /// Below SIP.
    pub transport: Transport,
}

/// Why a run could not begin or end.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The target is no SIP URI, or its host has no address.
    #[error("target {0} is not understood")]
    Target(String),
    /// Sockets, threads, `/proc`.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Calling out.
    #[error(transparent)]
    Sip(#[from] wire::sip::SipError),
}

struct Placed {
    at: Instant,
    rang: bool,
    ability: Ability,
    stream: usize,
    socket: usize,
    up: Option<SocketAddr>,
}

struct Crowd {
    sip: SipHandle,
    events: Receiver<Event>,
    streams: Vec<Stream>,
    placed: HashMap<CallHandle, Placed>,
    calls: Calls,
    ringing: Histogram,
    answered: Histogram,
    refused: Histogram,
    /// Calls that end by themselves, by their time.
    leaving: VecDeque<(Instant, CallHandle)>,
    to: Uri,
    /// One way for all calls: a connection each would measure connecting.
    flow: Flow,
    plan: Plan,
    hanging_up: bool,
}

/// Places the calls, holds them, measures, hangs up.
///
/// # Errors
/// [`LoadError`] for what keeps a run from happening; failed calls are part of the report.
pub async fn run(plan: Plan) -> Result<Report, LoadError> {
    let before = plan.pid.map(glance).transpose()?;
    let window = Arc::new(AtomicBool::new(false));
    let mut crowd = Crowd::gather(plan.clone(), &window).await?;
    crowd.ramp().await?;

    let (server_before, own_before) = (plan.pid.map(glance).transpose()?, glance(std::process::id())?);
    window.store(true, Ordering::Relaxed);
    crowd.hold(Duration::from_secs_f64(plan.seconds)).await;
    window.store(false, Ordering::Relaxed);
    let (server_after, own_after) = (plan.pid.map(glance).transpose()?, glance(std::process::id())?);
    let answered = crowd.calls.answered;
    let server = match (before, server_before, server_after) {
        (Some(idle), Some(first), Some(last)) => Some(cost(&idle, &first, &last, answered)),
        _ => None,
    };
    crowd.hang_up().await;
    Ok(crowd.report(server, own_after.cpu_percent_since(&own_before)))
}

fn cost(idle: &Glance, first: &Glance, last: &Glance, answered: u64) -> Server {
    let calls = answered.max(1) as f64;
    let cpu_percent = last.cpu_percent_since(first);
    Server {
        cpu_percent,
        cpu_percent_per_call: cpu_percent / calls,
        rss_kib: last.rss_kib,
        rss_kib_per_call: (last.rss_kib as f64 - idle.rss_kib as f64) / calls,
    }
}

impl Crowd {
    async fn gather(plan: Plan, window: &Arc<AtomicBool>) -> Result<Self, LoadError> {
        let wrong = || LoadError::Target(plan.target.clone());
        let to = Uri::parse(plan.target.as_bytes()).map_err(|_| wrong())?;
        let host = (to.host().trim_matches(['[', ']']), to.port().unwrap_or(5060));
        let remote = tokio::net::lookup_host(host).await.map_err(|_| wrong())?.next().ok_or_else(wrong)?;
        let local = our_address(remote)?;
        let bound = vec![SocketAddr::new(local, 0)];
        let endpoint = EndpointConfig::default();
        let (sip, events) =
            wire::sip::bind(SipConfig { udp: bound, tcp: Vec::new(), endpoint, ..SipConfig::default() }).await?;
        let flow = sip.flow_to(plan.transport, remote).await?;
        let threads = plan.threads.max(1);
        let share = plan.calls.div_ceil(threads);
        let streams = (0..threads)
            .map(|number| Stream::start(number, local, share, Arc::clone(window)))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            sip,
            events,
            streams,
            placed: HashMap::new(),
            calls: Calls::default(),
            ringing: Histogram::default(),
            answered: Histogram::default(),
            refused: Histogram::default(),
            leaving: VecDeque::new(),
            to,
            flow,
            plan,
            hanging_up: false,
        })
    }

    /// Starts all calls at the planned rate, and waits until each is answered or has failed.
    async fn ramp(&mut self) -> Result<(), LoadError> {
        let started = Instant::now();
        let mut pace = tokio::time::interval(Duration::from_secs_f64(1.0 / self.plan.rate.max(0.001)));
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while self.calls.attempted < self.plan.calls as u64 {
            tokio::select! {
                _ = pace.tick() => self.call().await?,
                () = self.step() => {}
            }
        }
        let deadline = tokio::time::sleep(ANSWER);
        tokio::pin!(deadline);
        while self.calls.answered + self.calls.failed < self.calls.attempted {
            tokio::select! {
                () = &mut deadline => break,
                () = self.step() => {}
            }
        }
        self.calls.ramp_s = started.elapsed().as_secs_f64();
        Ok(())
    }

    async fn hold(&mut self, window: Duration) {
        let end = tokio::time::sleep(window);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return,
                () = self.step() => {}
            }
        }
    }

    /// The next thing that happens to a call.
    async fn step(&mut self) {
        let leaving = self.leaving.front().map(|(at, _)| *at);
        tokio::select! {
            Some(event) = self.events.recv() => self.hear(event),
            () = until(leaving) => self.leave(),
        }
    }

    /// Hangs up the call whose time has come.
    fn leave(&mut self) {
        if let Some((_, call)) = self.leaving.pop_front()
            && let Some(placed) = self.placed.remove(&call)
        {
            if let Some(remote) = placed.up {
                self.streams[placed.stream].end(remote);
            }
            self.sip.end(call);
        }
    }

    async fn hang_up(&mut self) {
        self.hanging_up = true;
        let mut pace = tokio::time::interval(Duration::from_secs(1) / GOODBYES_PER_S);
        let calls: Vec<_> = self.placed.keys().copied().collect();
        for call in calls {
            pace.tick().await;
            self.sip.end(call);
        }
        let deadline = tokio::time::sleep(GOODBYE);
        tokio::pin!(deadline);
        while !self.placed.is_empty() {
            tokio::select! {
                () = &mut deadline => return,
                Some(event) = self.events.recv() => self.hear(event),
            }
        }
    }

    async fn call(&mut self) -> Result<(), LoadError> {
        let number = self.calls.attempted;
        let stream = number as usize % self.streams.len();
        let (socket, port, rtcp_port) = self.streams[stream].seat();
        let ability = Ability {
            address: self.flow.local.ip(),
            port,
            rtcp_port,
            codecs: vec![Codec::Pcmu, Codec::Pcma],
            telephone_event: true,
            keying: offer::Keying::default(),
            session_id: number + 1,
            version: 1,
        };
        let from = format!("sip:load-{number}@{}", self.flow.local);
        let from = Uri::parse(from.as_bytes()).map_err(|_| LoadError::Target(from))?;
        let Ok(sdp) = offer::offer(&ability) else { return Ok(()) }; // only encryption that is required can be missing
        let outgoing = Outgoing::new(self.to.clone(), NameAddr::new(from), self.flow, sdp);
        let at = Instant::now();
        let call = self.sip.invite(outgoing).await?;
        self.calls.attempted += 1;
        self.placed.insert(call, Placed { at, rang: false, ability, stream, socket, up: None });
        Ok(())
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Ringing { call, .. } => {
                if let Some(placed) = self.placed.get_mut(&call).filter(|placed| !placed.rang) {
                    placed.rang = true;
                    self.ringing.add(placed.at.elapsed());
                }
            }
            Event::Answered { call, sdp, .. } => {
                let Some(placed) = self.placed.get_mut(&call) else { return };
                self.answered.add(placed.at.elapsed());
                let Ok(agreed) = offer::accept(&placed.ability, &sdp) else {
                    self.calls.failed += 1;
                    self.sip.end(call);
                    return;
                };
                self.calls.answered += 1;
                placed.up = Some(agreed.remote);
                if let Some(each) = self.plan.each {
                    self.leaving.push_back((Instant::now() + Duration::from_secs_f64(each), call));
                }
                if self.plan.media {
                    let party =
                        Party { remote: agreed.remote, payload_type: agreed.payload_type, socket: placed.socket };
                    self.streams[placed.stream].begin(party);
                }
            }
            Event::Ended { call, .. } => {
                let Some(placed) = self.placed.remove(&call) else { return };
                match placed.up {
                    Some(remote) => {
                        self.streams[placed.stream].end(remote);
                        self.calls.dropped += u64::from(!self.hanging_up);
                    }
                    None => {
                        self.calls.failed += 1;
                        self.refused.add(placed.at.elapsed());
                    }
                }
            }
            Event::Reinvite { call, .. } => self.sip.reject(call, sip_stack::Refusal::new(488)),
            Event::Incoming { call, .. } => self.sip.reject(call, sip_stack::Refusal::new(486)),
            _ => {}
        }
    }

    fn report(mut self, server: Option<Server>, cpu_percent: f64) -> Report {
        let mut rtp = Rtp::default();
        let mut gaps = Histogram::default();
        let (mut worst_late, mut send_failures) = (Duration::ZERO, 0);
        for stream in self.streams.drain(..) {
            let seen = stream.finish();
            rtp.add(&seen.rtp);
            gaps.merge(&seen.gaps);
            worst_late = worst_late.max(seen.worst_late);
            send_failures += seen.send_failures;
        }
        let mut calls = self.calls;
        // Neither answered nor refused in time.
        calls.failed = calls.attempted - calls.answered;
        Report {
            calls,
            setup_ms: Setup {
                ringing: (&self.ringing).into(),
                answered: (&self.answered).into(),
                refused: (&self.refused).into(),
            },
            rtp,
            gap_ms: (&gaps).into(),
            server,
            generator: Generator { cpu_percent, worst_late_ms: worst_late.as_micros() as f64 / 1000.0, send_failures },
            window_s: self.plan.seconds,
        }
    }
}

/// Waits for a moment, or for ever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn our_address(remote: SocketAddr) -> io::Result<IpAddr> {
    let any = if remote.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}
