//! Endpoints of `VLLM_SERVER_DEV_MODE=1`: pause, sleep, the prefix cache, and the emulator's faults.

use std::rc::Rc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use serde_json::json;

use super::{as_json, read_body};
use crate::app::App;
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
            json!({"status": "sleeping", "level": level})
        }
        "/wake_up" if post => {
            app.sleep.set(0);
            app.engine.change(|scheduler, now, _| scheduler.resume(now));
            json!({"status": "awake", "tags": null})
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

fn query(request: &Request<Incoming>, name: &str) -> Option<String> {
    let pairs = request.uri().query()?.split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}
