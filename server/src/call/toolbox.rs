//! What an agent can do besides talking, in one call: quick tools are done at once, those that ask other servers run beside the call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use control_api::{Entry, NewCall, ToolCall, ToolFault, ToolReply, Understood};
use domain::agent::tools::{Tool, ToolKind};
use domain::event::Name;
use domain::phone::E164;
use domain::{AgentId, AgentSpec, CallId, Direction, TenantId};
use pipeline::agent::SEARCH_KNOWLEDGE;
use pipeline::conversation::ToolResult;
use serde_json::{Map, Value, json};
use tokio::task::{AbortHandle, JoinSet};

use super::desk::Desk;
use super::known::Known;
use super::tools::{self, Outcome};

/// Whose tools, and what they may know.
pub(super) struct Owner {
    pub(super) tenant: TenantId,
    pub(super) livemode: bool,
    pub(super) call: CallId,
    pub(super) agent_id: Option<AgentId>,
    /// The other party's address.
    pub(super) other: String,
}

impl Owner {
    pub(super) fn of(call: CallId, created: &NewCall) -> Self {
        let other = if created.direction == Direction::Inbound { &created.from } else { &created.to };
        Self {
            tenant: created.tenant,
            livemode: created.livemode,
            call,
            agent_id: created.agent_id,
            other: other.expose().clone(),
        }
    }
}

/// A tool that has come to its end.
pub(super) struct Done {
    /// For the conversation.
    pub(super) result: ToolResult,
    /// For the journal, if something was made.
    pub(super) entry: Option<Entry>,
    /// What the tool asks of the call.
    pub(super) asks: Asks,
    /// What the call knows from now on.
    learned: Map<String, Value>,
    name: String,
    began: Instant,
}

/// What a tool asks of the call it runs in.
#[derive(Debug, Default)]
pub(super) struct Asks {
    /// To be said, as it stands.
    pub(super) say: Option<String>,
    /// The call is over after that.
    pub(super) end: bool,
    /// Keys to press.
    pub(super) keys: Vec<u8>,
}

impl Done {
    /// The event that tells it.
    pub(super) fn event(&self) -> Entry {
        let duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let excerpt: String = self.result.text.chars().take(200).collect();
        let data = json!({"invocation_id": self.result.id, "tool": self.name, "ok": self.result.ok,
                          "duration_ms": duration_ms, "result_excerpt": excerpt});
        Entry::Event { name: Name::ToolFinished, data }
    }
}

/// The tools of one call.
pub(super) struct Toolbox {
    desk: Desk,
    agent: Arc<AgentSpec>,
    owner: Owner,
    /// What the agent knows, if it asks for it by a tool.
    library: Option<Arc<Known>>,
    /// Credential → its secret.
    secrets: BTreeMap<String, String>,
    /// What is known in the call; tools add to it.
    variables: Map<String, Value>,
    used: u64,
    running: JoinSet<Done>,
    handles: BTreeMap<String, (AbortHandle, String, Instant)>,
}

impl Toolbox {
    pub(super) fn new(desk: Desk, agent: Arc<AgentSpec>, owner: Owner) -> Self {
        Self {
            desk,
            agent,
            owner,
            library: None,
            secrets: BTreeMap::new(),
            variables: Map::new(),
            used: 0,
            running: JoinSet::new(),
            handles: BTreeMap::new(),
        }
    }

    /// What the call knows once it is prepared.
    pub(super) fn equip(
        &mut self,
        library: Option<Arc<Known>>,
        secrets: BTreeMap<String, String>,
        variables: Map<String, Value>,
    ) {
        (self.library, self.secrets, self.variables) = (library, secrets, variables);
    }

    /// Begins a tool: it is done at once, or [`Toolbox::next`] brings it.
    pub(super) async fn begin(&mut self, id: String, name: String, arguments: &str) -> (Entry, Option<Done>) {
        let began = Instant::now();
        let arguments: Value = serde_json::from_str(arguments).unwrap_or(Value::Null);
        let data = json!({"invocation_id": id, "tool": name, "arguments": arguments});
        let started = Entry::Event { name: Name::ToolStarted, data };
        self.used += 1;
        let tool = self.agent.tools.iter().find(|tool| tool.name == name && tool.enabled).cloned();
        let done = if self.used > self.agent.limits.max_tool_calls {
            Some((failed(&id, "this call may use no more tools"), Asks::default()))
        } else if let (Some(library), SEARCH_KNOWLEDGE) = (&self.library, name.as_str()) {
            Some((library.answer(id.clone(), &arguments), Asks::default()))
        } else {
            match tool {
                Some(tool) if tool.kind == ToolKind::Http => {
                    self.ask(id.clone(), tool, arguments, began);
                    None
                }
                tool => Some(self.at_once(&id, &name, tool.as_ref(), arguments).await),
            }
        };
        let done = done.map(|(Outcome { result, entry }, asks)| Done {
            result,
            entry,
            asks,
            learned: Map::new(),
            name,
            began,
        });
        (started, done)
    }

    async fn at_once(&self, id: &str, name: &str, tool: Option<&Tool>, arguments: Value) -> (Outcome, Asks) {
        let Owner { tenant, livemode, call, .. } = self.owner;
        let kind = tool.map_or(name, |tool| tool.kind.as_str());
        let store = &self.desk.store;
        match tool.map(|tool| tool.kind) {
            Some(ToolKind::HangUp) => {
                let say = tool.and_then(|tool| tool.config.get("say")).and_then(Value::as_str);
                let say = say.unwrap_or("Goodbye.").to_owned();
                (told(id, "the call ends"), Asks { say: Some(say), end: true, ..Asks::default() })
            }
            Some(ToolKind::SendDtmf) => match keys(&arguments) {
                Some(keys) => (told(id, "pressed"), Asks { keys, ..Asks::default() }),
                None => (failed(id, "`digits` is 1 to 64 of 0-9, A-D, * and #"), Asks::default()),
            },
            Some(ToolKind::MarkDoNotCall) => match self.owner.other.parse::<E164>() {
                Ok(number) => {
                    let done = store.mark_do_not_call(tenant, call, &number).await.map_err(|error| error.to_string());
                    (outcome(id, done, "listed"), Asks::default())
                }
                Err(_) => (failed(id, "the other party's number is not known"), Asks::default()),
            },
            Some(ToolKind::CollectLead) => {
                let fields = arguments.as_object().cloned().unwrap_or_default();
                let done = match missing(tool, &fields) {
                    Some(name) => Err(format!("the argument `{name}` is missing")),
                    None => {
                        let agent = self.owner.agent_id;
                        store
                            .collect_lead(tenant, livemode, call, agent, fields)
                            .await
                            .map_err(|error| error.to_string())
                    }
                };
                (outcome(id, done, "stored"), Asks::default())
            }
            _ => (tools::run(store, tenant, call, id.to_owned(), kind, arguments).await, Asks::default()),
        }
    }

    /// Asks a server of the tenant, beside the call.
    fn ask(&mut self, id: String, tool: Tool, arguments: Value, began: Instant) {
        let (client, call) = (self.desk.tools.clone(), self.owner.call);
        let credential = tool.config.get("credential_id").and_then(Value::as_str);
        let secret = credential.and_then(|id| self.secrets.get(id)).cloned();
        let gone = credential.is_some() && secret.is_none();
        let variables = self.variables.clone();
        let (name, key) = (tool.name.clone(), id.clone());
        let model = !pipeline::agent::needs_flow(&self.agent);
        let task = async move {
            let arguments = arguments.as_object().cloned().unwrap_or_default();
            let (tool, secret) = (&tool, secret.as_deref());
            let call = ToolCall {
                tool,
                arguments: &arguments,
                variables: &variables,
                call: Some(call),
                invocation: &id,
                secret,
            };
            let done = if gone {
                Err(ToolFault::Arguments("the tool's credential is gone".to_owned()))
            } else {
                client.run(&call).await
            };
            let mut told = Done {
                result: ToolResult { id: id.clone(), ok: done.is_ok(), text: String::new() },
                entry: None,
                asks: Asks::default(),
                learned: Map::new(),
                name: tool.name.clone(),
                began,
            };
            match done {
                Ok(reply) => {
                    let Understood { say, variables, end, .. } = reply.understood(tool.config.get("extract"));
                    told.result.text = text(&reply, &variables, tool.result_max_chars);
                    if let (Some(say), false, true) = (&say, end, model) {
                        told.result.text = format!("Say to the caller, word for word: {say}");
                    }
                    told.learned = variables;
                    // What is said before the end is said as it stands; else whoever decides says it.
                    told.asks = Asks { say: say.filter(|_| end), end, keys: Vec::new() };
                }
                Err(fault) => {
                    tracing::warn!(tool = tool.name, %fault, "a tool failed");
                    told.result.text =
                        if tool.on_error == "hide" { "it did not work".to_owned() } else { fault.to_string() };
                }
            }
            told
        };
        let handle = self.running.spawn(task);
        self.handles.insert(key, (handle, name, began));
    }

    /// The next tool that comes to its end; waits for ever while none runs.
    pub(super) async fn next(&mut self) -> Done {
        loop {
            match self.running.join_next().await {
                Some(Ok(done)) => {
                    self.handles.remove(&done.result.id);
                    self.variables.extend(done.learned.clone());
                    return done;
                }
                // One that was stopped has told already what became of it.
                Some(Err(_)) => {}
                None => std::future::pending::<()>().await,
            }
        }
    }

    /// Nobody waits for this one any more.
    pub(super) fn stop(&mut self, id: &str) -> Option<Done> {
        let (handle, name, began) = self.handles.remove(id)?;
        handle.abort();
        let result = ToolResult { id: id.to_owned(), ok: false, text: "not wanted any more".to_owned() };
        Some(Done { result, entry: None, asks: Asks::default(), learned: Map::new(), name, began })
    }

    /// The call is over: whatever still runs is left.
    pub(super) fn close(&mut self) -> Vec<Done> {
        let ids: Vec<String> = self.handles.keys().cloned().collect();
        ids.iter().filter_map(|id| self.stop(id)).collect()
    }
}

fn told(id: &str, text: &str) -> Outcome {
    Outcome { result: ToolResult { id: id.to_owned(), ok: true, text: text.to_owned() }, entry: None }
}

fn failed(id: &str, text: &str) -> Outcome {
    Outcome { result: ToolResult { id: id.to_owned(), ok: false, text: text.to_owned() }, entry: None }
}

fn outcome(id: &str, done: Result<(), String>, word: &str) -> Outcome {
    match done {
        Ok(()) => told(id, word),
        Err(text) => failed(id, &text),
    }
}

/// The first field that the tool requires and nobody has said.
fn missing(tool: Option<&Tool>, said: &Map<String, Value>) -> Option<String> {
    let required = tool?.config.get("required")?.as_array()?;
    let is_there =
        |name: &str| said.get(name).is_some_and(|value| value.as_str().is_none_or(|text| !text.trim().is_empty()));
    required.iter().filter_map(Value::as_str).find(|name| !is_there(name)).map(str::to_owned)
}

fn keys(arguments: &Value) -> Option<Vec<u8>> {
    let digits = match &arguments["digits"] {
        Value::String(digits) => digits.to_ascii_uppercase(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let keys: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let known = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'A'..=b'D' | b'*' | b'#');
    ((1..=64).contains(&keys.len()) && keys.iter().all(known)).then_some(keys)
}

/// The answer for whoever decides; what was extracted stands beside the answer's own members, where a flow finds it.
fn text(reply: &ToolReply, variables: &Map<String, Value>, most: u64) -> String {
    match reply.body.as_object() {
        _ if variables.is_empty() => reply.text(most),
        Some(body) => {
            let mut whole = variables.clone();
            // The flow reads the first members: what was asked for comes first.
            whole.extend(
                body.iter().filter(|(name, _)| !variables.contains_key(*name)).map(|(n, v)| (n.clone(), v.clone())),
            );
            let whole = Value::Object(whole).to_string();
            if whole.chars().count() as u64 <= most { whole } else { Value::Object(variables.clone()).to_string() }
        }
        None => Value::Object(variables.clone()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_keys_or_nothing() {
        assert_eq!(keys(&json!({"digits": "1 2*#a"})), Some(b"12*#A".to_vec()));
        assert_eq!(keys(&json!({"digits": 42})), Some(b"42".to_vec()));
        for wrong in
            [json!({}), json!({"digits": ""}), json!({"digits": "x"}), json!({"digits": "1".repeat(65)}), json!(null)]
        {
            assert_eq!(keys(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_required_must_have_been_said() {
        let tool =
            Tool { config: json!({"required": ["name", "email"]}).as_object().unwrap().clone(), ..Tool::default() };
        let said = |value: Value| value.as_object().unwrap().clone();
        assert_eq!(missing(Some(&tool), &said(json!({"name": "Ann", "email": " "}))).as_deref(), Some("email"));
        assert_eq!(missing(Some(&tool), &said(json!({"name": "Ann", "email": "a@b.c"}))), None);
        assert_eq!(missing(None, &Map::new()), None);
    }
}
