//! What an agent's tool `collect_lead` stores while the call goes on.

use domain::{AgentId, CallId, TenantId};
use serde_json::{Map, Value};

use super::capture::{Of, keep};
use crate::{Store, after::Contact};

/// Fields of one lead at most.
const FIELDS: usize = 40;

impl Store {
    /// Keeps what the caller said of themselves: a new lead, or the gaps of the one that they are already; with its event.
    ///
    /// # Errors
    /// The store failed: nothing is kept.
    pub async fn collect_lead(
        &self,
        tenant: TenantId,
        livemode: bool,
        call: CallId,
        agent: Option<AgentId>,
        said: Map<String, Value>,
    ) -> Result<(), sqlx::Error> {
        let (call, agent) = (call.to_string(), agent.map(|agent| agent.to_string()));
        let of = Of { tenant, livemode, call: &call, agent: agent.as_deref() };
        let mut tx = self.begin().await?;
        keep(&mut tx, &of, &contact(said)).await?;
        tx.commit().await
    }
}

fn contact(said: Map<String, Value>) -> Contact {
    let mut contact = Contact::default();
    for (name, value) in said {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text,
            other => other.to_string(),
        };
        let cut =
            |most: usize| Some(text.trim().chars().take(most).collect::<String>()).filter(|text| !text.is_empty());
        match name.as_str() {
            "name" => contact.name = cut(200),
            "email" => contact.email = cut(254).map(|email| email.to_lowercase()).filter(|email| email.contains('@')),
            "phone" => contact.phone = cut(40),
            "business_type" => contact.business_type = cut(200),
            _ if contact.fields.len() < FIELDS => {
                let name = name.chars().take(100).collect();
                contact.fields.extend(cut(2_000).map(|text| (name, text)));
            }
            _ => {}
        }
    }
    contact
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn known_names_have_their_place_and_others_become_fields() {
        let said = json!({"name": " Ann ", "email": "Ann@Example.com", "phone": null, "budget": 5000, "note": " "});
        let contact = contact(said.as_object().unwrap().clone());
        assert_eq!((contact.name.as_deref(), contact.email.as_deref()), (Some("Ann"), Some("ann@example.com")));
        assert_eq!((contact.phone, contact.fields), (None, [("budget".to_owned(), "5000".to_owned())].into()));
    }
}
