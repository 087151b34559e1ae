//! `load`: N calls against a SIP server, with media, measured; prints one JSON object.

use std::io::Write;
use std::process::ExitCode;

use benches::caller::{Plan, run};
use clap::{Parser, ValueEnum};
use sip_stack::Transport;

/// Calls a SIP server N times at once and measures it.
#[derive(Debug, Parser)]
struct Arguments {
    /// Whom to call; host and port are also where to send.
    #[arg(long, default_value = "sip:bench@127.0.0.1:5060")]
    target: String,
    /// How many calls; they are held at the same time unless `--each` is given.
    #[arg(long, default_value_t = 100)]
    calls: usize,
    /// Calls started in a second.
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// Length of the measured window; it begins when all calls are answered.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Hang up each call so many seconds after its answer.
    #[arg(long)]
    each: Option<f64>,
    /// The process to measure.
    #[arg(long)]
    pid: Option<u32>,
    /// RTP threads; without it one per core.
    #[arg(long)]
    threads: Option<usize>,
    /// Below SIP.
    #[arg(long, value_enum, default_value_t = Below::Udp)]
    transport: Below,
    /// Signalling only: send no RTP.
    #[arg(long)]
    no_rtp: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Below {
    Udp,
    Tcp,
}

fn main() -> ExitCode {
    match measure(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let plan = Plan {
        target: arguments.target,
        calls: arguments.calls,
        rate: arguments.rate,
        seconds: arguments.seconds,
        each: arguments.each,
        pid: arguments.pid,
        threads: arguments.threads.unwrap_or(cores),
        media: !arguments.no_rtp,
        transport: match arguments.transport {
            Below::Udp => Transport::Udp,
            Below::Tcp => Transport::Tcp,
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(run(plan))?;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &report)?;
    writeln!(out)?;
    Ok(())
}
