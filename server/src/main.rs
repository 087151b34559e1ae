//! The binary `sidetone`: a table of contents.
// A binary has no users of its API; `pub` marks what other rooms use.
#![allow(unreachable_pub)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod call;
mod config;
mod house;
mod logging;
mod phone;
mod serve;
mod shutdown;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// `EX_CONFIG` of sysexits.h: the configuration cannot be used.
const EX_CONFIG: u8 = 78;

/// A native SIP/RTP media server with an embedded AI pipeline.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve calls and the API until SIGTERM or SIGINT.
    Serve(Configured),
    /// Check the configuration and the agents, and open nothing.
    Check(Configured),
    /// Bring the database to this version.
    Migrate(Configured),
    /// Print the OpenAPI document.
    Openapi,
    /// The built-in test phone: call a SIP URI, speak, listen, print the conversation.
    Call(Box<phone::Options>),
}

#[derive(Debug, clap::Args)]
struct Configured {
    /// The configuration file; without it, the defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            #[allow(clippy::print_stderr)]
            {
                eprintln!("sidetone: {error}");
            }
            if error.downcast_ref::<config::ConfigError>().is_some() {
                ExitCode::from(EX_CONFIG)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Box<dyn std::error::Error>> {
    // The one TLS provider of the process; a second call finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match command {
        Command::Serve(Configured { config }) => {
            let house = house::House::read(config.as_deref())?;
            logging::start(&house.config.log);
            house.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            runtime.block_on(serve::serve(house))?;
        }
        Command::Check(Configured { config }) => {
            let house = house::House::read(config.as_deref())?;
            house.warnings.iter().for_each(|warning| say(warning));
            say(&format!("configuration is good: {} agents, SIP {:?}", house.agents.len(), house.checked.sip_udp));
        }
        Command::Migrate(Configured { config }) => {
            let house = house::House::read(config.as_deref())?;
            runtime.block_on(serve::open_store(&house))?;
            say("database is at this version");
        }
        Command::Openapi => say(&control_api::openapi()),
        Command::Call(options) => return Ok(runtime.block_on(phone::run(*options))?),
    }
    Ok(ExitCode::SUCCESS)
}

/// The only place besides the test phone that writes to standard output.
#[allow(clippy::print_stdout)]
fn say(text: &str) {
    println!("{text}");
}
