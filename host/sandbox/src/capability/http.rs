//! `http`: requests within the egress rules of this call.
//!
//! `wasi:http` has one sender here, the call's [`Reach`]; the crate that gives its types is built
//! without any of its own. Nothing in this module decides: it hands over the request as the guest's
//! bindings delivered it, and gives back what the egress layer lets back.

use std::future::Future;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use strongroom_egress::net::SendError;
use strongroom_egress::screen::Screened;
use strongroom_egress::{Patience, Reach, Request, Unsent};
use wasmtime_wasi_http::{
    Error, ForbiddenHeaderFilter, RequestOptions, Result, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};
use zeroize::Zeroizing;

use crate::call::State;

/// The largest set of headers that a guest can build, in bytes as the bindings count them: above what
/// the decision lets pass (64 of them), below what would hurt.
const MAX_FIELD_BYTES: usize = 64 << 10;

/// What a call has of `wasi:http`.
pub(crate) struct Http {
    context: WasiHttpCtx,
    hooks: Hooks,
}

struct Hooks {
    reach: Option<Arc<Reach>>,
}

impl Http {
    pub(crate) fn new(reach: Option<Arc<Reach>>) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(MAX_FIELD_BYTES);
        Self { context, hooks: Hooks { reach } }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http.context, table: &mut self.table, hooks: &mut self.http.hooks }
    }
}

type Sent = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<()>> + Send>)>;

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &http::HeaderName) -> bool {
        self.reach.as_ref().is_none_or(|reach| reach.hides(name))
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        let reach = self.reach.clone();
        Arc::new(move |name| reach.as_ref().is_none_or(|reach| reach.hides(name)))
    }

    // It would be a copy of the guest's text; the host's name comes from the decision.
    fn set_host_header(&mut self) -> bool {
        false
    }

    // A request that does not say how it travels is not guessed at.
    fn default_scheme(&mut self) -> Option<http::uri::Scheme> {
        None
    }

    // Whatever it says could be the backend's words: the failure of the call tells what matters.
    fn p2_error_from_hyper(&mut self, _: &hyper::Error) -> wasmtime_wasi_http::p2::bindings::http::types::ErrorCode {
        wasmtime_wasi_http::p2::bindings::http::types::ErrorCode::HttpProtocolError
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<()>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let reach = self.reach.clone();
        Box::new(async move {
            let reach = reach.ok_or(Error::HttpRequestDenied)?;
            let (parts, body) = request.into_parts();
            let body = collect(body, reach.bytes_left()).await?;
            let uri = parts.uri;
            let request = Request {
                method: parts.method.as_str().to_owned(),
                scheme: uri.scheme_str().unwrap_or_default().to_owned(),
                authority: uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default(),
                target: uri.path_and_query().map(|target| target.as_str().to_owned()).unwrap_or_default(),
                headers: parts.headers,
                body,
            };
            let options = options.unwrap_or_default();
            let patience = Patience {
                connect: options.connect_timeout,
                first_byte: options.first_byte_timeout,
                between_bytes: options.between_bytes_timeout,
            };
            let reply = reach.send(request, patience).await.map_err(|unsent| error_of(&unsent))?;
            let body = Full::new(bytes::Bytes::from_owner(Owned(reply.body))).map_err(|never| match never {});
            let mut response = http::Response::new(body.boxed_unsync());
            *response.status_mut() = reply.status;
            *response.headers_mut() = reply.headers;
            let done: Box<dyn Future<Output = Result<()>> + Send> = Box::new(async { Ok(()) });
            Ok((response, done))
        })
    }
}

/// The whole body, which is overwritten when it is dropped. At most `limit` bytes, and no trailers.
async fn collect(mut body: WasiBody, limit: u64) -> Result<Zeroizing<Vec<u8>>> {
    let mut whole = Zeroizing::new(Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            return Err(Error::HttpRequestTrailerSectionSize(Some(0)));
        };
        if (whole.len() + data.len()) as u64 > limit {
            return Err(Error::HttpRequestBodySize(Some(limit)));
        }
        // Grown by hand, so that no copy of what was collected is left behind unwiped.
        if whole.capacity() - whole.len() < data.len() {
            let mut larger = Zeroizing::new(Vec::with_capacity((2 * whole.capacity()).max(whole.len() + data.len())));
            larger.extend_from_slice(&whole);
            whole = larger;
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}

struct Owned(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// What the guest is told: a case of the contract, and no words.
fn error_of(unsent: &Unsent) -> Error {
    match unsent {
        Unsent::Refused(_) | Unsent::Budget(_) | Unsent::Screened(Screened::Echo) => Error::HttpRequestDenied,
        Unsent::NoToken(_) => Error::ConfigurationError,
        Unsent::Screened(Screened::Encoded) => Error::HttpResponseContentCoding(None),
        Unsent::Failed(error) => match error {
            SendError::Outside { .. } => Error::DestinationIpProhibited,
            SendError::Dns { .. } => Error::DnsError { rcode: None, info_code: None },
            SendError::Connect { .. } => Error::ConnectionRefused,
            SendError::Tls { .. } | SendError::NoRoots => Error::TlsCertificateError,
            SendError::Timeout(_) => Error::ConnectionTimeout,
            SendError::Closed => Error::ConnectionTerminated,
            SendError::HeadTooLarge => Error::HttpResponseHeaderSectionSize(None),
            SendError::BodyTooLarge(_) => Error::HttpResponseBodySize(None),
            SendError::Request(_) => Error::HttpRequestUriInvalid,
            _ => Error::HttpProtocolError,
        },
    }
}
