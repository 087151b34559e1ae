//! `calls`: two user agents with UDP between them, a thread each; calls are set up and torn down at a steady rate.

use std::collections::HashMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use benches::gauge::glance;
use benches::histogram::Histogram;
use clap::Parser;
use serde_json::json;
use sip_stack::offer::{self, Ability, Codec};
use sip_stack::{CallHandle, Event, NameAddr, Outgoing, Transport, Uri};
use tokio::sync::mpsc::Receiver;
use tokio::time::MissedTickBehavior;
use wire::sip::{SipConfig, SipHandle};

/// Sets calls up and tears them down; prints one JSON object.
#[derive(Debug, Parser)]
struct Arguments {
    /// Calls started in a second.
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// For how long.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "calls: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(wanted: &Arguments) -> Result<(), Failure> {
    let (tell, told) = std::sync::mpsc::channel();
    // Ends with the process.
    std::thread::Builder::new().name("answer".into()).spawn(move || -> Result<(), Failure> {
        runtime()?.block_on(async {
            let (sip, events) = agent().await?;
            let _ = tell.send(sip.udp()[0]);
            answer(&sip, events).await;
            Ok(())
        })
    })?;
    let there = told.recv().map_err(|_| "the answering side did not start")?;
    let before = glance(std::process::id())?;
    let report = runtime()?.block_on(place(wanted, there))?;
    let after = glance(std::process::id())?;
    let cpu_us = after.cpu_percent_since(&before) * 1e4 * f64::from(wanted.seconds) / report.ended.max(1) as f64;
    let mut out = std::io::stdout().lock();
    let shown = json!({
        "asked_per_s": wanted.rate,
        "calls": {"started": report.started, "answered": report.answered, "ended": report.ended},
        "calls_per_s": report.ended as f64 / report.took.as_secs_f64(),
        "ringing_ms": {"p50": report.ringing.quantile_ms(0.5), "p99": report.ringing.quantile_ms(0.99), "max": report.ringing.longest_ms()},
        "cpu_us_per_call_both_sides": cpu_us.round(),
        "rss_kib": {"before": before.rss_kib, "after": after.rss_kib},
    });
    serde_json::to_writer_pretty(&mut out, &shown)?;
    writeln!(out)?;
    Ok(())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn agent() -> std::io::Result<(SipHandle, Receiver<Event>)> {
    let udp = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    wire::sip::bind(SipConfig { udp, ..SipConfig::default() }).await
}

/// What a telephone on this machine offers; no packet is ever sent there.
fn ability(session_id: u64) -> Ability {
    Ability {
        address: Ipv4Addr::LOCALHOST.into(),
        port: 9,
        rtcp_port: 10,
        codecs: vec![Codec::Pcmu, Codec::Pcma],
        telephone_event: true,
        keying: offer::Keying::default(),
        session_id,
        version: 1,
    }
}

/// Rings and answers everybody at once.
async fn answer(sip: &SipHandle, mut events: Receiver<Event>) {
    let mut number = 0;
    while let Some(event) = events.recv().await {
        let Event::Incoming { call, invite } = event else { continue };
        number += 1;
        sip.ring(call, None);
        let agreed = invite.sdp.as_ref().and_then(|offer| offer::answer(offer, &ability(number)).ok());
        match agreed {
            Some((sdp, _)) => drop(sip.answer(call, sdp).await),
            None => sip.reject(call, sip_stack::Refusal::new(488)),
        }
    }
}

#[derive(Default)]
struct Report {
    started: u64,
    answered: u64,
    ended: u64,
    ringing: Histogram,
    took: Duration,
}

/// Starts calls in time whatever becomes of those before, and hangs up as soon as they are answered.
async fn place(wanted: &Arguments, there: SocketAddr) -> Result<Report, Failure> {
    let (sip, mut events) = agent().await?;
    let flow = sip.flow_to(Transport::Udp, there).await?;
    let to = Uri::parse(format!("sip:bench@{there}").as_bytes()).map_err(|_| "the target is no SIP URI")?;
    let from = Uri::parse(format!("sip:calls@{}", flow.local).as_bytes()).map_err(|_| "no SIP URI of ours")?;
    let mut report = Report::default();
    let mut waiting: HashMap<CallHandle, Instant> = HashMap::new();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / wanted.rate.max(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let all = u64::from(wanted.rate) * u64::from(wanted.seconds);
    let began = Instant::now();
    let patience = tokio::time::sleep(Duration::from_secs(u64::from(wanted.seconds) + 10));
    tokio::pin!(patience);
    while report.ended < all {
        tokio::select! {
            _ = pace.tick(), if report.started < all => {
                report.started += 1;
                let offer = offer::offer(&ability(report.started)).expect("nothing is required");
                let at = Instant::now();
                let call = sip.invite(Outgoing::new(to.clone(), NameAddr::new(from.clone()), flow, offer)).await?;
                waiting.insert(call, at);
            }
            Some(event) = events.recv() => match event {
                Event::Ringing { call, .. } => {
                    if let Some(at) = waiting.remove(&call) {
                        report.ringing.add(at.elapsed());
                    }
                }
                Event::Answered { call, .. } => {
                    report.answered += 1;
                    sip.end(call);
                }
                Event::Ended { .. } => report.ended += 1,
                _ => {}
            },
            () = &mut patience => break,
        }
    }
    report.took = began.elapsed();
    Ok(report)
}
