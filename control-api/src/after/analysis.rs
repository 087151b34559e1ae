//! What is found out about a call (API.md §3.4).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The findings; what the agent did not ask for is absent or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct Findings {
    /// A few sentences; the first one stands alone in lists.
    pub(crate) summary: Option<String>,
    pub(crate) key_points: Vec<String>,
    /// `positive`, `neutral` or `negative`: the caller's.
    pub(crate) sentiment: Option<String>,
    /// -1 to 1.
    pub(crate) sentiment_score: Option<f64>,
    pub(crate) action_items: Vec<ActionItem>,
    pub(crate) highlights: Vec<Highlight>,
    pub(crate) topics: Vec<String>,
    /// Whether the call reached its goal; absent where that cannot be told.
    pub(crate) success: Option<bool>,
    pub(crate) success_reason: Option<String>,
    /// What the agent's schema asked for.
    #[schema(value_type = Option<Object>)]
    pub(crate) structured: Option<Value>,
    /// Whether that fits the schema.
    pub(crate) structured_valid: Option<bool>,
}

/// Something that is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ActionItem {
    pub(crate) text: String,
    /// `team` or `caller`.
    pub(crate) owner: String,
}

/// A moment worth hearing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Highlight {
    /// Since answer.
    pub(crate) at_ms: i64,
    pub(crate) text: String,
}

/// An analysis as clients read it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Analysis {
    /// 1, 2, 3 … per call.
    pub(crate) revision: i64,
    /// `queued`, `running`, `done`, `failed` or `skipped`.
    pub(crate) state: String,
    /// `rules`, or vendor and model.
    pub(crate) engine: Option<String>,
    #[serde(flatten)]
    pub(crate) findings: Findings,
    /// Why it failed, or why the rules stood in for the model.
    pub(crate) error: Option<String>,
    pub(crate) finished_at: Option<String>,
}

impl Findings {
    /// Leaves only what the agent asks for (`analysis.items`); topics come with the key points.
    pub(crate) fn keep(mut self, items: &[String]) -> Self {
        let wanted = |item: &str| items.iter().any(|wanted| wanted == item);
        if !wanted("summary") {
            self.summary = None;
        }
        if !wanted("key_points") {
            (self.key_points, self.topics) = (Vec::new(), Vec::new());
        }
        if !wanted("sentiment") {
            (self.sentiment, self.sentiment_score) = (None, None);
        }
        if !wanted("action_items") {
            self.action_items.clear();
        }
        if !wanted("highlights") {
            self.highlights.clear();
        }
        if !wanted("success") {
            (self.success, self.success_reason) = (None, None);
        }
        self
    }

    /// The first sentence of the summary, at most 200 characters.
    pub(crate) fn line(&self) -> Option<String> {
        let summary = self.summary.as_deref()?;
        let end = summary.find(". ").map_or(summary.len(), |at| at + 1);
        Some(summary[..end].chars().take(200).collect())
    }
}
