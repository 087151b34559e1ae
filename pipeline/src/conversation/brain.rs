//! Who decides what is said: the offline flow at once, or a model token by token, behind the same questions and thoughts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::Gen;
use crate::agent::Library;
use crate::flow::{self, Facts, Flow, FlowState};
use crate::link::usage::Usage;
use crate::llm::{Line, LlmCommand, LlmEvent, LlmLink, Tool};
use crate::sentence::Sentences;

/// What an answer is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The first words of the call.
    Begin,
    /// The caller's words.
    Words(String),
    /// The caller's keys.
    Keys(String),
    /// A tool's result.
    Result(ToolResult),
    /// The caller has been silent, for the n-th time.
    Silence(u32),
}

/// What a tool answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolResult {
    /// The id of the call.
    pub id: String,
    /// Whether it did what it was asked.
    pub ok: bool,
    /// Its words, for the model or the flow.
    pub text: String,
}

/// What comes of asking.
#[derive(Clone, Debug, PartialEq)]
pub enum Thought {
    /// The model has begun to answer.
    Begun(Gen),
    /// A piece to speak.
    Piece(Gen, String),
    /// A tool to run once the answer is confirmed.
    Tool {
        /// The answer it belongs to.
        r#gen: Gen,
        /// The call's id.
        id: String,
        /// The tool's name.
        name: String,
        /// Arguments as JSON text.
        arguments: String,
    },
    /// The call is over after this answer.
    End(Gen),
    /// Nothing more comes of this answer.
    Done(Gen),
    /// The answer failed; whether another attempt may help.
    Failed(Gen, bool),
}

/// Who decides.
pub enum Brain {
    /// A graph of states.
    Flow(Box<FlowBrain>),
    /// A language model.
    Model(Box<ModelBrain>),
}

/// A flow and where the call stands in it.
pub struct FlowBrain {
    greeting: String,
    flow: Flow,
    facts: Facts,
    /// Where the call stands; before the greeting, nowhere.
    state: Option<FlowState>,
    /// The answer that brought it there, and where it stood before: an answer nobody heard is taken back.
    adopted: Option<(Gen, Option<FlowState>)>,
    /// Answers that may still be thrown away.
    prepared: BTreeMap<Gen, (FlowState, flow::Expect)>,
    thoughts: VecDeque<Thought>,
}

/// What a deciding model is made of.
pub struct ModelParts {
    /// The model.
    pub link: LlmLink,
    /// What it is told.
    pub system: String,
    /// Said without asking it.
    pub greeting: String,
    /// What it may call.
    pub tools: Vec<Tool>,
    /// Context is cut to so many lines; the instructions stay.
    pub keep: usize,
    /// Looked up before every answer.
    pub library: Option<Arc<dyn Library>>,
}

/// A model and what it has been told so far.
pub struct ModelBrain {
    link: LlmLink,
    library: Option<Arc<dyn Library>>,
    greeting: String,
    lines: Vec<Line>,
    tools: Vec<Tool>,
    /// Context is cut to so many lines; the first one, the instructions, stays.
    keep: usize,
    writing: BTreeMap<Gen, Sentences>,
    thoughts: VecDeque<Thought>,
}

impl Brain {
    /// A flow decides; `greeting` is said before its first state speaks.
    #[must_use]
    pub fn flow(flow: Flow, facts: Facts, greeting: String) -> Self {
        Self::Flow(Box::new(FlowBrain {
            greeting,
            flow,
            facts,
            state: None,
            adopted: None,
            prepared: BTreeMap::new(),
            thoughts: VecDeque::new(),
        }))
    }

    /// A model decides.
    #[must_use]
    pub fn model(parts: ModelParts) -> Self {
        Self::Model(Box::new(ModelBrain {
            link: parts.link,
            library: parts.library,
            greeting: parts.greeting,
            lines: vec![Line::System(parts.system)],
            tools: parts.tools,
            keep: parts.keep.max(4),
            writing: BTreeMap::new(),
            thoughts: VecDeque::new(),
        }))
    }

    /// What the model has been asked so far.
    #[must_use]
    pub fn usage(&self) -> Option<Arc<Usage>> {
        match self {
            Self::Model(model) => Some(model.link.usage.clone()),
            Self::Flow(_) => None,
        }
    }

    /// Provider and model.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Flow(_) => "builtin/flow",
            Self::Model(model) => &model.link.name,
        }
    }

    /// Asks for an answer; thoughts follow. Nothing of it counts before [`Brain::adopt`].
    pub fn ask(&mut self, r#gen: Gen, asks: &[Ask]) {
        match self {
            Self::Flow(brain) => brain.ask(r#gen, asks),
            Self::Model(brain) => brain.ask(r#gen, asks),
        }
    }

    /// The next thought.
    pub fn poll(&mut self) -> Option<Thought> {
        match self {
            Self::Flow(brain) => brain.thoughts.pop_front(),
            Self::Model(brain) => brain.poll(),
        }
    }

    /// The answer is certain: the call now stands behind it. Returns what to expect next, where the brain knows.
    pub fn adopt(&mut self, r#gen: Gen) -> Option<flow::Expect> {
        match self {
            Self::Flow(brain) => {
                let (state, expect) = brain.prepared.remove(&r#gen)?;
                brain.prepared.retain(|other, _| *other > r#gen);
                brain.adopted = Some((r#gen, brain.state.replace(state)));
                Some(expect)
            }
            Self::Model(_) => None,
        }
    }

    /// The answer is not wanted; if none of it was heard, the call stands where it stood before it.
    pub fn cancel(&mut self, r#gen: Gen, heard: bool) {
        match self {
            Self::Flow(brain) => {
                brain.prepared.remove(&r#gen);
                if !heard && brain.adopted.as_ref().is_some_and(|(adopted, _)| *adopted == r#gen) {
                    self.reopen();
                }
            }
            Self::Model(brain) => {
                if brain.writing.remove(&r#gen).is_some() {
                    let _ = brain.link.commands.try_send(LlmCommand::Cancel { r#gen });
                }
            }
        }
    }

    /// The caller goes on with the turn that was answered last: that answer is taken back.
    pub fn reopen(&mut self) {
        if let Self::Flow(brain) = self
            && let Some((_, before)) = brain.adopted.take()
            && before.is_some()
        {
            brain.state = before;
        }
    }

    /// The caller's turn is certain and becomes context; a turn that was reopened replaces its earlier words.
    pub fn caller_said(&mut self, text: &str, again: bool) {
        if let Self::Model(brain) = self {
            let earlier = brain.lines.iter().rposition(|line| matches!(line, Line::Caller(_)));
            if let (true, Some(earlier)) = (again, earlier) {
                brain.lines.remove(earlier);
            }
            brain.lines.push(Line::Caller(text.to_owned()));
        }
    }

    /// A note that is never spoken; a flow has no use for it.
    pub fn instruct(&mut self, text: &str) {
        if let Self::Model(brain) = self {
            brain.lines.push(Line::System(text.to_owned()));
        }
    }

    /// Whether a model decides.
    #[must_use]
    pub fn is_model(&self) -> bool {
        matches!(self, Self::Model(_))
    }

    /// So much of an answer was heard.
    pub fn agent_said(&mut self, text: &str) {
        if let Self::Model(brain) = self
            && !text.is_empty()
        {
            brain.lines.push(Line::Agent(text.to_owned()));
        }
    }

    /// A tool call that was begun; the model sees that it runs.
    pub fn tool_began(&mut self, id: &str, name: &str, arguments: &str) {
        match self {
            // What a tool has done cannot be taken back, so neither can the answer that ran it.
            Self::Flow(brain) => brain.adopted = None,
            Self::Model(brain) => {
                let (id, name, arguments) = (id.to_owned(), name.to_owned(), arguments.to_owned());
                brain.lines.push(Line::Tool { id, name, arguments, result: None });
            }
        }
    }

    /// A tool's result becomes context.
    pub fn tool_ended(&mut self, ended: &ToolResult) {
        if let Self::Model(brain) = self {
            for line in &mut brain.lines {
                if let Line::Tool { id, result, .. } = line
                    && *id == ended.id
                {
                    *result = Some(ended.text.clone());
                }
            }
        }
    }
}

impl FlowBrain {
    fn ask(&mut self, r#gen: Gen, asks: &[Ask]) {
        let (mut say, mut last) = (Vec::new(), flow::Step::default());
        let mut state = self.state.clone();
        if asks == [Ask::Begin] && !self.greeting.is_empty() {
            say.push(self.greeting.clone());
        }
        for ask in asks {
            let (next, mut step) = match (&state, ask) {
                (None, _) | (_, Ask::Begin) => self.flow.start(&self.facts),
                (Some(state), Ask::Words(words)) => self.flow.step(state, &flow::Heard::Words(words.clone())),
                (Some(state), Ask::Keys(keys)) => self.flow.step(state, &flow::Heard::Keys(keys.clone())),
                (Some(state), Ask::Silence(n)) => self.flow.step(state, &flow::Heard::NoInput(*n)),
                (Some(state), Ask::Result(ToolResult { id, ok, text })) => {
                    let heard = flow::Heard::ToolResult { id: id.clone(), ok: *ok, text: text.clone() };
                    self.flow.step(state, &heard)
                }
            };
            say.append(&mut step.say);
            last = step;
            state = Some(next);
        }
        let Some(state) = state else { return };
        self.thoughts.push_back(Thought::Begun(r#gen));
        for sentence in say {
            let mut sentences = Sentences::default();
            let mut pieces = sentences.push(&sentence);
            pieces.extend(sentences.finish());
            self.thoughts.extend(pieces.into_iter().map(|piece| Thought::Piece(r#gen, piece)));
        }
        if let Some(tool) = last.tool {
            let arguments = tool.arguments.to_string();
            self.thoughts.push_back(Thought::Tool { r#gen, id: tool.id, name: tool.name, arguments });
        }
        if last.end {
            self.thoughts.push_back(Thought::End(r#gen));
        }
        self.thoughts.push_back(Thought::Done(r#gen));
        self.prepared.insert(r#gen, (state, last.expect));
    }
}

impl ModelBrain {
    fn ask(&mut self, r#gen: Gen, asks: &[Ask]) {
        if asks == [Ask::Begin] {
            self.thoughts.push_back(Thought::Begun(r#gen));
            if !self.greeting.is_empty() {
                self.thoughts.push_back(Thought::Piece(r#gen, self.greeting.clone()));
            }
            self.thoughts.push_back(Thought::Done(r#gen));
            return;
        }
        let mut lines = self.context();
        for ask in asks {
            match ask {
                // A committed turn is in the context already; a guess is not.
                Ask::Words(words) if !matches!(lines.last(), Some(Line::Caller(last)) if last == words) => {
                    lines.push(Line::Caller(words.clone()));
                }
                Ask::Keys(keys) => lines.push(Line::Caller(format!("[pressed the keys {keys}]"))),
                Ask::Silence(n) => {
                    lines.push(Line::System(format!(
                        "The caller has been silent ({n}). Ask briefly whether they are there."
                    )));
                }
                Ask::Begin | Ask::Words(_) | Ask::Result(_) => {}
            }
        }
        self.look_up(&mut lines);
        self.writing.insert(r#gen, Sentences::default());
        let command = LlmCommand::Generate { r#gen, lines, tools: self.tools.clone() };
        if self.link.commands.try_send(command).is_err() {
            self.writing.remove(&r#gen);
            self.thoughts.push_back(Thought::Failed(r#gen, true));
        }
    }

    /// What the documents say about the caller's last words stands behind the instructions, for this answer only.
    fn look_up(&self, lines: &mut Vec<Line>) {
        let Some(library) = &self.library else { return };
        let asked = lines.iter().rev().find_map(|line| match line {
            Line::Caller(words) => Some(words.as_str()),
            _ => None,
        });
        let passages = asked.map(|words| library.look_up(words)).unwrap_or_default();
        if !passages.is_empty() {
            let text = format!("What your documents say about this:\n\n{}", passages.join("\n\n"));
            lines.insert(1.min(lines.len()), Line::System(text));
        }
    }

    fn context(&self) -> Vec<Line> {
        let skip = self.lines.len().saturating_sub(self.keep).max(1);
        self.lines.iter().take(1).chain(self.lines.iter().skip(skip)).cloned().collect()
    }

    fn poll(&mut self) -> Option<Thought> {
        while self.thoughts.is_empty() {
            let event = self.link.events.try_recv().ok()?;
            match event {
                LlmEvent::Token { r#gen, text } => {
                    let Some(sentences) = self.writing.get_mut(&r#gen) else { continue };
                    self.thoughts.push_back(Thought::Begun(r#gen));
                    self.thoughts.extend(sentences.push(&text).into_iter().map(|piece| Thought::Piece(r#gen, piece)));
                }
                LlmEvent::ToolCall { r#gen, id, name, arguments } if self.writing.contains_key(&r#gen) => {
                    if matches!(name.as_str(), "hang_up" | "end_call") {
                        self.thoughts.push_back(Thought::End(r#gen));
                    } else {
                        self.thoughts.push_back(Thought::Tool { r#gen, id, name, arguments });
                    }
                }
                LlmEvent::Done { r#gen, .. } => {
                    let Some(mut sentences) = self.writing.remove(&r#gen) else { continue };
                    self.thoughts.extend(sentences.finish().map(|piece| Thought::Piece(r#gen, piece)));
                    self.thoughts.push_back(Thought::Done(r#gen));
                }
                LlmEvent::Error { r#gen, reason, retry } => {
                    if self.writing.remove(&r#gen).is_some() {
                        tracing::warn!(r#gen, reason, retry, "the model failed");
                        self.thoughts.push_back(Thought::Failed(r#gen, retry));
                    }
                }
                LlmEvent::ToolCall { .. } => {}
            }
        }
        self.thoughts.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brain() -> Brain {
        let flow = serde_json::json!({"start": "ask", "states": {
            "ask": {"say": "Shall I book?", "expect": {"kind": "yes_no"}, "on": {"yes": "book", "no": "bye"},
                    "no_match": {"say": "Yes or no?", "max": 2, "go": "bye"}},
            "book": {"tool": {"name": "book_slot", "args": {}, "say": "One moment."}, "say": "Booked.", "go": "bye", "on_error": "bye"},
            "bye": {"say": "Goodbye.", "end": true}}});
        Brain::flow(Flow::compile(&flow).unwrap(), Facts::default(), "Hello.".into())
    }

    fn thoughts(brain: &mut Brain) -> Vec<Thought> {
        std::iter::from_fn(|| brain.poll()).collect()
    }

    fn pieces(brain: &mut Brain) -> Vec<String> {
        thoughts(brain)
            .into_iter()
            .filter_map(|thought| match thought {
                Thought::Piece(_, piece) => Some(piece),
                _ => None,
            })
            .collect()
    }

    fn begun() -> Brain {
        let mut brain = brain();
        brain.ask(0, &[Ask::Begin]);
        assert_eq!(pieces(&mut brain), ["Hello.", "Shall I book?"]);
        assert!(brain.adopt(0).is_some());
        brain
    }

    fn result() -> Ask {
        Ask::Result(ToolResult { id: "flow-1".into(), ok: true, text: "{}".into() })
    }

    #[test]
    fn a_guess_that_is_not_adopted_changes_nothing() {
        let mut brain = begun();
        brain.ask(1, &[Ask::Words("no".into())]);
        brain.cancel(1, false);
        assert!(brain.adopt(1).is_none());
        thoughts(&mut brain);
        brain.ask(2, &[Ask::Words("yes".into())]);
        assert_eq!(pieces(&mut brain), ["One moment."]);
    }

    #[test]
    fn an_answer_that_nobody_heard_is_taken_back() {
        let mut brain = begun();
        brain.ask(1, &[Ask::Words("no".into())]);
        brain.adopt(1);
        thoughts(&mut brain);
        brain.cancel(1, false);
        brain.ask(2, &[Ask::Words("yes".into())]);
        assert_eq!(pieces(&mut brain), ["One moment."]);
    }

    #[test]
    fn an_answer_whose_tool_has_run_stands_even_if_its_words_were_dropped() {
        let mut brain = begun();
        brain.ask(1, &[Ask::Words("yes".into())]);
        brain.adopt(1);
        thoughts(&mut brain);
        brain.tool_began("flow-1", "book_slot", "{}");
        brain.cancel(1, false);
        brain.ask(2, &[result()]);
        assert_eq!(pieces(&mut brain), ["Booked.", "Goodbye."]);
    }
}
