//! `sidetone call`: the built-in test phone. It speaks with flite or from files, listens, and grades what it hears by
//! the audio alone.

mod report;
mod script;
mod talk;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pipeline::voice_thread::{Seat, Voice};
use sip_stack::{Cause, Event, Transport};
use tokio::sync::mpsc;
use tokio::time::timeout;
use wire::sip::{Resolver, Target};

use crate::call::leg;
use crate::call::line::Rings;
pub use script::Step;

/// How long the other side may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(45);

/// What can go wrong before there is a conversation to print.
#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    /// The URI is no `sip:` URI with a host.
    #[error("{0}: expected sip:user@host[:port]")]
    Uri(String),
    /// A file cannot be played.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nothing can be spoken.
    #[error(transparent)]
    Speech(#[from] pipeline::offline::Unavailable),
    /// A socket or a thread.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Not answered.
    #[error("the call was not answered: {0}")]
    NotAnswered(String),
}

/// `sidetone call URI …`; `--say`, `--play`, `--dtmf` and `--wait` may be repeated and happen in the order given.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Whom to call, as sip:demo@127.0.0.1
    pub uri: String,
    /// Say this when the agent has finished.
    #[arg(long, value_name = "WORDS")]
    pub say: Vec<String>,
    /// Play this file (WAV, PCM16, 8 or 16 kHz) when the agent has finished.
    #[arg(long, value_name = "FILE")]
    pub play: Vec<PathBuf>,
    /// Press these keys when the agent has finished.
    #[arg(long, value_name = "DIGITS")]
    pub dtmf: Vec<String>,
    /// Say this so many seconds after the agent began to speak, over it: "1.5:stop please".
    #[arg(long, value_name = "SECONDS:WORDS")]
    pub interrupt: Vec<String>,
    /// Who is calling.
    #[arg(long, default_value = "phone")]
    pub from: String,
    /// The voice of `--say`.
    #[arg(long, default_value = "rms")]
    pub voice: String,
    /// Where the recording goes: left we, right the agent.
    #[arg(long, value_name = "FILE", default_value = "call.wav")]
    pub save: PathBuf,
    /// Whose certificates are believed over TLS, in PEM; the public authorities when absent.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Seconds to stay on the line after the last step.
    #[arg(long, default_value_t = 8)]
    pub linger: u64,
    /// Longest call, in seconds.
    #[arg(long, default_value_t = 180)]
    pub limit: u64,
    /// Where the API is, to print the agent's words as well (needs a key).
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub api: String,
    /// API key; without it the agent's words are not printed.
    #[arg(long, env = "SIDETONE_API_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// Print one JSON object instead of a conversation.
    #[arg(long)]
    pub json: bool,
}

/// Places the call and prints it; fails when nothing was heard.
///
/// # Errors
/// When there was no call to speak of.
pub async fn run(options: Options) -> Result<ExitCode, PhoneError> {
    let Target { transport, remote, domain } = resolve(&options.uri).await?;
    let address = local_towards(remote)?;
    let steps = script::render(&options).await?;
    let media = wire::media::Media::start(wire::media::MediaConfig {
        threads: 1,
        bind: address,
        advertise: address,
        ports: 40_000..=49_999,
        draining: Duration::ZERO,
    })?;
    let (sip, mut events) = leg::user_agent(address, options.ca.clone()).await?;
    if transport == Transport::Tls {
        sip.expect_domain(remote, &domain);
    }
    let ports = leg::reserve(&media)?;
    let ability = leg::ability(&ports, address, control_api::Srtp::Off);
    let from = if options.from.contains('@') { options.from.clone() } else { format!("{}@{address}", options.from) };
    let call = leg::invite(&sip, &options.uri, &format!("sip:{from}"), (transport, remote), &ability).await?;

    let answered = timeout(ANSWER_WITHIN, answer(&mut events)).await;
    let answer = match answered {
        Ok(answer) => answer?,
        Err(_) => {
            sip.end(call);
            return Err(PhoneError::NotAnswered(format!("no answer in {} s", ANSWER_WITHIN.as_secs())));
        }
    };
    let plan = sip_stack::offer::accept(&ability, &answer)
        .map_err(|refusal| PhoneError::NotAnswered(format!("its answer cannot be used: {refusal:?}")))?;
    let began = Instant::now();
    let (line, control) = media.open(ports, leg::config(&plan));
    let voice = Voice::start(1)?;
    let (reports, mut report) = mpsc::unbounded_channel();
    voice.seat(Seat {
        talk: Box::new(talk::Phone::new(steps, Duration::from_secs(options.linger), reports)),
        line: Box::new(Rings::new(line)),
        ear: Some(pipeline::vad::VadConfig::default()),
        tap: None,
        answered: began,
    });

    let limit = tokio::time::sleep(Duration::from_secs(options.limit));
    tokio::pin!(limit);
    let (mut heard, mut ended) = (None, "we hung up");
    loop {
        tokio::select! {
            Some(done) = report.recv() => { heard = Some(done); break; }
            event = events.recv() => match event {
                Some(Event::Ended { cause, .. }) => { ended = if cause == Cause::Bye { "the agent hung up" } else { "the call broke" }; break; }
                Some(_) => {}
                None => break,
            },
            () = &mut limit => { ended = "the limit was reached"; break; }
        }
    }
    sip.end(call);
    let stats = control.stats();
    drop(control); // the leg ends, the talk sees its line go and reports
    if heard.is_none() {
        heard = timeout(Duration::from_secs(2), report.recv()).await.ok().flatten();
    }
    let Some(heard) = heard else { return Err(PhoneError::NotAnswered("no audio passed".into())) };
    let transcript = report::transcript(&options).await;
    report::save(&heard, &options.save)?;
    Ok(report::print(&options, &heard, ended, &stats, transcript.as_deref()))
}

async fn answer(events: &mut mpsc::Receiver<Event>) -> Result<sip_stack::sdp::Sdp, PhoneError> {
    while let Some(event) = events.recv().await {
        match event {
            Event::Answered { sdp, .. } => return Ok(sdp),
            Event::Ended { cause, .. } => return Err(PhoneError::NotAnswered(format!("{cause:?}"))),
            _ => {}
        }
    }
    Err(PhoneError::NotAnswered("the SIP task ended".into()))
}

/// The best way to a URI's host (RFC 3263).
async fn resolve(uri: &str) -> Result<Target, PhoneError> {
    let wrong = || PhoneError::Uri(uri.to_owned());
    let uri: sip_stack::Uri = uri.parse().map_err(|_| wrong())?;
    let nowhere = |error: wire::sip::ResolveError| PhoneError::NotAnswered(error.to_string());
    let found = Resolver::system().map_err(nowhere)?.resolve(&uri).await.map_err(nowhere)?;
    found.into_iter().next().ok_or_else(wrong)
}

/// The address that packets to `remote` leave from.
fn local_towards(remote: SocketAddr) -> std::io::Result<IpAddr> {
    let any: SocketAddr = if remote.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}
