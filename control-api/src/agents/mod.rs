//! Agents: the document and its versions, what it knows, with whose keys it talks, and with which voices.

mod check;
pub(crate) mod choose;
pub(crate) mod credentials;
mod document;
pub(crate) mod edit;
pub(crate) mod http_tool;
pub(crate) mod knowledge;
pub(crate) mod routes;
pub(crate) mod rows;
mod schema;
pub(crate) mod vendor_voices;

pub(crate) use routes::voices::Samples;

pub use check::{AgentCheck, Engine, Engines, Found, Voice};
pub use credentials::{CredentialError, Opened};
pub use http_tool::{ToolCall, ToolClient, ToolFault, ToolReply, Understood};
pub use knowledge::{Passage, Shelf, Shelves};
