//! One step of a flow: what was heard changes a copy of the state and says what comes next.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::spec::{ExpectSpec, Kind, Ladder, Node};
use super::state::{FlowState, Phase, Value};
use super::values::{Answer, digit_range, from_keys, from_words};
use super::words::{Global, global, tokens};
use super::{
    Expect, Facts, FieldKind, Flow, Heard, KeyRule, Step, ToolCall, condition, grammar, numbers, template, when,
};
use crate::stt::Hints;

const CALLER_ID: &str = "Shall we use the number you are calling from?";
const GOODBYE: &str = "Goodbye.";
/// More states than this are never passed through in one step.
const HOPS: usize = 256;

pub(crate) fn start(flow: &Flow, facts: &Facts) -> (FlowState, Step) {
    let vars = flow.spec.vars.iter().filter_map(|(name, value)| Some((name.clone(), value_of(value)?))).collect();
    let state = FlowState {
        node: flow.spec.start.clone(),
        phase: Phase::Ask,
        vars,
        early: Vec::new(),
        misses: 0,
        tools: 0,
        last: Vec::new(),
        facts: facts.clone(),
    };
    let mut walk = Walk::new(flow, state);
    walk.enter(&flow.spec.start);
    walk.finish()
}

pub(crate) fn step(flow: &Flow, state: &FlowState, heard: &Heard) -> (FlowState, Step) {
    let mut walk = Walk::new(flow, state.clone());
    match heard {
        _ if state.over() => {}
        Heard::ToolResult { id, ok, text } => walk.tool_result(id, *ok, text),
        // While a tool runs nothing else is an answer.
        _ if matches!(state.phase, Phase::Tool { .. }) => {}
        Heard::Words(text) => walk.words(text),
        Heard::Keys(keys) => walk.keys(keys),
        Heard::NoInput(n) => walk.no_input(*n),
    }
    walk.finish()
}

fn value_of(json: &Json) -> Option<Value> {
    match json {
        Json::Null => None,
        Json::String(text) => Some(Value::Text(text.clone())),
        other => Some(Value::Text(other.to_string())),
    }
}

struct Walk<'f> {
    flow: &'f Flow,
    state: FlowState,
    say: Vec<String>,
    tool: Option<ToolCall>,
}

impl<'f> Walk<'f> {
    fn new(flow: &'f Flow, state: FlowState) -> Self {
        Walk { flow, state, say: Vec::new(), tool: None }
    }

    fn node(&self) -> Option<&'f Node> {
        self.flow.spec.states.get(&self.state.node)
    }

    fn finish(mut self) -> (FlowState, Step) {
        self.say.retain(|line| !line.is_empty());
        if !self.say.is_empty() {
            self.state.last = self.say.clone();
        }
        let step = Step { expect: self.expect(), say: self.say, tool: self.tool, end: self.state.phase == Phase::Over };
        (self.state, step)
    }

    /// What the caller is expected to answer now.
    fn expect(&self) -> Expect {
        let Some(expect) = self.node().and_then(|node| node.expect.as_ref()) else { return Expect::default() };
        let yes_no = || Expect {
            field: FieldKind::YesNo,
            hints: hints(grammar::yes_no(), ["yes", "no"].map(str::to_owned).to_vec()),
            keys: Some(KeyRule { min: 1, max: 1, menu: b"120*".to_vec() }),
        };
        match self.state.phase {
            Phase::Over | Phase::Tool { .. } => Expect::default(),
            Phase::CallerId | Phase::Confirm => yes_no(),
            _ if expect.kind == Kind::YesNo => yes_no(),
            Phase::Ask | Phase::Half { .. } => {
                let (min, max) = digit_range(expect);
                let phrases = match expect.kind {
                    Kind::Intent | Kind::Menu => expect.intents.values().flatten().cloned().collect(),
                    Kind::Name => expect.list.clone(),
                    _ => Vec::new(),
                };
                Expect {
                    field: match expect.kind {
                        Kind::Intent | Kind::Menu => FieldKind::Choice,
                        Kind::YesNo => FieldKind::YesNo,
                        Kind::Digits => FieldKind::Digits { min, max },
                        Kind::DateTime => FieldKind::DateTime,
                        Kind::Name => FieldKind::Name,
                        Kind::Email => FieldKind::Email,
                        Kind::Phone => FieldKind::Phone,
                        Kind::Free => FieldKind::Open,
                    },
                    hints: hints(grammar::for_expect(&self.flow.spec, expect), phrases),
                    keys: Some(key_rule(expect, (min, max))),
                }
            }
        }
    }

    /// Goes into a state, and on from there as long as nothing has to be waited for.
    fn enter(&mut self, name: &str) {
        let mut name = name;
        for _ in 0..HOPS {
            let Some(node) = self.flow.spec.states.get(name) else { break };
            self.state.node = name.to_owned();
            self.state.phase = Phase::Ask;
            self.state.misses = 0;
            for (variable, text) in &node.r#let {
                let value = self.assigned(text);
                match value {
                    Some(value) => self.state.vars.insert(variable.clone(), value),
                    None => self.state.vars.remove(variable),
                };
            }
            let jump = node
                .when
                .iter()
                .find(|when| condition::parse(&when.r#if).is_ok_and(|expr| expr.holds(&|name| self.plain(name))));
            if let Some(when) = jump {
                name = &when.go;
                continue;
            }
            if let Some(tool) = &node.tool {
                let arguments = match &tool.args {
                    Some(args) => template::fill_json(args, &|name| self.plain(name)),
                    None => Json::Object(
                        self.state
                            .vars
                            .iter()
                            .map(|(k, v)| (k.clone(), Json::String(v.plain())))
                            .collect::<Map<_, _>>(),
                    ),
                };
                self.lines(tool.say.iter());
                self.state.tools += 1;
                let id = format!("flow-{}", self.state.tools);
                self.state.phase = Phase::Tool { id: id.clone() };
                self.tool = Some(ToolCall { id, name: tool.name.clone(), arguments });
                return;
            }
            if let Some(expect) = &node.expect {
                if let Some(value) = self.take_early(node) {
                    self.given(node, value);
                } else if expect.kind == Kind::Phone && self.caller_number().is_some() {
                    self.state.phase = Phase::CallerId;
                    self.say.push(CALLER_ID.to_owned());
                } else {
                    self.ask(node);
                }
                return;
            }
            self.lines(node.say.iter());
            if node.end {
                self.state.phase = Phase::Over;
                return;
            }
            let Some(next) = &node.go else { break };
            name = next;
        }
        self.goodbye();
    }

    fn goodbye(&mut self) {
        self.say.push(GOODBYE.to_owned());
        self.state.phase = Phase::Over;
    }

    fn caller_number(&self) -> Option<&str> {
        let number = self.state.facts.caller_number.as_deref()?;
        (number.bytes().filter(u8::is_ascii_digit).count() >= 7).then_some(number)
    }

    /// A value that was given before its state asked for it.
    fn take_early(&mut self, node: &Node) -> Option<Value> {
        let variable = node.set.as_ref()?;
        let at = self.state.early.iter().position(|name| name == variable)?;
        self.state.early.remove(at);
        self.state.vars.get(variable).cloned()
    }

    fn words(&mut self, text: &str) {
        let heard = tokens(text);
        let Some(node) = self.node() else { return };
        let Some(expect) = &node.expect else { return };
        if let Some(command) = global(&heard).filter(|_| !self.is_own_choice(expect, &heard)) {
            return self.command(command);
        }
        let now = self.state.facts.now;
        match self.state.phase.clone() {
            Phase::CallerId | Phase::Confirm => match super::words::yes_no(&heard) {
                Some(yes) => self.decide(node, yes, Some((&heard, text))),
                None => match from_words(expect, &heard, text, now, when::Spoken::default()) {
                    // Saying it again is an answer, too; free words are not, they always fit.
                    Answer::Given(value) if !matches!(expect.kind, Kind::Name | Kind::Free) => self.given(node, value),
                    _ => self.miss(node),
                },
            },
            phase => {
                let before = match phase {
                    Phase::Half { day, clock } => when::Spoken { day, clock },
                    _ => when::Spoken::default(),
                };
                let answer = from_words(expect, &heard, text, now, before);
                if let Answer::Choice(_) = answer {
                    self.fill_early(&heard);
                }
                self.answer(node, answer);
            }
        }
    }

    /// A word like "operator" may be one of the state's own intents; then its own meaning counts.
    fn is_own_choice(&self, expect: &ExpectSpec, heard: &[String]) -> bool {
        matches!(expect.kind, Kind::Intent | Kind::Menu)
            && self.state.phase == Phase::Ask
            && super::words::intent(heard, &expect.intents).is_some()
    }

    /// "Book an appointment for Tuesday at ten" answers a later question already.
    fn fill_early(&mut self, heard: &[String]) {
        let now = self.state.facts.now;
        let Some(at) = when::parse(heard, now).resolve(now) else { return };
        let wanted = self.flow.spec.states.values().find_map(|node| {
            let dated = node.expect.as_ref().is_some_and(|e| e.kind == Kind::DateTime);
            node.set.as_ref().filter(|_| dated)
        });
        if let Some(variable) = wanted {
            self.state.vars.insert(variable.clone(), Value::At(at));
            self.state.early.push(variable.clone());
        }
    }

    fn keys(&mut self, keys: &str) {
        let Some(node) = self.node() else { return };
        let Some(expect) = &node.expect else { return };
        let keys = keys.trim_end_matches('#');
        let yes_no_phase = matches!(self.state.phase, Phase::CallerId | Phase::Confirm);
        if keys == "*" {
            return self.command(Global::Repeat);
        }
        if keys == "0" && (yes_no_phase || !expect.menu.contains_key("0")) {
            return self.command(Global::Operator);
        }
        if yes_no_phase {
            return match (keys, digit_range(expect)) {
                ("1", _) => self.decide(node, true, None),
                ("2", _) => self.decide(node, false, None),
                // Another number, keyed at once.
                (_, (min, _)) if expect.kind == Kind::Phone && keys.len() >= usize::from(min) => {
                    self.answer(node, from_keys(expect, keys, self.state.facts.now))
                }
                _ => self.miss(node),
            };
        }
        self.answer(node, from_keys(expect, keys, self.state.facts.now));
    }

    fn answer(&mut self, node: &'f Node, answer: Answer) {
        match answer {
            Answer::Choice(choice) => {
                if let Some(variable) = &node.set {
                    self.state.vars.insert(variable.clone(), Value::Text(choice.clone()));
                }
                self.follow(node, node.on.get(&choice).or(node.go.as_ref()));
            }
            Answer::Given(value) => self.given(node, value),
            Answer::Half(spoken) => {
                let now = self.state.facts.now;
                self.say.push(match spoken.day {
                    Some(day) => format!("What time {}?", when::say_day(day, now)),
                    None => "On which day?".to_owned(),
                });
                self.state.phase = Phase::Half { day: spoken.day, clock: spoken.clock };
            }
            Answer::None => self.miss(node),
        }
    }

    /// A value has been given: read it back, or go on.
    fn given(&mut self, node: &'f Node, value: Value) {
        if let Some(variable) = &node.set {
            self.state.vars.insert(variable.clone(), value);
        }
        self.state.misses = 0;
        match &node.confirm {
            Some(text) => {
                self.state.phase = Phase::Confirm;
                self.lines([text.as_str()].into_iter());
            }
            None => self.follow(node, node.go.as_ref()),
        }
    }

    /// Yes or no to the caller's number or to a value read back.
    fn decide(&mut self, node: &'f Node, yes: bool, said: Option<(&[String], &str)>) {
        match (&self.state.phase, yes) {
            (Phase::CallerId, true) => {
                let digits: String =
                    self.caller_number().unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
                if let Some(variable) = &node.set {
                    self.state.vars.insert(variable.clone(), Value::Digits(digits));
                }
                self.follow(node, node.go.as_ref());
            }
            (Phase::CallerId, false) => {
                self.state.phase = Phase::Ask;
                self.ask(node);
            }
            (_, true) => self.follow(node, node.on.get("yes").or(node.go.as_ref())),
            (_, false) => {
                let expect = node.expect.as_ref();
                // "No, Wednesday at ten" corrects at once.
                let corrected = said.zip(expect.filter(|e| e.kind == Kind::DateTime)).map(|((heard, text), expect)| {
                    from_words(expect, heard, text, self.state.facts.now, when::Spoken::default())
                });
                if let Some(variable) = &node.set {
                    self.state.vars.remove(variable);
                }
                self.state.phase = Phase::Ask;
                match corrected {
                    Some(answer @ (Answer::Given(_) | Answer::Half(_))) => self.answer(node, answer),
                    _ => {
                        self.say.push("Sorry, let us try again.".to_owned());
                        self.ask(node);
                    }
                }
            }
        }
    }

    fn follow(&mut self, node: &Node, target: Option<&'f String>) {
        match target.or(node.go.as_ref().and_then(|go| self.flow.spec.states.get_key_value(go)).map(|(name, _)| name)) {
            Some(target) => self.enter(target),
            None => self.goodbye(),
        }
    }

    fn command(&mut self, command: Global) {
        match command {
            Global::Repeat => {
                let last = self.state.last.clone();
                match (last.is_empty(), self.node()) {
                    (true, Some(node)) => self.help(node),
                    _ => self.say = last,
                }
            }
            Global::Operator => match self.global_target("operator", "human") {
                Some(target) => self.enter(target),
                None => self.say.push("I am sorry, nobody is available right now.".to_owned()),
            },
            Global::Goodbye => match self.global_target("goodbye", "bye") {
                Some(target) => self.enter(target),
                None => self.goodbye(),
            },
        }
    }

    fn global_target(&self, word: &str, usual: &str) -> Option<&'f str> {
        let spec = &self.flow.spec;
        let named = spec.globals.get(word).map(String::as_str);
        named.or_else(|| spec.states.get_key_value(usual).map(|(name, _)| name.as_str()))
    }

    /// Not understood: what the state says to that, then its way out.
    fn miss(&mut self, node: &'f Node) {
        self.state.misses += 1;
        let max = node.no_match.as_ref().map_or(2, |ladder| ladder.max);
        if self.state.misses > max {
            return self.give_up(node.no_match.as_ref());
        }
        match &node.no_match {
            Some(ladder) if ladder.say.iter().next().is_some() => self.lines(ladder.say.iter()),
            _ => {
                self.say.push("Sorry, I did not get that.".to_owned());
                self.help(node);
            }
        }
    }

    fn no_input(&mut self, n: u32) {
        let Some(node) = self.node().filter(|node| node.expect.is_some()) else { return };
        let max = node.no_input.as_ref().map_or(2, |ladder| ladder.max);
        if n > max {
            return self.give_up(node.no_input.as_ref());
        }
        match &node.no_input {
            Some(ladder) if ladder.say.iter().next().is_some() => self.lines(ladder.say.iter()),
            _ => {
                self.say.push("Are you still there?".to_owned());
                self.help(node);
            }
        }
    }

    fn give_up(&mut self, ladder: Option<&'f Ladder>) {
        let named = ladder.and_then(|ladder| ladder.go.as_deref());
        let target = named
            .or_else(|| self.global_target("operator", "human").filter(|name| *name != self.state.node))
            .or_else(|| self.global_target("goodbye", "bye"));
        match target {
            Some(target) => self.enter(target),
            None => self.goodbye(),
        }
    }

    /// How the current question can be answered, keys included.
    fn help(&mut self, node: &Node) {
        let Some(expect) = &node.expect else { return };
        let kind = match self.state.phase {
            Phase::CallerId | Phase::Confirm => Kind::YesNo,
            _ => expect.kind,
        };
        let text = match kind {
            Kind::YesNo => "Please say yes or no, or press 1 for yes and 2 for no.".to_owned(),
            Kind::DateTime => {
                let now = self.state.facts.now;
                let [one, two, three] = when::offers(now).map(|at| when::say(at, now));
                format!("You can say a day and a time, or press 1 for {one}, 2 for {two}, 3 for {three}.")
            }
            Kind::Digits | Kind::Phone => {
                "Please use the keys of your telephone, and end with the pound key.".to_owned()
            }
            Kind::Name => "Please say your first and last name, or press any key to go on without.".to_owned(),
            Kind::Email => "Please say your e-mail address, or press any key to go on without.".to_owned(),
            Kind::Free => "Please go ahead. Press any key when you are done.".to_owned(),
            Kind::Intent | Kind::Menu => {
                let keys: Vec<String> = expect
                    .menu
                    .iter()
                    .map(|(key, intent)| format!("press {key} for {}", intent.replace('_', " ")))
                    .collect();
                if keys.is_empty() {
                    let names: Vec<String> = expect.intents.keys().map(|name| name.replace('_', " ")).collect();
                    format!("You can say: {}.", names.join(", "))
                } else {
                    format!("Please {}.", keys.join(", "))
                }
            }
        };
        self.say.push(text);
    }

    fn tool_result(&mut self, id: &str, ok: bool, text: &str) {
        if !matches!(&self.state.phase, Phase::Tool { id: waiting } if waiting == id) {
            return;
        }
        let Some(node) = self.node() else { return };
        let object = serde_json::from_str::<Map<String, Json>>(text).unwrap_or_default();
        for name in ["offer", "error", "result"] {
            self.state.vars.remove(name);
        }
        for (name, value) in object.iter().take(32) {
            if let Some(value) = value_of(value) {
                self.state.vars.insert(format!("result.{name}"), value);
            }
        }
        let plain = if object.is_empty() { text.chars().take(500).collect() } else { String::new() };
        self.state.vars.insert(if ok { "result" } else { "error" }.to_owned(), Value::Text(plain));
        if ok {
            self.lines(node.say.iter());
            if let Some(next) = &node.go {
                return self.enter(next);
            }
            // A tool that takes the call away (a transfer) has no state after it: the flow waits for a failure.
            if node.end || node.on_error.is_none() {
                return self.goodbye();
            }
            return;
        }
        if let Some(reason) = object.get("error").and_then(Json::as_str) {
            self.state.vars.insert("error".to_owned(), Value::Text(reason.to_owned()));
        }
        self.offer_another(&object);
        match node.on_error.as_ref().or(node.go.as_ref()) {
            Some(target) => self.enter(target),
            None => self.goodbye(),
        }
    }

    /// A time was refused: the tool's own alternative, or half an hour later.
    fn offer_another(&mut self, result: &Map<String, Json>) {
        let named = ["alternatives", "free", "offers"]
            .iter()
            .find_map(|key| result.get(*key)?.as_array()?.first()?.as_str())
            .or_else(|| result.get("alternative").and_then(Json::as_str))
            .and_then(super::LocalTime::parse);
        let refused = self.state.vars.values().find_map(|value| match value {
            Value::At(at) => Some(*at),
            _ => None,
        });
        if let Some(at) = named.or_else(|| refused.map(|at| at.plus_minutes(30))) {
            self.state.vars.insert("offer".to_owned(), Value::At(at));
        }
    }

    fn ask(&mut self, node: &Node) {
        self.lines(node.say.iter());
    }

    fn lines<'l>(&mut self, lines: impl Iterator<Item = &'l str>) {
        let filled: Vec<String> = lines.map(|line| template::fill(line, &|name| self.spoken(name))).collect();
        self.say.extend(filled);
    }

    /// A value for a variable; one that is a single variable keeps its kind.
    fn assigned(&self, text: &str) -> Option<Value> {
        let whole = text.trim().strip_prefix("{{").and_then(|t| t.strip_suffix("}}")).filter(|t| !t.contains("{{"));
        if let Some(name) = whole {
            let name = name.trim();
            return self.state.vars.get(name.strip_prefix("vars.").unwrap_or(name)).cloned();
        }
        Some(Value::Text(template::fill(text, &|name| self.plain(name))))
    }

    /// A variable as tools and conditions get it.
    fn plain(&self, name: &str) -> Option<String> {
        let facts = &self.state.facts;
        match self.state.vars.get(name) {
            Some(value) => Some(value.plain()),
            None if name == "caller_id" || name == "caller" => facts.caller_number.clone(),
            None => facts.variables.get(name).cloned(),
        }
    }

    /// A variable as a voice says it.
    fn spoken(&self, name: &str) -> Option<String> {
        let now = self.state.facts.now;
        match self.state.vars.get(name) {
            Some(Value::At(at)) => Some(when::say(*at, now)),
            Some(Value::Digits(digits)) => Some(numbers::spell(digits)),
            Some(Value::Text(text)) => Some(text.clone()),
            None if name == "caller_id" || name == "caller" => {
                self.state.facts.caller_number.as_deref().map(numbers::spell)
            }
            None if name == "offers" => {
                let [one, two, three] = when::offers(now).map(|at| when::say(at, now));
                Some(format!("press 1 for {one}, 2 for {two}, 3 for {three}"))
            }
            None => self.state.facts.variables.get(name).cloned(),
        }
    }
}

fn hints(grammar: String, mut phrases: Vec<String>) -> Hints {
    phrases.extend(["operator", "repeat", "goodbye"].map(str::to_owned));
    Hints { grammar: Some(Arc::from(grammar)), phrases }
}

fn key_rule(expect: &ExpectSpec, (min, max): (u8, u8)) -> KeyRule {
    let mut menu: Vec<u8> = match expect.kind {
        Kind::Intent | Kind::Menu => expect.menu.keys().filter_map(|key| key.bytes().next()).collect(),
        Kind::YesNo => b"12".to_vec(),
        Kind::DateTime => b"123".to_vec(),
        Kind::Digits | Kind::Phone => return KeyRule { min, max, menu: b"*".to_vec() },
        Kind::Name | Kind::Email | Kind::Free => b"123456789#".to_vec(),
    };
    for key in *b"0*" {
        if !menu.contains(&key) {
            menu.push(key);
        }
    }
    KeyRule { min: 1, max: 1, menu }
}
