//! After the call: its analysis, by a model or by rules, and what follows from it: a lead, mails, an event.
//!
//! `call.ended` leaves a row and a job; the job finds out and writes everything in one transaction. A later request makes a further
//! revision; what lists show is always the newest that is done.

pub(crate) mod analysis;
mod analyst;
mod keep;
mod model;
mod revisions;
mod rules;
pub(crate) mod schema;
mod talk;

use std::sync::Arc;

use domain::{AgentSpec, CallId};
use serde_json::Value;
use sqlx::{AnyConnection, Row as _};

pub(crate) use analysis::Analysis;
pub use analyst::Analyst;
pub use keep::Purge;
pub(crate) use keep::{PURGE, PURGE_EVERY_MS, delete as delete_recordings};
pub use model::AnalysisSettings;
pub(crate) use revisions::{Wishes, ask};
pub(crate) use rules::Contact;
pub(crate) use talk::Talk;

use crate::{
    BoxFuture, Exporter, FilesSettings, NodeKey, Outward,
    archive::{self, Archive, Discard, OGG_OPUS, Upload, Ways},
    jobs::Handler,
    mail::{GatewayError, MailSettings, Sender},
    outbox::{Consumer, Published},
};

/// How the work after calls is set up.
#[derive(Clone, Debug)]
pub struct AfterSettings {
    /// The operator's model.
    pub analysis: AnalysisSettings,
    /// Who carries mail.
    pub mail: MailSettings,
    /// Where exports lie.
    pub files: FilesSettings,
    /// Where recordings lie.
    pub recordings: Archive,
    /// What opens the credentials that agents name and leads to where those say; without it their analyses wait.
    pub tenants: Option<(Outward, NodeKey)>,
}

impl Default for AfterSettings {
    /// Without a model, without mail, with everything in `var`.
    fn default() -> Self {
        Self {
            analysis: AnalysisSettings::default(),
            mail: MailSettings::default(),
            files: FilesSettings::default(),
            recordings: Archive::from(std::path::PathBuf::from("var/recordings")),
            tenants: None,
        }
    }
}

/// The handlers of the work after calls.
///
/// # Errors
/// Names the setting that cannot be used.
pub fn after_call(settings: &AfterSettings) -> Result<Vec<Arc<dyn Handler>>, GatewayError> {
    let mut handlers: Vec<Arc<dyn Handler>> = vec![
        Arc::new(Sender::new(&settings.mail)?),
        Arc::new(Analyst::new(settings.analysis.clone(), settings.tenants.clone())?),
        Arc::new(Exporter::new(&settings.files)),
        Arc::new(Purge::new(settings.recordings.clone(), &settings.files)),
        Arc::new(Discard(settings.recordings.clone())),
    ];
    if settings.recordings.target().is_some() {
        handlers.push(Arc::new(Upload(settings.recordings.clone())));
    }
    Ok(handlers)
}

/// The consumer that leaves an analysis for each call that was answered, dates its recording, and leaves what becomes of that one here.
pub(crate) struct Ended(pub(crate) Ways);

impl Consumer for Ended {
    fn name(&self) -> &'static str {
        "after"
    }

    fn take<'a>(
        &'a self,
        tx: &'a mut AnyConnection,
        events: &'a [Published],
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(async move {
            for published in events {
                let Some(call) = published.event.call_id.as_deref().and_then(|call| call.parse::<CallId>().ok()) else {
                    continue;
                };
                match published.event.kind.as_str() {
                    "call.ended" if published.event.data.get("answered_at").is_some_and(|at| !at.is_null()) => {
                        first(tx, call).await?;
                    }
                    "call.recording.ready" => {
                        let agent = keep::date(tx, call).await?;
                        let ogg = agent.is_some_and(|agent| agent.recording.format == OGG_OPUS);
                        let ways = Ways { encodes: self.0.encodes && ogg, ..self.0 };
                        archive::leave(tx, &call.to_string(), ways).await?;
                    }
                    _ => {}
                }
            }
            Ok(())
        })
    }
}

/// The first analysis of a call, if its agent wants one. Calls without an agent (an echo) have none.
async fn first(tx: &mut AnyConnection, call: CallId) -> Result<(), sqlx::Error> {
    let row = sqlx::query("SELECT config, turns FROM calls WHERE id = $1")
        .bind(call.to_string())
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else { return Ok(()) };
    let Some(agent) = agent(row.try_get("config")?) else { return Ok(()) };
    if agent.analysis.enabled {
        let turns: i64 = row.try_get("turns")?;
        let enough = turns >= i64::try_from(agent.analysis.min_turns).unwrap_or(0);
        revisions::first(tx, call, enough).await?;
    }
    Ok(())
}

/// The agent as it ran.
fn agent(config: Option<String>) -> Option<AgentSpec> {
    let document: Value = serde_json::from_str(&config?).ok()?;
    // What an earlier version stored and this one does not know leaves the defaults.
    Some(AgentSpec::read(&document).unwrap_or_default())
}
