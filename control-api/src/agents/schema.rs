//! The agent's JSON schema in the API document.

use domain::AgentSpec;
use serde_json::{Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

/// An agent (API.md §2).
pub(crate) struct Agent;

impl PartialSchema for Agent {
    fn schema() -> RefOr<Schema> {
        let mut schema = AgentSpec::schema();
        let text = |about: &str| json!({"type": "string", "readOnly": true, "description": about});
        for (name, about) in [
            ("id", text("uuid")),
            ("tenant_id", text("uuid")),
            ("version", json!({"type": "integer", "readOnly": true, "description": "Of the document; also the ETag"})),
            ("created_at", text("RFC 3339")),
            ("updated_at", text("RFC 3339")),
            (
                "warnings",
                json!({"type": "array", "readOnly": true, "description": "What is accepted and not as one may expect",
                    "items": {"type": "object", "properties": {"field": {"type": "string"}, "message": {"type": "string"}}}}),
            ),
            (
                "version_note",
                json!({"type": "string", "writeOnly": true, "description": "Why; at most 200 characters"}),
            ),
        ] {
            schema["properties"][name] = about;
        }
        of(schema)
    }
}

impl ToSchema for Agent {}

fn of(schema: Value) -> RefOr<Schema> {
    serde_json::from_value(schema).map_or_else(|_| RefOr::T(Schema::default()), RefOr::T)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_fields_with_their_limits() {
        let RefOr::T(schema) = Agent::schema() else { panic!("a reference") };
        let shown = serde_json::to_value(schema).unwrap();
        let wait = &shown["properties"]["turn"]["properties"]["end"]["properties"]["silence_ms"];
        assert_eq!((wait["maximum"].as_f64(), wait["default"].as_i64()), (Some(5000.0), Some(500)));
    }
}
