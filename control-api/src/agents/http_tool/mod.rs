//! Tools that ask a server of the tenant: the request that a tool and its arguments make, the guarded way there, and what is
//! understood of the answer (API.md §2.3, §3.8).

mod reply;
mod request;

use std::time::{Duration, Instant};

use domain::{CallId, agent::tools::Tool};
use serde_json::{Map, Value};

pub use reply::{ToolReply, Understood};

use self::request::Prepared;
use crate::{
    after::schema,
    net::{self, BodyFault, Outward, UrlRefused},
    now_ms,
};

/// Bytes of an answer at most.
const LARGEST: usize = 256 << 10;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// One use of a tool.
#[derive(Clone, Copy)]
pub struct ToolCall<'a> {
    /// The tool; its kind is `http`.
    pub tool: &'a Tool,
    /// What the model or the flow says.
    pub arguments: &'a Map<String, Value>,
    /// What is known in the call.
    pub variables: &'a Map<String, Value>,
    /// The call, if there is one.
    pub call: Option<CallId>,
    /// Names this use.
    pub invocation: &'a str,
    /// The secret of the credential that the tool names: it signs the request, and stands for `{{secret}}` in headers.
    pub secret: Option<&'a str>,
}

/// Why a tool has no answer. The words may be told to a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolFault {
    /// The arguments do not fit the tool's schema or its URL.
    #[error("{0}")]
    Arguments(String),
    /// The URL leads where requests of tenants may not go.
    #[error("the tool's URL is not allowed: {0}")]
    Url(#[from] UrlRefused),
    /// No whole answer within the tool's time.
    #[error("the tool's server did not answer in time")]
    Timeout,
    /// Nobody answers there, or nobody who can be believed.
    #[error("the tool's server cannot be reached")]
    Unreachable,
    /// It points elsewhere; nobody goes there.
    #[error("the tool's server redirects, which is not followed")]
    Redirect,
    /// More than can be taken.
    #[error("the answer of the tool's server is larger than 256 KiB")]
    TooLarge,
    /// It says that something went wrong.
    #[error("the tool's server answered {status}: {head}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// How its words begin.
        head: String,
    },
}

impl ToolFault {
    /// Another attempt may end better.
    fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable) || matches!(self, Self::Status { status: 429 | 500.., .. })
    }
}

/// Asks servers of tenants; keeps connections open between requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ToolClient(Outward);

impl ToolClient {
    /// Asks where the guard of `outward` lets it.
    pub fn new(outward: Outward) -> Self {
        Self(outward)
    }

    /// Whether a place that a tenant names may be asked now.
    ///
    /// # Errors
    /// It leads where requests of tenants may not go.
    pub async fn permits(&self, url: &str) -> Result<(), UrlRefused> {
        self.0.guard().check(url).await.map(drop)
    }

    pub(crate) fn outward(&self) -> &Outward {
        &self.0
    }

    /// What would be sent, with the secret covered.
    ///
    /// # Errors
    /// The arguments do not fit, or the URL is not allowed.
    pub fn rehearse(&self, call: &ToolCall<'_>) -> Result<Value, ToolFault> {
        let covered = ToolCall { secret: call.secret.map(|_| "…"), ..*call };
        Ok(self.prepare(&covered)?.shown())
    }

    /// Asks; within the tool's time, and as often as the tool says while the fault may pass.
    ///
    /// # Errors
    /// There is no answer that could be used.
    pub async fn run(&self, call: &ToolCall<'_>) -> Result<ToolReply, ToolFault> {
        let prepared = self.prepare(call)?;
        let began = Instant::now();
        let attempts = async {
            let mut left = prepared.retries;
            loop {
                match self.attempt(&prepared, call).await {
                    Err(fault) if left > 0 && fault.is_passing() => {
                        left -= 1;
                        tokio::time::sleep(PAUSE).await;
                    }
                    done => return done,
                }
            }
        };
        let done = tokio::time::timeout(Duration::from_millis(call.tool.timeout_ms), attempts).await;
        let (status, body) = done.unwrap_or(Err(ToolFault::Timeout))?;
        Ok(ToolReply::read(status, &body, began.elapsed()))
    }

    fn prepare(&self, call: &ToolCall<'_>) -> Result<Prepared, ToolFault> {
        if !call.tool.parameters.is_null() {
            let faults = schema::faults(&call.tool.parameters, &Value::Object(call.arguments.clone()));
            if !faults.is_empty() {
                return Err(ToolFault::Arguments(faults.join("; ")));
            }
        }
        Prepared::of(self.0.guard(), call)
    }

    async fn attempt(&self, prepared: &Prepared, call: &ToolCall<'_>) -> Result<(u16, Vec<u8>), ToolFault> {
        let mut request = self.0.request(prepared.method.clone(), prepared.url.clone());
        for (name, value) in prepared.signed(call, now_ms() / 1000) {
            request = request.header(name, value);
        }
        if let Some(body) = &prepared.body {
            request = request.body(body.clone());
        }
        let response = request.send().await.map_err(|error| fault(&error))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(ToolFault::Redirect);
        }
        let body = net::body(response, LARGEST).await.map_err(|wrong| match wrong {
            BodyFault::TooLarge(_) => ToolFault::TooLarge,
            BodyFault::Broken(error) => fault(&error),
        })?;
        if status.is_success() {
            Ok((status.as_u16(), body))
        } else {
            let head = String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).take(200).collect();
            Err(ToolFault::Status { status: status.as_u16(), head })
        }
    }
}

fn fault(error: &reqwest::Error) -> ToolFault {
    match net::refusal(error) {
        Some(refused) => ToolFault::Url(refused),
        None if error.is_timeout() => ToolFault::Timeout,
        None => ToolFault::Unreachable,
    }
}
