//! The job `call.analyze`: asks the model, or lets the rules speak, and writes all that follows in one transaction.

use domain::{CallId, event::Name};

use super::{
    analysis::Analysis,
    keep,
    model::{AnalysisSettings, Model, Trouble},
    revisions::{self, ANALYZE, Wishes},
    rules::{self, Contact},
    talk::Talk,
};
use crate::{
    BoxFuture, NodeKey, Outward, Store,
    jobs::{Context, Fault, Handler, Job},
    journal, leads,
    time::rfc3339,
};

/// Analyses calls.
pub struct Analyst {
    settings: AnalysisSettings,
    client: reqwest::Client,
    tenants: Option<(Outward, NodeKey)>,
}

impl Analyst {
    /// Nothing is connected yet. `tenants` opens the credentials that agents name, and leads to where those say.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(settings: AnalysisSettings, tenants: Option<(Outward, NodeKey)>) -> Result<Self, reqwest::Error> {
        // The process has one TLS backend; whoever needs it first installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self { settings, client: reqwest::Client::builder().build()?, tenants })
    }
}

impl std::fmt::Debug for Analyst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Analyst").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Handler for Analyst {
    fn kind(&self) -> &'static str {
        ANALYZE
    }

    fn run<'a>(&'a self, context: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let call: Option<CallId> = job.payload["call_id"].as_str().and_then(|id| id.parse().ok());
            let (Some(call), Some(revision)) = (call, job.payload["revision"].as_i64()) else {
                return Err(Fault::Never("no call named".into()));
            };
            let store = &context.store;
            let Some(mut talk) = store.talk(call).await? else { return Ok(()) };
            if !revisions::begin(store, call, revision).await? {
                return Ok(());
            }
            let wishes: Wishes = serde_json::from_value(job.payload["wishes"].clone()).unwrap_or_default();
            wishes.apply(&mut talk);
            let last = job.attempt >= job.max_attempts;
            let (mut analysis, contact) = match self.look(store, &talk, last).await {
                Ok(found) => found,
                Err(why) => return Err(Fault::Again(why)),
            };
            let now = context.clock.now_ms();
            analysis.revision = revision;
            analysis.finished_at = Some(rfc3339(now));
            write(store, &talk, &analysis, contact.as_ref(), now).await?;
            Ok(())
        })
    }
}

impl Analyst {
    /// What can be found out now; an error is worth another attempt.
    async fn look(&self, store: &Store, talk: &Talk, last: bool) -> Result<(Analysis, Option<Contact>), String> {
        let by_rules = |error: Option<String>| {
            let contact = talk.agent.leads.enabled.then(|| rules::contact(talk, &talk.agent.leads.fields));
            (analysis("rules".into(), rules::findings(talk).keep(&talk.agent.analysis.items), error), contact)
        };
        let found = match Model::of(&self.settings, &self.client, self.tenants.as_ref(), store, talk).await {
            Ok(None) => return Ok(by_rules(None)),
            Ok(Some(model)) => model.findings(talk).await.map(|found| (model, found)),
            Err(trouble) => Err(trouble),
        };
        match found {
            Ok((model, (findings, contact))) => {
                Ok((analysis(model.engine(), findings.keep(&talk.agent.analysis.items), None), contact))
            }
            Err(Trouble { why, passing: true }) if !last => Err(why),
            // Better what rules can tell than nothing; the analysis says who spoke and why.
            Err(Trouble { why, .. }) => Ok(by_rules(Some(why))),
        }
    }
}

fn analysis(engine: String, findings: super::analysis::Findings, error: Option<String>) -> Analysis {
    Analysis { revision: 0, state: "done".into(), engine: Some(engine), findings, error, finished_at: None }
}

async fn write(
    store: &Store,
    talk: &Talk,
    analysis: &Analysis,
    contact: Option<&Contact>,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    let mut tx = store.begin().await?;
    if revisions::finish(&mut tx, talk.call, analysis, now_ms).await? {
        if let Some(contact) = contact {
            leads::capture(&mut tx, talk, contact, analysis, now_ms).await?;
        }
        if talk.agent.recording.retention_days == Some(0) {
            keep::analysed(&mut tx, talk.call, now_ms).await?;
        }
        let data = serde_json::to_value(analysis).unwrap_or_default();
        journal::tell(&mut tx, talk.call, Name::CallAnalyzed, data, now_ms).await?;
    }
    tx.commit().await?;
    store.ring();
    Ok(())
}
