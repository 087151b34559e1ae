//! Checks a flow before it is stored: targets, ways out, a path to an end, conditions, keys.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::Flow;
use super::spec::{ExpectSpec, FlowSpec, Kind, Node};
use super::{condition, template};

/// At most so many states.
const STATES: usize = 200;
const BUILTIN: [&str; 5] = ["caller_id", "offer", "offers", "error", "result"];

/// Why a flow cannot be used, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", .state.as_ref().map(|s| format!("state {s}: ")).unwrap_or_default())]
pub struct FlowError {
    /// The state that is at fault; `None` if it is the whole.
    pub state: Option<String>,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a flow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// It does not have the shape of a flow.
    #[error("{0}")]
    Shape(String),
    /// More states than allowed.
    #[error("more than 200 states")]
    TooLarge,
    /// A target that no state has as its name.
    #[error("{edge} leads to {target}, which does not exist")]
    Target {
        /// The member that names it.
        edge: String,
        /// The name.
        target: String,
    },
    /// Neither an end nor any way on.
    #[error("it has no way out")]
    NoWayOut,
    /// No path leads from the start to an end.
    #[error("the start reaches no end")]
    NoEnd,
    /// States follow each other in a circle without waiting for anything.
    #[error("it comes back to itself without waiting for anything")]
    Circle,
    /// An intent that nothing follows from, or an `on` that no intent has.
    #[error("intent {0} has no counterpart in on and intents")]
    Intent(String),
    /// A key that no telephone has, or two meanings that exclude each other.
    #[error("{0}")]
    Expect(String),
    /// A condition that cannot be read.
    #[error("condition: {0}")]
    Condition(String),
    /// A variable in a text that nothing sets.
    #[error("variable {0} is set nowhere")]
    Variable(String),
}

fn at(state: &str, reason: Reason) -> FlowError {
    FlowError { state: Some(state.to_owned()), reason }
}

/// All edges of a state, as (member, target).
fn edges(node: &Node) -> Vec<(String, &str)> {
    let mut out: Vec<(String, &str)> = Vec::new();
    out.extend(node.on.iter().map(|(name, target)| (format!("on.{name}"), target.as_str())));
    out.extend(node.go.iter().map(|target| ("go".to_owned(), target.as_str())));
    out.extend(node.on_error.iter().map(|target| ("on_error".to_owned(), target.as_str())));
    for (name, ladder) in [("no_input", &node.no_input), ("no_match", &node.no_match)] {
        if let Some(target) = ladder.as_ref().and_then(|ladder| ladder.go.as_deref()) {
            out.push((format!("{name}.go"), target));
        }
    }
    out.extend(node.when.iter().map(|when| ("when".to_owned(), when.go.as_str())));
    out
}

pub(crate) fn compile(flow: &Json) -> Result<Flow, FlowError> {
    let whole = |reason| FlowError { state: None, reason };
    let states = flow.get("states").and_then(Json::as_object);
    if states.is_some_and(|states| states.len() > STATES) {
        return Err(whole(Reason::TooLarge));
    }
    // Each state by itself first, so that a fault of shape names its state.
    for (name, state) in states.into_iter().flatten() {
        serde_json::from_value::<Node>(state.clone()).map_err(|e| at(name, Reason::Shape(e.to_string())))?;
    }
    let spec: FlowSpec = serde_json::from_value(flow.clone()).map_err(|e| whole(Reason::Shape(e.to_string())))?;
    if !spec.states.contains_key(&spec.start) {
        return Err(whole(Reason::Target { edge: "start".to_owned(), target: spec.start.clone() }));
    }
    for (word, target) in &spec.globals {
        if word != "operator" && word != "goodbye" {
            return Err(whole(Reason::Shape(format!("globals.{word}: only operator and goodbye exist"))));
        }
        if !spec.states.contains_key(target) {
            return Err(whole(Reason::Target { edge: format!("globals.{word}"), target: target.clone() }));
        }
    }
    for (name, node) in &spec.states {
        check_node(&spec, node).map_err(|reason| at(name, reason))?;
    }
    check_circles(&spec)?;
    if !reaches_end(&spec) {
        return Err(whole(Reason::NoEnd));
    }
    Ok(Flow { spec })
}

fn check_node(spec: &FlowSpec, node: &Node) -> Result<(), Reason> {
    let edges = edges(node);
    for (edge, target) in &edges {
        if !spec.states.contains_key(*target) {
            return Err(Reason::Target { edge: edge.clone(), target: (*target).to_owned() });
        }
    }
    if !node.end && edges.is_empty() {
        return Err(Reason::NoWayOut);
    }
    if node.tool.is_some() && node.expect.is_some() {
        return Err(Reason::Expect("a state runs a tool or expects an answer, not both".to_owned()));
    }
    if node.confirm.is_some() && node.set.is_none() {
        return Err(Reason::Expect("confirm wants set".to_owned()));
    }
    for when in &node.when {
        condition::parse(&when.r#if)?;
    }
    match &node.expect {
        Some(expect) => check_expect(node, expect)?,
        None if node.set.is_some() || !node.on.is_empty() => {
            return Err(Reason::Expect("set and on want expect".to_owned()));
        }
        // Without an expectation only these lead on.
        None if !node.end && node.tool.is_none() && node.go.is_none() => return Err(Reason::NoWayOut),
        None => {}
    }
    check_variables(spec, node)
}

fn check_expect(node: &Node, expect: &ExpectSpec) -> Result<(), Reason> {
    for key in expect.menu.keys() {
        if key.len() != 1 || !key.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Reason::Expect(format!("menu: {key} is not one of the keys 0 to 9")));
        }
    }
    match expect.kind {
        Kind::Intent | Kind::Menu => {
            let known: BTreeSet<&str> = expect.intents.keys().chain(expect.menu.values()).map(String::as_str).collect();
            if known.is_empty() {
                return Err(Reason::Expect("no intents".to_owned()));
            }
            if let Some(name) = known.iter().find(|n| !node.on.contains_key(**n) && node.go.is_none()) {
                return Err(Reason::Intent((*name).to_owned()));
            }
            if let Some(name) = node.on.keys().find(|n| !known.contains(n.as_str())) {
                return Err(Reason::Intent(name.clone()));
            }
        }
        Kind::YesNo => {
            if let Some(name) = node.on.keys().find(|n| *n != "yes" && *n != "no") {
                return Err(Reason::Intent(name.clone()));
            }
            if node.go.is_none() && !(node.on.contains_key("yes") && node.on.contains_key("no")) {
                return Err(Reason::NoWayOut);
            }
        }
        _ if node.go.is_none() => return Err(Reason::NoWayOut),
        _ => {}
    }
    let (min, max) = (expect.min.unwrap_or(1), expect.max.unwrap_or(32));
    if min == 0 || min > max || max > 64 {
        return Err(Reason::Expect("digits: 1 ≤ min ≤ max ≤ 64".to_owned()));
    }
    Ok(())
}

/// Variables of the flow must be set somewhere; those of the agent and the call are not known here, so a `vars.` prefix makes the claim.
fn check_variables(spec: &FlowSpec, node: &Node) -> Result<(), Reason> {
    let set: BTreeSet<&str> = spec
        .states
        .values()
        .flat_map(|node| node.set.iter().chain(node.r#let.keys()))
        .chain(spec.vars.keys())
        .map(String::as_str)
        .chain(BUILTIN)
        .collect();
    let texts = node.say.iter().chain(node.confirm.as_deref());
    for text in texts.filter(|text| text.contains("vars.")) {
        for name in template::names(text) {
            if text.contains(&format!("vars.{name}")) && !set.contains(name) {
                return Err(Reason::Variable(name.to_owned()));
            }
        }
    }
    Ok(())
}

/// States that are passed through must not form a circle.
fn check_circles(spec: &FlowSpec) -> Result<(), FlowError> {
    // 1 = on the current path, 2 = done.
    fn visit<'s>(spec: &'s FlowSpec, name: &'s str, seen: &mut BTreeMap<&'s str, u8>) -> Result<(), FlowError> {
        match seen.get(name) {
            Some(1) => return Err(at(name, Reason::Circle)),
            Some(_) => return Ok(()),
            None => {}
        }
        seen.insert(name, 1);
        if let Some(node) = spec.states.get(name) {
            let through = node.go.as_deref().filter(|_| node.expect.is_none() && node.tool.is_none());
            for target in node.when.iter().map(|when| when.go.as_str()).chain(through) {
                visit(spec, target, seen)?;
            }
        }
        seen.insert(name, 2);
        Ok(())
    }
    let mut seen = BTreeMap::new();
    spec.states.keys().try_for_each(|name| visit(spec, name, &mut seen))
}

fn reaches_end(spec: &FlowSpec) -> bool {
    let mut open = vec![spec.start.as_str()];
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        if !seen.insert(name) {
            continue;
        }
        let Some(node) = spec.states.get(name) else { continue };
        if node.end {
            return true;
        }
        open.extend(edges(node).into_iter().map(|(_, target)| target));
    }
    false
}
