//! Routing: all endpoints, and which requests get where.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::guard;
use actix_web::http::Method;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::middleware::NormalizePath;
use actix_web::{HttpRequest, HttpResponse, Resource, Route, web};

use super::endpoint::{Api, Effect, Endpoint};
use super::error::{ApiError, forbidden, not_found, unavailable};
use super::nodes::RelayedCaller;
use super::pages;
use super::request::{Request, Who, audit, described, is_picture};
use super::roles::Role;
use super::{
    AdminState, accounts, bans, canvas_picture, checks, ended, events, extbans, first_admin, invitations,
    invites, listings, locks, log, login, openapi, overview, page, people, person_bans, recording,
    recordings, reports, restrictions, server, session_chat, session_users, sessions, settings, thumbnails,
    timeline, undo, users, whitelist,
};
use crate::transport::trust::ClientAddr;
use crate::web::RequestBody;

/// All endpoints of the API.
pub(super) fn api() -> Api {
    let mut api = Api::default();
    let parts: [fn(&mut Api); 32] = [
        server::endpoints,
        settings::endpoints,
        locks::endpoints,
        sessions::endpoints,
        restrictions::endpoints,
        timeline::endpoints,
        session_users::endpoints,
        session_chat::endpoints,
        invites::endpoints,
        listings::endpoints,
        thumbnails::endpoints,
        recording::endpoints,
        recordings::endpoints,
        canvas_picture::endpoints,
        undo::endpoints,
        users::endpoints,
        bans::endpoints,
        person_bans::endpoints,
        people::endpoints,
        reports::endpoints,
        extbans::endpoints,
        accounts::endpoints,
        invitations::endpoints,
        whitelist::endpoints,
        log::endpoints,
        overview::endpoints,
        checks::endpoints,
        ended::endpoints,
        events::endpoints,
        login::endpoints,
        first_admin::endpoints,
        openapi::endpoints,
    ];
    for part in parts {
        part(&mut api);
    }
    api
}

/// What answers a request.
#[derive(Clone)]
enum Target {
    Endpoint(Rc<Endpoint>),
    /// A path of the API without this method; the methods that it has.
    OtherMethod(Rc<str>),
    /// No path of the API.
    Nowhere,
    Metrics,
    /// Health checks, which need no login.
    Health,
    Ready,
    /// The admin page. It is public, and holds no data.
    Page,
    /// The page for links of operators, and its files.
    OperatorPage,
}

impl Target {
    /// Whether it is for links of operators, who have access from everywhere.
    fn is_for_links(&self) -> bool {
        match self {
            Target::Endpoint(endpoint) => endpoint.effect == Effect::Link,
            Target::OperatorPage => true,
            _ => false,
        }
    }
}

/// Adds the routes of the API, of monitoring and of the page.
pub(super) fn configure(config: &mut web::ServiceConfig) {
    let mut scope = web::scope("");
    // A path with fewer placeholders goes first: `chat` is no user of a session. Braces sort behind letters.
    let mut paths: BTreeMap<Vec<&str>, Vec<Endpoint>> = BTreeMap::new();
    for endpoint in api().endpoints {
        paths.entry(endpoint.path.split('/').collect()).or_default().push(endpoint);
    }
    for endpoints in paths.into_values() {
        scope = scope.service(resource(endpoints));
    }
    for (path, target) in
        [("/metrics", Target::Metrics), ("/healthz", Target::Health), ("/readyz", Target::Ready)]
    {
        scope = scope.service(web::resource(path).to(handler(target)));
    }
    for path in ["/api", "/api/{rest:.*}"] {
        scope = scope.service(web::resource(path).to(handler(Target::Nowhere)));
    }
    for path in ["/operator", "/operator/{rest:.*}"] {
        scope = scope.service(web::resource(path).to(handler(Target::OperatorPage)));
    }
    let scope = scope.default_service(web::to(handler(Target::Page)));
    // A slash at the end and a doubled one mean nothing.
    config.service(scope.wrap(NormalizePath::trim()));
}

/// The resource of a path, from its endpoints.
fn resource(endpoints: Vec<Endpoint>) -> Resource {
    let path = endpoints.first().map_or("", |endpoint| endpoint.path);
    let mut methods = vec![Method::OPTIONS];
    let mut resource = web::resource(format!("/api/{path}"));
    for endpoint in endpoints {
        methods.push(endpoint.method.clone());
        let route = if endpoint.method == Method::GET {
            methods.push(Method::HEAD);
            Route::new().guard(guard::Any(guard::Get()).or(guard::Head()))
        } else {
            web::method(endpoint.method.clone())
        };
        resource = resource.route(route.to(handler(Target::Endpoint(Rc::new(endpoint)))));
    }
    let mut methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
    methods.sort_unstable();
    resource.default_service(web::to(handler(Target::OtherMethod(methods.join(", ").into()))))
}

type Answered = Pin<Box<dyn Future<Output = HttpResponse>>>;

/// The handler of a target, as actix-web wants it.
fn handler(
    target: Target,
) -> impl Fn(HttpRequest, web::Data<AdminState>, web::Payload) -> Answered + Clone + 'static {
    move |http, state, payload| {
        let target = target.clone();
        Box::pin(async move { answer(&target, http, state, payload).await })
    }
}

/// Handles an HTTP request.
async fn answer(
    target: &Target,
    http: HttpRequest,
    state: web::Data<AdminState>,
    payload: web::Payload,
) -> HttpResponse {
    let state = state.into_inner();
    let mut body = RequestBody::new(&http, payload);
    let source = if let Some(caller) = RelayedCaller::of(&http) {
        Ok(caller.source)
    } else if target.is_for_links() {
        state.access.operator_addr_of(&http)
    } else {
        state.access.client_addr_of(&http)
    };
    let mut response = match source {
        Ok(source) => respond(&state, target, &http, &mut body, source).await,
        Err(denied) => *denied,
    };
    state.access.add_headers(response.headers_mut());
    body.close_if_unread(response)
}

/// Handles a request whose address has access. The body is not read before the login was checked.
async fn respond(
    state: &Arc<AdminState>,
    target: &Target,
    http: &HttpRequest,
    body: &mut RequestBody,
    source: ClientAddr,
) -> HttpResponse {
    if *http.method() == Method::OPTIONS {
        return pages::preflight();
    }
    let endpoint = match target {
        Target::Health => return HttpResponse::Ok().content_type("text/plain").body("ok\n"),
        Target::Ready => return state.ready().await,
        Target::Page | Target::OperatorPage => return page::respond(http),
        Target::Endpoint(endpoint) => Some(endpoint),
        Target::Metrics | Target::OtherMethod(_) | Target::Nowhere => None,
    };
    if let Some(endpoint) = endpoint.filter(|endpoint| endpoint.is_public()) {
        // What is public checks rights of its own.
        let who = Who {
            name: source.ip().to_string(),
            source,
            by_cookie: false,
            account: None,
            role: Role::Reader,
        };
        return call(state, endpoint, http, body, who).await;
    }
    let who = match who_asks(state, http, source).await {
        Ok(who) => who,
        Err(denied) => return *denied,
    };
    match target {
        Target::Endpoint(endpoint) => call(state, endpoint, http, body, who).await,
        Target::OtherMethod(allow) => other_method(allow),
        Target::Metrics => state.metrics().await,
        Target::Nowhere | Target::Health | Target::Ready | Target::Page | Target::OperatorPage => {
            not_found().response()
        }
    }
}

/// Who sends a request: has logged in at the page, or at another server, or is admitted otherwise.
async fn who_asks(
    state: &AdminState,
    http: &HttpRequest,
    source: ClientAddr,
) -> Result<Who, Box<HttpResponse>> {
    if let Some(caller) = RelayedCaller::of(http) {
        return Ok(caller.who());
    }
    match state.login_by_cookie(http).await {
        Some((name, role)) => {
            let name = format!("{name}@{}", source.ip());
            Ok(Who { name, source, by_cookie: true, account: None, role })
        }
        None => state.admit(http, source).await,
    }
}

/// The response to a method that the path does not have.
fn other_method(allow: &str) -> HttpResponse {
    let error = ApiError::new(actix_web::http::StatusCode::METHOD_NOT_ALLOWED, "Unsupported method");
    let mut response = error.response();
    if let Ok(allow) = HeaderValue::from_str(allow) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

fn not_allowed() -> ApiError {
    forbidden("Your role does not allow this")
}

/// Reads an authorized request and has its endpoint handle it. Changes are logged.
async fn call(
    state: &Arc<AdminState>,
    endpoint: &Endpoint,
    http: &HttpRequest,
    body: &mut RequestBody,
    who: Who,
) -> HttpResponse {
    let is_allowed = endpoint.is_public() || who.role >= Role::needed(&endpoint.method, endpoint.path);
    if is_allowed && let Some(node) = state.node_of(endpoint, http).await {
        return state.pass_on(&node, http, body, (endpoint, &who)).await;
    }
    // Pictures are large: few are in memory at once.
    let is_picture = endpoint.takes_pictures && is_picture(http);
    if is_picture && !is_allowed {
        return not_allowed().response();
    }
    let upload = is_picture.then(|| state.picture_uploads.try_acquire());
    let read = match &upload {
        None => Request::read(http, body, endpoint.max_body(), who).await,
        Some(Ok(_)) => Request::read_picture(http, body, who).await,
        Some(Err(_)) => Err(unavailable("Other pictures are being read: try again when that is done")),
    };
    let request = match read {
        Ok(request) => request,
        Err(error) => return error.response(),
    };
    let change = (endpoint.effect == Effect::Change)
        .then(|| (described(http, &request.body), request.who.name.clone()));
    let may = if is_allowed { Ok(()) } else { Err(not_allowed()) };
    let unlocked = endpoint.section.map_or(Ok(()), |section| state.check_unlocked(section));
    let answer = match may.and(unlocked) {
        Ok(()) => endpoint.call(state.clone(), request).await,
        Err(refused) => Err(refused),
    };
    if let Some((change, name)) = change {
        audit(&change, &name, answer.as_ref().err());
    }
    answer.unwrap_or_else(|error| error.response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_unique() {
        let mut rows: Vec<_> = api().endpoints.iter().map(|e| (e.path, e.method.to_string())).collect();
        let count = rows.len();
        rows.sort();
        rows.dedup();
        assert_eq!(rows.len(), count);
    }

    #[test]
    fn placeholders_of_paths_have_types() {
        for endpoint in api().endpoints {
            let mut generator = schemars::SchemaGenerator::default();
            let mut other = schemars::SchemaGenerator::default();
            let types = (endpoint.types)(&mut generator, &mut other);
            let mut named: Vec<String> = types
                .path
                .get("properties")
                .and_then(|p| p.as_object())
                .into_iter()
                .flat_map(|p| p.keys().cloned())
                .collect();
            let placeholders =
                endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            let mut placeholders: Vec<String> = placeholders.map(str::to_owned).collect();
            named.sort();
            placeholders.sort();
            assert_eq!(named, placeholders, "{}", endpoint.path);
        }
    }
}
