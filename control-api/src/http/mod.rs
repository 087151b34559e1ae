//! The API over HTTP: `/api/v1`, and the operator's pages at the root.

pub(crate) mod actor;
mod answers;
pub(crate) mod body;
pub(crate) mod change;
mod compat;
mod cors;
mod cursor;
mod decoded;
mod door;
mod download;
mod envelope;
pub(crate) mod error;
pub(crate) mod etag;
mod idempotency;
pub(crate) mod ids;
pub(crate) mod list;
pub(crate) mod multipart;
pub(crate) mod query;
mod rate;
mod routes;
mod wav;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, middleware};
use tower::Layer as _;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use actor::Actor;
pub(crate) use error::ApiError;

use crate::{
    AgentCheck, Cashier, Hub, Journal, NodeInfo, NodeKey, Settings, Shelves, Store, StoreDirectory, Switchboard,
    ToolClient, WebhookSender, archive::Archive, auth::Auth, routing::carrier::Carriers,
};

/// What the routes work with.
#[derive(Clone)]
pub struct App {
    /// Rows.
    pub store: Store,
    /// Where the node writes what happens; the API waits for it before it answers about what it caused.
    pub journal: Journal,
    /// Numbers, trunks and rules in memory.
    pub directory: StoreDirectory,
    /// The running node.
    pub switchboard: Arc<dyn Switchboard>,
    /// Where recordings lie.
    pub recordings: Archive,
    /// Where events are watched.
    pub hub: Hub,
    /// Which node this is.
    pub node: NodeInfo,
    /// Sends what webhooks are tested with.
    pub sender: WebhookSender,
    /// Seals secrets that must be read again.
    pub seal: NodeKey,
    /// How the control plane is set up.
    pub settings: Arc<Settings>,
    /// Asks servers that tenants name.
    pub tools: ToolClient,
    /// What agents know.
    pub shelves: Shelves,
    /// Who knows the engines that agents name.
    pub agents: Arc<dyn AgentCheck>,
}

/// JSON bodies at most, bytes.
const BODY_LIMIT: usize = 1 << 20;

#[derive(OpenApi)]
#[openapi(
    info(title = "Sidetone", description = "Calls, their transcripts, recordings and events. Times are RFC 3339 UTC with milliseconds; `*_ms` are milliseconds. Clients ignore fields they do not know."),
    components(schemas(error::ErrorEnvelope)),
    modifiers(&Credentials),
    tags(
        (name = "auth", description = "Accounts and sign-in"),
        (name = "people", description = "Users, tenants, their members and invitations, and what they did"),
        (name = "keys", description = "Credentials of programs"),
        (name = "numbers", description = "Telephone numbers, what they do with calls, and numbers that are not called"),
        (name = "trunks", description = "Ways to and from carriers, and rules for the calls that come by them"),
        (name = "calls", description = "Place, watch, end and read calls"),
        (name = "analytics", description = "What calls add up to"),
        (name = "leads", description = "Who called and may become a customer, and mail to them"),
        (name = "billing", description = "Credit, usage, payments, rates and statements"),
        (name = "internal", description = "For other workers of the installation, on this machine only"),
        (name = "agents", description = "Who speaks, what they know and can do"),
        (name = "records", description = "What agents took down"),
        (name = "events", description = "What happened, as it happens"),
        (name = "webhooks", description = "Where events are sent"),
        (name = "operations", description = "The node itself"),
        (name = "later", description = "Paths of earlier products that this version does not serve: 501"),
    )
)]
struct Document;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        components
            .add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key"))));
    }
}

/// Every documented route; the document is made from the same list, so neither can miss what the other has.
fn documented() -> OpenApiRouter<State> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(routes::auth::account::register))
        .routes(routes!(routes::auth::account::login))
        .routes(routes!(routes::auth::account::refresh))
        .routes(routes!(routes::auth::account::switch))
        .routes(routes!(routes::auth::account::logout))
        .routes(routes!(routes::auth::recovery::forgot))
        .routes(routes!(routes::auth::recovery::reset))
        .routes(routes!(routes::auth::recovery::verify))
        .routes(routes!(routes::auth::oauth::exchange))
        .routes(routes!(routes::auth::oauth::start))
        .routes(routes!(routes::auth::oauth::callback))
        .routes(routes!(routes::auth::sessions::list))
        .routes(routes!(routes::auth::sessions::end))
        .routes(routes!(routes::auth::tokens::jwks))
        .routes(routes!(routes::auth::tokens::rotate))
        .routes(routes!(routes::auth::tokens::ticket))
        .routes(routes!(routes::people::me::get, routes::people::me::put, routes::people::me::delete))
        .routes(routes!(routes::people::me::password))
        .routes(routes!(routes::people::blocked::put))
        .routes(routes!(routes::people::tenants::list, routes::people::tenants::create))
        .routes(routes!(
            routes::people::tenants::get,
            routes::people::tenants::put,
            routes::people::tenants::patch,
            routes::people::tenants::delete
        ))
        .routes(routes!(routes::people::members::list))
        .routes(routes!(routes::people::members::put, routes::people::members::remove))
        .routes(routes!(routes::people::invitations::list, routes::people::invitations::create))
        .routes(routes!(routes::people::invitations::revoke))
        .routes(routes!(routes::people::invitations::accept))
        .routes(routes!(routes::people::audit_log::list))
        .routes(routes!(routes::keys::list, routes::keys::create))
        .routes(routes!(routes::keys::get, routes::keys::revoke))
        .routes(routes!(routes::numbers::list, routes::numbers::create))
        .routes(routes!(routes::numbers::get, routes::numbers::put, routes::numbers::patch, routes::numbers::release))
        .routes(routes!(routes::numbers::assign, routes::numbers::unassign))
        .routes(routes!(routes::numbers::routing, routes::numbers::put_routing))
        .routes(routes!(routes::number_shop::available))
        .routes(routes!(routes::number_port::create))
        .routes(routes!(routes::number_orders::list))
        .routes(routes!(routes::number_orders::get))
        .routes(routes!(routes::do_not_call::list, routes::do_not_call::create))
        .routes(routes!(routes::do_not_call::delete))
        .routes(routes!(routes::trunks::list, routes::trunks::create))
        .routes(routes!(routes::trunks::get, routes::trunks::put, routes::trunks::patch, routes::trunks::delete))
        .routes(routes!(routes::trunks::status))
        .routes(routes!(routes::trunks::test))
        .routes(routes!(routes::dispatch_rules::list, routes::dispatch_rules::create))
        .routes(routes!(
            routes::dispatch_rules::get,
            routes::dispatch_rules::put,
            routes::dispatch_rules::patch,
            routes::dispatch_rules::delete
        ))
        .routes(routes!(routes::dispatch_rules::resolve))
        .routes(routes!(routes::dispatch_rules::reload))
        .routes(routes!(routes::calls::list, routes::place::create))
        .routes(routes!(routes::calls::active))
        .routes(routes!(routes::calls::transcripts))
        .routes(routes!(routes::calls::get, routes::calls::delete))
        .routes(routes!(routes::calls::end))
        .routes(routes!(routes::calls::cost))
        .routes(routes!(routes::billing::balance::balance))
        .routes(routes!(routes::billing::balance::transactions))
        .routes(routes!(routes::billing::usage::usage))
        .routes(routes!(routes::billing::usage::daily))
        .routes(routes!(routes::billing::payments::top_up))
        .routes(routes!(routes::billing::payments::auto, routes::billing::payments::set_auto))
        .routes(routes!(routes::billing::payments::list))
        .routes(routes!(routes::billing::payments::refund))
        .routes(routes!(routes::billing::payments::adjust))
        .routes(routes!(routes::billing::invoices::list))
        .routes(routes!(routes::billing::invoices::get))
        .routes(routes!(routes::billing::invoices::pdf))
        .routes(routes!(routes::billing::plans::list))
        .routes(routes!(routes::billing::plans::get, routes::billing::plans::subscribe))
        .routes(routes!(routes::billing::rates::list))
        .routes(routes!(routes::billing::rates::plans, routes::billing::rates::create_plan))
        .routes(routes!(routes::billing::rates::update_plan))
        .routes(routes!(routes::billing::rates::replace))
        .routes(routes!(routes::billing::stripe::webhook))
        .routes(routes!(routes::leases::open))
        .routes(routes!(routes::leases::renew))
        .routes(routes!(routes::leases::close))
        .routes(routes!(routes::leases::deduct))
        .routes(routes!(routes::listen::open))
        .routes(routes!(routes::live::say))
        .routes(routes!(routes::live::instruct))
        .routes(routes!(routes::live::dtmf))
        .routes(routes!(routes::live::hold))
        .routes(routes!(routes::live::mute))
        .routes(routes!(routes::transfer::transfer, routes::transfer::take_back))
        .routes(routes!(routes::transcript::transcript))
        .routes(routes!(routes::recording::recording, routes::recording::delete))
        .routes(routes!(routes::recording::signed))
        .routes(routes!(routes::records::events))
        .routes(routes!(routes::records::latency))
        .routes(routes!(routes::trace::trace))
        .routes(routes!(routes::events::list))
        .routes(routes!(routes::analysis::summary))
        .routes(routes!(routes::analysis::analyze))
        .routes(routes!(routes::exports::calls))
        .routes(routes!(routes::exports::leads))
        .routes(routes!(routes::files::file))
        .routes(routes!(routes::files::content))
        .merge(
            // A file is larger than any other body.
            OpenApiRouter::new()
                .routes(routes!(routes::files::upload))
                .layer(DefaultBodyLimit::max(routes::files::BODY_LIMIT)),
        )
        .routes(routes!(routes::stats::stats))
        .routes(routes!(routes::analytics::overview))
        .routes(routes!(routes::analytics::calls))
        .routes(routes!(routes::analytics::agents))
        .routes(routes!(routes::analytics::latency))
        .routes(routes!(routes::analytics::costs))
        .routes(routes!(routes::analytics::sentiment))
        .routes(routes!(routes::report::report))
        .routes(routes!(routes::leads::list, routes::leads::create))
        .routes(routes!(routes::leads::get, routes::leads::replace, routes::leads::patch, routes::leads::delete))
        .routes(routes!(routes::leads::notes, routes::leads::note))
        .routes(routes!(routes::leads::email))
        .routes(routes!(routes::templates::list, routes::templates::create))
        .routes(routes!(routes::templates::get, routes::templates::replace, routes::templates::delete))
        .routes(routes!(routes::templates::preview))
        .routes(routes!(routes::ws::open))
        .routes(routes!(routes::webhooks::list, routes::webhooks::create))
        .routes(routes!(
            routes::webhooks::get,
            routes::webhooks::put,
            routes::webhooks::patch,
            routes::webhooks::delete
        ))
        .routes(routes!(routes::webhooks::rotate))
        .routes(routes!(routes::deliveries::test))
        .routes(routes!(routes::deliveries::list))
        .routes(routes!(routes::deliveries::replay))
        .routes(routes!(routes::deliveries::retry))
        .merge(crate::agents::routes::all())
        .routes(routes!(routes::taken::bookings))
        .routes(routes!(routes::taken::cancel))
        .routes(routes!(routes::taken::messages))
        .routes(routes!(routes::operations::health))
        .routes(routes!(routes::operations::ready))
        .routes(routes!(routes::operations::metrics))
        .routes(routes!(routes::nodes::list))
        .routes(routes!(routes::nodes::status))
        .routes(routes!(routes::nodes::drain))
        .routes(routes!(routes::watchdog::sweep))
        .routes(routes!(routes::later::twilio_voice))
        .routes(routes!(routes::later::twilio_voice_root))
        .routes(routes!(routes::later::twilio_inbound))
        .routes(routes!(routes::later::twilio_outbound))
        .routes(routes!(routes::later::twilio_media))
        .routes(routes!(routes::later::media_stream))
        .routes(routes!(routes::later::stream))
        .routes(routes!(routes::later::ultravox))
        .routes(routes!(routes::later::referral_event))
        .routes(routes!(routes::later::referrals))
        .routes(routes!(routes::later::referral_links, routes::later::make_referral_link))
        .routes(routes!(routes::later::affiliates))
        .routes(routes!(routes::later::twilio_connect))
        .routes(routes!(routes::later::twilio_status))
        .routes(routes!(routes::later::token, routes::later::make_token))
        .routes(routes!(routes::later::dispatch))
        .routes(routes!(routes::later::calls))
        .routes(routes!(routes::later::change_call))
        .routes(routes!(routes::later::call_events))
        .routes(routes!(routes::docs::document))
        .routes(routes!(routes::docs::page))
}

/// The OpenAPI 3.1 document as JSON.
pub fn openapi() -> String {
    written(&documented().into_openapi())
}

fn written(document: &utoipa::openapi::OpenApi) -> String {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    answers::complete(&mut document);
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

/// What every handler sees.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) app: App,
    keys: Arc<actor::KeyCache>,
    public: Arc<cors::PublicOrigins>,
    carriers: Carriers,
    limiter: Arc<rate::Limiter>,
    sockets: Arc<routes::ws::Seats>,
    auth: Arc<Auth>,
    pub(crate) samples: Arc<crate::agents::Samples>,
    pub(crate) voices: Arc<crate::agents::vendor_voices::Lists>,
    document: Arc<str>,
    gateway: Cashier,
}

/// The whole API. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`: `/metrics` and the detail of `/ready` are for
/// loopback, and without a peer address nobody counts as that.
pub fn router(app: App) -> Router {
    let (routes, document) = documented().split_for_parts();
    let document = written(&document).into();
    let gateway = Cashier::new(app.settings.billing.clone());
    let carriers = Carriers::new(&app.settings.carriers);
    let auth = Arc::new(Auth::new(app.store.clone(), app.seal.clone(), &app.settings.auth));
    let state = State {
        app,
        keys: Arc::default(),
        public: Arc::default(),
        carriers,
        limiter: Arc::default(),
        sockets: Arc::default(),
        auth,
        samples: Arc::default(),
        voices: Arc::default(),
        document,
        gateway,
    };
    let routes = routes
        .fallback(|| async { error::ApiError::not_found() })
        .layer(middleware::from_fn_with_state(state.clone(), door::door))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(cors::layer(&state))
        .with_state(state.clone());
    // A trailing slash is accepted and aliases are answered, so the path is changed before it is routed.
    let service = middleware::from_fn_with_state(state.clone(), compat::rewrite).layer(routes);
    let service = middleware::from_fn_with_state(state, envelope::envelope).layer(service);
    Router::new().fallback_service(middleware::from_fn(envelope::without_trailing_slash).layer(service))
}
