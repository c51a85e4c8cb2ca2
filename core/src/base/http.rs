//! A small HTTP server for probes and scrapes, on the runtime's threads: a blocked interpreter does not stop it.
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::base::error::{Error, Result};
use crate::base::runtime;

/// Status, media type and text for a path, or None if there is no such page.
pub(crate) type Answer = Option<(u16, &'static str, String)>;
pub(crate) type Pages = Arc<dyn Fn(&str) -> Answer + Send + Sync>;

/// Binds the port before it returns, so that an error is the caller's, and serves until the task is aborted, which frees the port.
/// Connections that are open then are not closed: each has a task of its own, which ends with its client.
pub(crate) fn serve(port: u16, pages: Pages) -> Result<tokio::task::JoinHandle<()>> {
    let handle = runtime::handle();
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let listener = std::net::TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| Error::Invalid(format!("WORKFLOWS_HTTP_PORT: cannot listen on port {port}: {error}")))?;
    let _inside = handle.enter();
    let listener = TcpListener::from_std(listener)
        .map_err(|error| Error::Other(format!("WORKFLOWS_HTTP_PORT: cannot listen on port {port}: {error}")))?;
    Ok(handle.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, pages.clone()));
        }
    }))
}

async fn connection(stream: TcpStream, pages: Pages) {
    let service = service_fn(move |request| {
        let response = respond(&request, &pages);
        async move { Ok::<_, Infallible>(response) }
    });
    // An error here means that the client has gone: nothing is to be done.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn respond(request: &Request<Incoming>, pages: &Pages) -> Response<Full<Bytes>> {
    let (status, media, text) = match *request.method() {
        Method::GET | Method::HEAD => pages(request.uri().path()).unwrap_or((
            404,
            "text/plain",
            "no such page: /healthz, /readyz, /metrics\n".into(),
        )),
        _ => (405, "text/plain", "only GET\n".into()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(media));
    response
}
