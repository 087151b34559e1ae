//! Answers that any route may give, put into the OpenAPI document once instead of at every route.

use serde_json::{Map, Value, json};

/// Name in the document, status, and when it comes.
const SHARED: [(&str, &str, &str); 11] = [
    ("Invalid", "400", "A field or parameter is unknown or not valid; `field` names it"),
    ("Unauthenticated", "401", "There is no valid credential"),
    ("Forbidden", "403", "The credential lacks a scope; `field` names it"),
    ("NotFound", "404", "There is no such thing in this tenant"),
    ("SlowBody", "408", "The body came too slowly"),
    ("TooLarge", "413", "The body is larger than the limit"),
    ("UnsupportedMediaType", "415", "The body is of a kind that is not taken here"),
    ("IdempotencyMismatch", "422", "The Idempotency-Key was used for another request"),
    ("PreconditionRequired", "428", "This tenant asks for If-Match with the version that is to be changed"),
    ("RateLimited", "429", "Too many requests; wait as Retry-After says"),
    ("Unavailable", "503", "The store does not answer, or the node is draining; wait as Retry-After says"),
];

/// Completes the answers of every route that needs a credential, by what the route takes.
pub(super) fn complete(document: &mut Value) {
    let named = |(name, _, description): &(&str, &str, &str)| {
        let schema = json!({"$ref": "#/components/schemas/ErrorEnvelope"});
        let answer = json!({"description": description, "content": {"application/json": {"schema": schema}}});
        ((*name).to_owned(), answer)
    };
    document["components"]["responses"] = SHARED.iter().map(named).collect::<Map<_, _>>().into();
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            let guarded = operation["security"].as_array().is_some_and(|ways| !ways.is_empty());
            let body = operation.get("requestBody").is_some();
            // What can be stale must be named where the tenant asks for it.
            let versioned = operation["responses"].get("412").is_some();
            let may = |status: &str| match status {
                // A body may name things, too.
                "404" => body || path.contains('{'),
                "408" | "413" | "415" => body,
                "422" => method == "post",
                "428" => versioned && method != "post",
                _ => true,
            };
            let Some(answers) = operation["responses"].as_object_mut().filter(|_| guarded) else { continue };
            for (name, status, _) in SHARED.iter().filter(|(_, status, _)| may(status)) {
                let shared = json!({"$ref": format!("#/components/responses/{name}")});
                answers.entry(*status).or_insert(shared);
            }
        }
    }
}
