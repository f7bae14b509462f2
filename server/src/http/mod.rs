//! The HTTP face of the services: the whole route table, and what stands before every route.
//!
//! A handler reads the request, calls one service, and writes the answer; rules are the service's.
//! A request passes, from the outside in: [`origin`], which finds out where it comes from, [`request_log`], which
//! gives it its id and its line in the log, [`request_bounds`], [`host_prefix`], which takes `/on/{host}` off, [`shutdown`], counting,
//! [`pace`], which gives slow bodies up, [`drain_body`], which reads what handlers leave of a body, panics made into problems, and for every route of
//! [`private`] and [`by_path`] [`auth`], which says to the handler who asks; before routes that bring bytes stands [`uploads::check_room`] last.

mod accounts;
mod auth;
mod changes;
mod conditions;
mod connections;
mod downloads;
mod drain_body;
mod feed;
mod files;
mod forms;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod health;
mod host_prefix;
mod internal;
mod json;
mod listing;
pub(crate) mod metrics;
mod openapi;
mod origin;
mod pace;
mod problem;
mod ranges;
mod request_bounds;
mod request_id;
mod request_log;
mod responses;
mod schemas;
mod scoped_tokens;
mod shutdown;
mod spooled;
mod strangers;
mod tls;
mod uploads;

use axum::extract::{DefaultBodyLimit, FromRef};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use axum::{Extension, Router};
use miaofs::protocol::{batch, routes};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

pub(crate) use self::connections::{ConnectionLimits, ConnectionTimes, Door};
pub(crate) use self::json::ListRoom;
use self::json::{BODY_MAX, LIST_BODY_MAX};
pub(crate) use self::origin::{Network, TrustedProxies};
pub(crate) use self::pace::Pace;
pub(crate) use self::request_log::AccessLog;
pub(crate) use self::strangers::Strangers;
pub(crate) use self::tls::{Tls, TlsFiles};
use crate::service::{Role, Roles, Services};

/// State of the application, of which handlers extract parts with `State`.
#[derive(Debug, Clone)]
pub(crate) struct App {
    /// The services.
    pub services: Services,
    /// The figures.
    pub metrics: metrics::Metrics,
    /// True if they are served on an address of their own.
    pub metrics_apart: bool,
    /// Memory for long lists.
    pub lists: ListRoom,
    /// The reverse proxies before this process.
    pub trusted_proxies: TrustedProxies,
    /// The pace that bodies have to keep.
    pub pace: Pace,
    /// Those who get nothing but refusals.
    pub strangers: Strangers,
    /// Lines of the log about requests.
    pub access_log: AccessLog,
}

impl FromRef<App> for Services {
    fn from_ref(app: &App) -> Self {
        app.services.clone()
    }
}

impl FromRef<App> for metrics::Metrics {
    fn from_ref(app: &App) -> Self {
        app.metrics.clone()
    }
}

impl FromRef<App> for ListRoom {
    fn from_ref(app: &App) -> Self {
        app.lists.clone()
    }
}

/// Routes that need no token.
fn public(roles: &Roles, metrics_apart: bool) -> OpenApiRouter<App> {
    let mut always = OpenApiRouter::default()
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
        .routes(routes!(openapi::openapi));
    if !metrics_apart {
        always = always.routes(routes!(metrics::metrics));
    }
    if !roles.contains(Role::Account) {
        return always;
    }
    always
        .routes(routes!(accounts::sign_up))
        .routes(routes!(accounts::sign_in))
        .routes(routes!(accounts::refresh))
}

/// Routes that a scoped token reaches as well. Each hands a `Reader` or a `Writer` to its handler.
fn by_path(roles: &Roles, app: &App) -> OpenApiRouter<App> {
    let mut routes = OpenApiRouter::default();
    if roles.contains(Role::Files) {
        routes = routes
            .routes(routes!(files::query))
            .routes(routes!(files::meta))
            .routes(routes!(files::update))
            .routes(routes!(files::delete));
    }
    if roles.contains(Role::Upload) {
        let plain = OpenApiRouter::default().routes(routes!(uploads::upload));
        let plain = plain.route_layer(from_fn_with_state(app.clone(), uploads::check_room));
        routes = routes.merge(plain.layer(DefaultBodyLimit::disable()));
    }
    if roles.contains(Role::Download) {
        routes = routes.routes(routes!(downloads::download));
    }
    routes
}

/// Routes that only a signed-in device reaches.
fn private(roles: &Roles, app: &App) -> OpenApiRouter<App> {
    let mut routes = OpenApiRouter::default();
    if roles.contains(Role::Account) {
        routes = routes.merge(account());
    }
    if roles.contains(Role::Files) {
        routes = routes.merge(files());
    }
    if roles.contains(Role::Upload) {
        routes = routes.merge(upload(app));
    }
    if roles.contains(Role::Download) {
        routes = routes.merge(download());
    }
    routes
}

fn account() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(accounts::sign_out))
        .routes(routes!(accounts::change_password))
        .routes(routes!(accounts::account))
        .routes(routes!(accounts::devices))
        .routes(routes!(accounts::revoke))
        .routes(routes!(accounts::close))
        .routes(routes!(scoped_tokens::create_token, scoped_tokens::tokens))
        .routes(routes!(scoped_tokens::revoke_token))
}

fn files() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(files::commit).layer(DefaultBodyLimit::max(LIST_BODY_MAX)))
        .routes(routes!(changes::changes))
        .routes(routes!(files::list))
}

fn upload(app: &App) -> OpenApiRouter<App> {
    let init = OpenApiRouter::default()
        .routes(routes!(uploads::init))
        .layer(DefaultBodyLimit::max(LIST_BODY_MAX));
    let batches = OpenApiRouter::default()
        .routes(routes!(uploads::batch))
        .layer(DefaultBodyLimit::max(batch::BODY_MAX));
    let filling = OpenApiRouter::default()
        .merge(init)
        .merge(batches)
        .routes(routes!(uploads::put_chunk))
        .route_layer(from_fn_with_state(app.clone(), uploads::check_room));
    let known = OpenApiRouter::default()
        .routes(routes!(uploads::known))
        .layer(DefaultBodyLimit::max(LIST_BODY_MAX));
    OpenApiRouter::default()
        .merge(filling)
        .merge(known)
        .routes(routes!(uploads::fast_upload))
        .routes(routes!(uploads::prove))
        .routes(routes!(uploads::status, uploads::cancel))
        .routes(routes!(uploads::complete))
}

fn download() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(downloads::contents)).routes(routes!(downloads::locate))
}

/// Demands a token before routes: of a device before the first, of either sort before the second. A process that only
/// transfers has none of them.
fn guarded([private, by_path]: [OpenApiRouter<App>; 2], app: &App) -> OpenApiRouter<App> {
    let services = || app.services.clone();
    let is_empty = |routes: &OpenApiRouter<App>| routes.get_openapi().paths.paths.is_empty();
    let mut guarded = OpenApiRouter::default();
    if !is_empty(&private) {
        let device = from_fn_with_state(services(), auth::require_device);
        guarded = guarded.merge(private.route_layer(device));
    }
    if !is_empty(&by_path) {
        let any = from_fn_with_state(services(), auth::require_token);
        guarded = guarded.merge(by_path.route_layer(any));
    }
    guarded
}

/// Routes for the other processes of the server, of one that has a staging disk.
fn internal(roles: &Roles) -> OpenApiRouter<App> {
    let routes = OpenApiRouter::default();
    if roles.have_staging() {
        routes.route(routes::INTERNAL_BLOB, get(internal::blob))
    } else {
        routes
    }
}

/// All routes of the roles, with everything that stands before them.
pub(crate) fn router(app: App, roles: &Roles) -> Router {
    let (routes, document) = OpenApiRouter::with_openapi(openapi::frame())
        .merge(public(roles, app.metrics_apart))
        .merge(guarded([private(roles, &app), by_path(roles, &app)], &app))
        .merge(internal(roles))
        .split_for_parts();
    let (here, trusted_proxies) = (app.services.host().clone(), app.trusted_proxies.clone());
    let (access_log, strangers) = (app.access_log, app.strangers.clone());
    let routes = routes
        .layer(Extension(openapi::Rendered::new(document)))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(problem::unknown_route)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(CatchPanicLayer::custom(problem::of_panic))
        .layer(from_fn(drain_body::read_to_the_end))
        .layer(from_fn_with_state(app.pace, pace::keep))
        .layer(from_fn(metrics::count_requests))
        .layer(from_fn_with_state(app.services.clone(), shutdown::close_connections))
        .with_state(app);
    host_prefix::with_prefix(routes, here)
        .layer(from_fn(request_bounds::check))
        .layer(from_fn_with_state(strangers, strangers::slow_down))
        .layer(from_fn_with_state(access_log, request_log::log_request))
        .layer(from_fn_with_state(trusted_proxies, origin::find))
}

/// Routes for whoever watches the process, on an address of their own.
pub(crate) fn watching_router(app: App) -> Router {
    Router::new()
        .route(routes::METRICS, get(metrics::metrics))
        .route(routes::HEALTH, get(health::health))
        .route(routes::READY, get(health::ready))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(problem::unknown_route)
        .with_state(app)
}

/// Serves whoever watches the process until `stop` is cancelled, by plain HTTP.
pub(crate) async fn serve_watching(listener: TcpListener, router: Router, stop: CancellationToken) {
    if let Some(Err(error)) =
        stop.run_until_cancelled(axum::serve(listener, router).into_future()).await
    {
        tracing::error!(%error, "the figures are served no more");
    }
}

/// Serves until `stop` is cancelled, then finishes the requests in flight.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    door: Door,
    stop: CancellationToken,
) {
    connections::serve(listener, router, door, stop).await;
}
