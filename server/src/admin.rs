//! `sidetone admin`: what the operator does from a shell.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Subcommand;

use crate::house::House;
use crate::serve;

type Failure = Box<dyn std::error::Error>;

/// The operator's commands. They need the database, not a running server.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Make an API key with every scope, and print it this once.
    Key {
        /// The tenant's slug.
        #[arg(long, default_value = "default")]
        tenant: String,
        /// What the key is for.
        #[arg(long, default_value = "shell")]
        name: String,
    },
    /// Give a user a password, read from the terminal or from standard input. Their sessions end.
    Password {
        /// The user's e-mail address.
        email: String,
    },
    /// Make a user an operator of the platform.
    Operator {
        /// The user's e-mail address.
        email: String,
        /// Take it from them instead.
        #[arg(long)]
        remove: bool,
    },
    /// Write a whole copy of the database to a new file, while calls go on (SQLite: VACUUM INTO; PostgreSQL: pg_dump -Fc).
    Backup {
        /// The file; it must not exist.
        file: PathBuf,
    },
}

/// Does it.
///
/// # Errors
/// What went wrong, in one line.
pub async fn run(house: &House, task: Task) -> Result<(), Failure> {
    let store = serve::open_store(house).await?;
    match task {
        Task::Key { tenant, name } => crate::say(&store.admin_key(&tenant, &name).await?),
        Task::Password { email } => {
            store.admin_password(&email, ask(&format!("New password for {email}: "))?).await?;
            crate::say("the password is set");
        }
        Task::Operator { email, remove } => {
            store.admin_operator(&email, !remove).await?;
            crate::say(if remove { "no operator any more" } else { "an operator of the platform now" });
        }
        Task::Backup { file } => {
            store.backup(&house.config.store.url, &file).await?;
            crate::say(&format!(
                "backup written to {}; the seal key and the recordings are not in it, keep copies of them too",
                file.display()
            ));
        }
    }
    store.close().await;
    Ok(())
}

/// A line of standard input, unseen if it is typed.
fn ask(prompt: &str) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    let typed = stdin.is_terminal();
    if typed {
        let mut stderr = std::io::stderr();
        write!(stderr, "{prompt}")?;
        stderr.flush()?;
        echo(false);
    }
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    if typed {
        echo(true);
        writeln!(std::io::stderr())?;
    }
    read?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// Whether the terminal shows what is typed. Without `stty` it does; the password is set either way.
fn echo(on: bool) {
    let flag = if on { "echo" } else { "-echo" };
    let _ = Command::new("stty").arg(flag).stdin(Stdio::inherit()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}
