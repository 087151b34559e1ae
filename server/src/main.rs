//! The binary `sidetone`: a table of contents.
// A binary has no users of its API; `pub` marks what other rooms use.
#![allow(unreachable_pub)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admin;
mod agents;
mod call;
mod config;
mod house;
mod logging;
mod phone;
mod serve;
mod shutdown;
mod trunks;

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
    /// Check the configuration and the agents, and open nothing; with `--ledger`, check the books instead.
    Check(Check),
    /// Bring the database to this version.
    Migrate(Configured),
    /// Keys, passwords, operators and backups, from the shell.
    Admin {
        #[command(flatten)]
        configured: Configured,
        #[command(subcommand)]
        task: admin::Task,
    },
    /// Print the OpenAPI document.
    Openapi,
    /// The built-in test phone: call a SIP URI, speak, listen, print the conversation.
    Call(Box<phone::Options>),
}

#[derive(Debug, clap::Args)]
struct Check {
    #[command(flatten)]
    configured: Configured,
    /// Run the invariants over the database; exit 1 and name what is broken, if anything is.
    #[arg(long)]
    ledger: bool,
}

#[derive(Debug, clap::Args)]
struct Configured {
    /// The configuration file; without it, the defaults.
    #[arg(long, value_name = "FILE", global = true)]
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
            let office = control_api::Office::open()?;
            runtime.block_on(serve::serve(house, office.handle()))?;
        }
        Command::Check(Check { configured, ledger }) => {
            let house = house::House::read(configured.config.as_deref())?;
            if ledger {
                return runtime.block_on(audit(&house));
            }
            house.warnings.iter().for_each(|warning| say(warning));
            say(&format!("configuration is good: {} agents, SIP {:?}", house.agents.len(), house.checked.sip_udp));
        }
        Command::Migrate(Configured { config }) => {
            let house = house::House::read(config.as_deref())?;
            runtime.block_on(serve::open_store(&house))?;
            say("database is at this version");
        }
        Command::Admin { configured, task } => {
            let house = house::House::read(configured.config.as_deref())?;
            runtime.block_on(admin::run(&house, task))?;
        }
        Command::Openapi => say(&control_api::openapi()),
        Command::Call(options) => return Ok(runtime.block_on(phone::run(*options))?),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the invariants; what is broken goes to standard output, a line each.
async fn audit(house: &house::House) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let store = serve::open_store(house).await?;
    let broken = store.check_invariants(control_api::now_ms()).await?;
    for control_api::Broken { name, says, rows } in &broken {
        say(&format!("{name} does not hold ({says}): {}", rows.join(", ")));
    }
    if broken.is_empty() {
        say(&format!("{} invariants hold", control_api::INVARIANTS.len()));
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

/// The only place besides the test phone that writes to standard output.
#[allow(clippy::print_stdout)]
fn say(text: &str) {
    println!("{text}");
}
