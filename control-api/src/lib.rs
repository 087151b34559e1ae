//! The control plane: tenants, calls and their records in SQL, read and steered over HTTP.
//!
//! It holds no packet. What it needs of the running node it asks through [`Switchboard`]; what the node needs of it, through [`Directory`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::{future::Future, pin::Pin};

mod admin;
mod after;
mod agents;
mod analytics;
mod archive;
mod audit;
mod auth;
mod background;
mod directory;
mod files;
mod http;
mod invariants;
mod jobs;
mod journal;
mod leads;
mod mail;
mod money;
mod net;
mod nodes;
mod office;
mod outbox;
mod people;
mod retention;
mod routing;
mod scheduled;
mod scope;
mod seal;
mod settings;
mod store;
mod switchboard;
mod time;
mod view;

pub use admin::AdminError;
pub use after::{AfterSettings, AnalysisSettings, Analyst, Purge, after_call};
pub use agents::{
    AgentCheck, CredentialError, Engine, Engines, Found, Opened, Passage, Shelf, Shelves, ToolCall, ToolClient,
    ToolFault, ToolReply, Understood, Voice,
};
pub use archive::{Archive, ArchiveError, Discard, S3Settings, Storage, Upload};
pub use auth::{AuthSettings, OauthProvider, Registration};
pub use background::{Background, BackgroundSettings};
pub use directory::{Bounds, Directory, Identity, Refused, Route, RouteQuery, Signed};
pub use files::{Exporter, FilesSettings};
pub use http::{App, openapi, router};
pub use invariants::{Broken, INVARIANTS, Invariant};
pub use jobs::{Context, Fault, Handler, Job, NewJob, enqueue};
pub use journal::{
    Ended, Entry, Journal, JournalCounts, JournalSettings, LegState, NewCall, Orphan, RecordingStage, RecordingState,
    SipMessage, SipTrace, TransferState,
};
pub use mail::{GatewayError, MailSettings, NewMail, Queued, Sender, SmtpTls, queue as queue_mail};
pub use money::{
    Adjustment, Admission, BadSignature, BillingSettings, Cashier, CashierError, Checkout, Cover, EventOutcome,
    FINAL_AFTER_MS, Forbidden, GatewayEvent, Grant, Item, LegAdmission, Limit, Movement, NewPayment, NotAdmitted,
    NotMoved, NotRenewed, PlanSettings, PlansRefused, RENEW_AFTER_MS, RefundFailed, RefundWish, Refunded, Secret, Used,
    WARN_MS, billing_handlers, verify,
};
pub use net::{Guard, Lookup, Outward, UrlRefused};
pub use nodes::NodeInfo;
pub use office::Office;
pub use outbox::{EventsSettings, Hub, LiveEvent, NatsSettings, NewEvent, WebhookSender, emit};
pub use people::Purge as TenantPurge;
pub use retention::Retention;
pub use routing::{
    Binding, CarrierSettings, Destination, Gate, Hop, Line, Login, Manners, MediaTerms, Network, NoPlan, NotANetwork,
    Plan, PlanQuery, Prack, Release, RoutingSettings, Sighting, Signature, Srtp, StirVerify, StoreDirectory,
    TelnyxSettings, Transport, TwilioSettings, Vouched, number_orders, number_ports, permits,
};
pub use seal::{NodeKey, SealError};
pub use settings::{HttpSettings, Settings};
pub use store::{Booking, FirstRun, Message, SlotTaken, Store, StoreError, TakeError};
pub use switchboard::{
    Ask, AskRefused, Brief, DialRefused, DialRequest, Health, Heard, LiveCall, OnFail, ProbeRefused, Probed, Side,
    Switchboard, TransferMode, TransferOrder, TransferTerms, TransferTo, Via,
};
pub use time::{Clock, now_ms};

/// A future behind a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
