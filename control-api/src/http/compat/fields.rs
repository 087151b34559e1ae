//! The names: what a field was called, and what it is called here.

use serde_json::{Map, Value, json};

use super::table::{Alias, Family};

/// Old name and new one, as a dotted path.
type Names = &'static [(&'static str, &'static str)];

const fn names(family: Family) -> Names {
    match family {
        Family::Own | Family::Rooms => &[],
        Family::Dialler => {
            &[("phone_number", "to"), ("system_prompt", "overrides.prompt.system"), ("voice", "overrides.tts.voice")]
        }
        Family::Caller => &[("phoneNumber", "to")],
        Family::Trunks => {
            &[("number", "e164"), ("areaCode", "area_code"), ("type", "kind"), ("trunkType", "direction")]
        }
        Family::Agents => &[
            ("agentId", "agent_id"),
            ("toolId", "tool_id"),
            ("systemPrompt", "prompt.system"),
            ("voiceId", "tts.voice"),
        ],
    }
}

/// Fields whose values were written in capitals.
const WORDS: &[&str] = &["kind", "status", "direction", "carrier"];

/// The query with the canonical names. Values stay as they are escaped, but for words in capitals.
pub(super) fn query(family: Family, query: &str) -> String {
    let pairs = query.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let new = names(family).iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new);
        let folded =
            if family == Family::Trunks && WORDS.contains(&new) { value.to_ascii_lowercase() } else { value.into() };
        if pair.contains('=') { format!("{new}={folded}") } else { new.to_owned() }
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// Renames what a body says. A canonical name that is there too wins.
pub(super) fn body(alias: &Alias, body: &mut Map<String, Value>) {
    for (old, new) in names(alias.family) {
        if let Some(value) = body.remove(*old) {
            put(body, new, value);
        }
    }
    match alias.family {
        Family::Rooms => {
            body.entry("channel").or_insert(json!("web"));
        }
        Family::Trunks => {
            for word in WORDS {
                if let Some(Value::String(text)) = body.get_mut(*word) {
                    text.make_ascii_lowercase();
                }
            }
            // What kind a new number is follows from the number itself.
            if alias.to == "/api/v1/numbers" && alias.method == "POST" {
                body.remove("kind");
            }
        }
        _ => {}
    }
}

fn put(object: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            object.entry(path).or_insert(value);
        }
        Some((outer, inner)) => {
            let below = object.entry(outer).or_insert_with(|| json!({}));
            // Something else of that name: the handler says what is wrong with it.
            if let Value::Object(below) = below {
                put(below, inner, value);
            }
        }
    }
}

/// Whether answers carry old names too.
pub(super) fn adds(alias: &Alias) -> bool {
    matches!(alias.family, Family::Rooms | Family::Dialler | Family::Caller)
}

/// Adds the old names to a call, or to each of a list.
pub(super) fn answer(alias: &Alias, answer: &mut Value) {
    if let Some(Value::Array(list)) = answer.get_mut("data") {
        list.iter_mut().for_each(|one| call(alias.family, one));
    } else {
        call(alias.family, answer);
    }
}

fn call(family: Family, call: &mut Value) {
    let Some(object) = call.as_object_mut() else { return };
    let id = object.get("id").cloned().unwrap_or_default();
    match family {
        Family::Rooms => {
            object.insert("room".into(), id);
        }
        Family::Caller => {
            object.insert("callSid".into(), id);
        }
        Family::Dialler => {
            let other = if object.get("direction") == Some(&json!("inbound")) { "from" } else { "to" };
            let number = object.get(other).and_then(|end| end.get("address")).cloned().unwrap_or_default();
            let seconds = object.get("duration_ms").and_then(Value::as_i64).map(|ms| ms / 1000);
            object.insert("call_id".into(), id);
            object.insert("phone_number".into(), number);
            object.insert("duration_seconds".into(), json!(seconds));
        }
        Family::Own | Family::Trunks | Family::Agents => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_become_new_ones_and_a_new_one_that_is_there_wins() {
        let alias = |family| Alias { family, ..sample() };
        let mut dialled = json!({"phone_number": "+12125550123", "system_prompt": "Be brief.", "voice": "x", "overrides": {"tts": {"voice": "y"}}});
        body(&alias(Family::Dialler), dialled.as_object_mut().unwrap());
        assert_eq!(
            dialled,
            json!({"to": "+12125550123", "overrides": {"prompt": {"system": "Be brief."}, "tts": {"voice": "y"}}})
        );
        let mut trunk = json!({"name": "T", "trunkType": "INBOUND"});
        body(&alias(Family::Trunks), trunk.as_object_mut().unwrap());
        assert_eq!(trunk, json!({"name": "T", "direction": "inbound"}));
        let mut room = json!({"agent_id": "a"});
        body(&alias(Family::Rooms), room.as_object_mut().unwrap());
        assert_eq!(room, json!({"agent_id": "a", "channel": "web"}));
        assert_eq!(
            query(Family::Trunks, "areaCode=212&type=LOCAL&q=A%20B&flag"),
            "area_code=212&kind=local&q=A%20B&flag"
        );
    }

    #[test]
    fn answers_carry_the_old_names_beside_the_new() {
        let mut list = json!({"data": [{"id": "1", "direction": "outbound", "to": {"address": "+1"}, "duration_ms": 2500}], "next_cursor": null});
        answer(&Alias { family: Family::Dialler, ..sample() }, &mut list);
        assert_eq!(list["data"][0]["call_id"], "1");
        assert_eq!((&list["data"][0]["phone_number"], &list["data"][0]["duration_seconds"]), (&json!("+1"), &json!(2)));
    }

    fn sample() -> Alias {
        Alias {
            method: "POST",
            path: "/old",
            to_method: "POST",
            to: "/api/v1/new",
            family: Family::Own,
            of_tenant: false,
            no_content: false,
        }
    }
}
