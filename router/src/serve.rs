//! The story of a request.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::admit::admit;
use crate::body::Body;
use crate::observe::observe;
use crate::own;
use crate::proxy::proxy;
use crate::refusal::Refusal;
use crate::route::route;
use crate::worker::Worker;

/// Answers one request on the data port.
pub async fn serve(worker: Arc<Worker>, request: Request<Incoming>) -> Response<Body> {
    if let Some(answer) = own::answer(&worker.shared, &request) {
        return answer;
    }
    forward(&worker, request).await.unwrap_or_else(Response::from)
}

/// admit → route → proxy → observe; back to route as long as nothing has gone to the client.
async fn forward(worker: &Arc<Worker>, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let mut admitted = admit(&worker.shared, request, worker.random()).await?;
    loop {
        let lease = match route(worker, &mut admitted).await {
            Ok(lease) => lease,
            Err(refusal) => return Err(admitted.refused(refusal)),
        };
        match proxy(worker, &admitted, &lease).await {
            Ok(start) => return Ok(observe(worker, admitted, start.with(lease))),
            Err(setback) => {
                if let Err(refusal) = admitted.note(&lease.target.engine, setback) {
                    return Err(admitted.refused(refusal));
                }
            }
        }
    }
}
