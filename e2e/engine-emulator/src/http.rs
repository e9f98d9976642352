//! Routes: which path does what, and the headers every answer carries.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, SERVER, VARY};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::app::App;
use crate::body::Payload;
use crate::metrics;
use crate::problem::Problem;
use crate::request::{Kind, chat_prompt, served_model, text_prompt};

mod completions;
mod dev;

/// A prompt of a million tokens fits.
const MOST_BODY_BYTES: usize = 32 << 20;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers one request; `reset` makes the connection end with RST.
pub(crate) async fn answer(
    app: Rc<App>,
    reset: Rc<Cell<bool>>,
    request: Request<Incoming>,
) -> Result<Response<Payload>, Infallible> {
    let request_id = request.headers().get(REQUEST_ID).cloned();
    let mut response = match route(&app, reset, request).await {
        Ok(response) => response,
        Err(problem) => refused(&problem),
    };
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("uvicorn"));
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    if app.settings.request_id_headers {
        let fresh = || HeaderValue::from_str(&(app.new_id() + &app.new_id())).ok();
        if let Some(id) = request_id.or_else(fresh) {
            headers.insert(REQUEST_ID, id);
        }
    }
    Ok(response)
}

async fn route(app: &Rc<App>, reset: Rc<Cell<bool>>, request: Request<Incoming>) -> Result<Response<Payload>, Problem> {
    let path = request.uri().path().to_owned();
    if path.starts_with("/v1") && !authorized(app, &request) {
        return Err(Problem::unauthorized());
    }
    let get = request.method() == Method::GET;
    let post = request.method() == Method::POST;
    match path.as_str() {
        "/v1/chat/completions" if post => completions::serve(app, reset, Kind::Chat, request).await,
        "/v1/completions" if post => completions::serve(app, reset, Kind::Text, request).await,
        "/tokenize" if post => tokenize(app, &read_body(request).await?),
        "/health" if get => Ok(health(app)),
        "/ping" if get || post => Ok(health(app)),
        "/version" if get => Ok(as_json(&json!({"version": "0.32.0"}))),
        "/v1/models" if get => Ok(as_json(&models(app))),
        "/load" if get => {
            let load = if app.settings.load_tracking { app.in_flight.get() } else { 0 };
            Ok(as_json(&json!({"server_load": load})))
        }
        "/metrics" if get => Ok(scrape(app)),
        "/v1/chat/completions"
        | "/v1/completions"
        | "/tokenize"
        | "/health"
        | "/ping"
        | "/version"
        | "/v1/models"
        | "/load"
        | "/metrics" => Err(Problem::method_not_allowed()),
        _ if app.settings.dev_mode => dev::route(app, &path, request).await,
        _ => Err(Problem::not_found()),
    }
}

fn authorized(app: &App, request: &Request<Incoming>) -> bool {
    if app.settings.api_keys.is_empty() {
        return true;
    }
    let given = request.headers().get(hyper::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    given
        .and_then(|value| value.strip_prefix("Bearer "))
        .is_some_and(|key| app.settings.api_keys.iter().any(|known| known == key))
}

fn health(app: &App) -> Response<Payload> {
    let status = if app.faults.borrow().unhealthy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    respond(status, None, Bytes::new())
}

fn scrape(app: &App) -> Response<Payload> {
    let text = app.engine.look(|scheduler| app.metrics.render(scheduler, app.sleep.get()));
    respond(StatusCode::OK, Some(metrics::CONTENT_TYPE), Bytes::from(text))
}

fn models(app: &App) -> Value {
    let settings = &app.settings;
    let created = process::clock::now().as_second();
    let data: Vec<Value> = settings
        .served_names
        .iter()
        .map(|name| {
            let permission = json!({
                "id": format!("modelperm-{}", app.new_id()), "object": "model_permission", "created": created,
                "allow_create_engine": false, "allow_sampling": true, "allow_logprobs": true,
                "allow_search_indices": false, "allow_view": true, "allow_fine_tuning": false,
                "organization": "*", "group": null, "is_blocking": false
            });
            json!({
                "id": name, "object": "model", "created": created, "owned_by": "vllm", "root": settings.model,
                "parent": null, "max_model_len": settings.scheduler.max_model_len, "permission": [permission]
            })
        })
        .collect();
    json!({"object": "list", "data": data})
}

fn tokenize(app: &App, body: &[u8]) -> Result<Response<Payload>, Problem> {
    let body: Value = serde_json::from_slice(body).map_err(|error| Problem::not_json(&error))?;
    let Value::Object(body) = body else {
        return Err(Problem::validation("body", "model_attributes_type", "Input should be a valid dictionary", &body));
    };
    let tokens = if body.contains_key("messages") {
        chat_prompt(&body, &app.settings)?
    } else {
        text_prompt(&body, &app.settings)?
    };
    served_model(&body, &app.settings)?;
    let length = app.settings.scheduler.max_model_len;
    Ok(as_json(&json!({"count": tokens.len(), "max_model_len": length, "tokens": tokens, "token_strs": null})))
}

/// The whole body of a request.
async fn read_body(request: Request<Incoming>) -> Result<Bytes, Problem> {
    match Limited::new(request.into_body(), MOST_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::too_large(MOST_BODY_BYTES)),
        Err(error) => Err(Problem::bad_request(&format!("The body could not be read: {error}"), "body")),
    }
}

fn respond(status: StatusCode, content_type: Option<&'static str>, bytes: Bytes) -> Response<Payload> {
    let mut response = Response::new(Payload::Whole(Some(bytes)));
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}

fn as_json(value: &Value) -> Response<Payload> {
    respond(StatusCode::OK, Some("application/json"), Bytes::from(value.to_string()))
}

fn refused(problem: &Problem) -> Response<Payload> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    respond(status, Some("application/json"), Bytes::from(problem.body.clone()))
}
