//! Endpoints of `VLLM_SERVER_DEV_MODE=1`: pause, sleep, the prefix cache, and the emulator's faults.

use std::rc::Rc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use serde_json::{Value, json};

use super::{as_json, read_body};
use crate::app::{App, Released};
use crate::body::Payload;
use crate::faults::Faults;
use crate::problem::Problem;

pub(super) async fn route(app: &Rc<App>, path: &str, request: Request<Incoming>) -> Result<Response<Payload>, Problem> {
    let get = request.method() == Method::GET;
    let post = request.method() == Method::POST;
    let answer = match path {
        "/is_paused" if get => json!({"is_paused": app.engine.look(crate::scheduler::Scheduler::is_paused)}),
        "/is_sleeping" if get => json!({"is_sleeping": app.sleep.get() > 0}),
        "/get_world_size" if get => json!({"world_size": 1}),
        "/pause" if post => {
            match query(&request, "mode").as_deref() {
                None | Some("abort") => pause(app, true),
                Some("keep") => pause(app, false),
                Some(other) => {
                    let message = format!("mode = {other}: this engine knows `abort` and `keep`.");
                    return Err(Problem::bad_request(&message, "mode"));
                }
            }
            json!({"status": "paused"})
        }
        "/resume" if post => {
            app.engine.change(|scheduler, now, _| scheduler.resume(now));
            json!({"status": "resumed"})
        }
        "/sleep" if post => {
            let level = match query(&request, "level").as_deref() {
                None | Some("1") => 1,
                Some("2") => 2,
                Some(other) => {
                    return Err(Problem::bad_request(&format!("level = {other}: must be 1 or 2."), "level"));
                }
            };
            pause(app, true);
            app.engine.change(|scheduler, _, _| scheduler.reset_prefix_cache());
            app.sleep.set(level);
            app.released.set(Released { weights: true, kv_cache: true });
            json!({"status": "sleeping", "level": level})
        }
        "/wake_up" if post => {
            let tags: Vec<String> = queries(&request, "tags").collect();
            if let Some(other) = tags.iter().find(|tag| !matches!(tag.as_str(), "weights" | "kv_cache")) {
                return Err(Problem::bad_request(&format!("tags = {other}: must be weights or kv_cache."), "tags"));
            }
            wake_up(app, &tags).await;
            json!({"status": "awake", "tags": if tags.is_empty() { Value::Null } else { json!(tags) }})
        }
        "/collective_rpc" if post => {
            let body: Value = serde_json::from_slice(&read_body(request).await?).unwrap_or_default();
            if body["method"] != "reload_weights" {
                return Err(Problem::bad_request("This engine knows the method `reload_weights`.", "method"));
            }
            tokio::time::sleep(app.settings.wake_up).await;
            json!({"results": [null]})
        }
        "/reset_prefix_cache" if post => {
            json!({"success": app.engine.change(|scheduler, _, _| scheduler.reset_prefix_cache())})
        }
        "/emulator/faults" if get => json!(*app.faults.borrow()),
        "/emulator/faults" if post => {
            let body = read_body(request).await?;
            let faults: Faults = serde_json::from_slice(&body)
                .map_err(|error| Problem::bad_request(&format!("These are not faults: {error}"), "body"))?;
            faults.check().map_err(|problem| Problem::bad_request(&problem, "body"))?;
            app.engine.change(|scheduler, _, _| scheduler.set_slowdown(faults.slow));
            app.faults.replace(faults);
            json!(*app.faults.borrow())
        }
        _ => return Err(Problem::not_found()),
    };
    Ok(as_json(&answer))
}

fn pause(app: &App, abort: bool) {
    app.engine.change(|scheduler, _, progress| scheduler.pause(abort, progress));
}

/// Gives memory back; awake once all of it is. What takes its time is the content of the weights: at level 1 it comes from
/// main memory here, at level 2 with `reload_weights`.
async fn wake_up(app: &App, tags: &[String]) {
    let is_meant = |tag: &str| tags.is_empty() || tags.iter().any(|given| given == tag);
    if app.sleep.get() == 1 && app.released.get().weights && is_meant("weights") {
        tokio::time::sleep(app.settings.wake_up).await;
    }
    let before = app.released.get();
    let released = Released {
        weights: before.weights && !is_meant("weights"),
        kv_cache: before.kv_cache && !is_meant("kv_cache"),
    };
    app.released.set(released);
    if released == Released::default() {
        app.sleep.set(0);
        app.engine.change(|scheduler, now, _| scheduler.resume(now));
    }
}

fn query(request: &Request<Incoming>, name: &str) -> Option<String> {
    queries(request, name).next()
}

fn queries(request: &Request<Incoming>, name: &str) -> impl Iterator<Item = String> {
    let pairs = request.uri().query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(move |(key, _)| *key == name).map(|(_, value)| value.to_owned())
}
