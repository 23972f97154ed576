//! One request over `wasi:http` 0.2: its resources, in the order that its contract asks for.

use std::time::Duration;

use crate::Failure;
use crate::bindings::wasi::http::outgoing_handler::handle;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, IncomingResponse, Method as WasiMethod, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
    http_error_code,
};
use crate::bindings::wasi::io::streams::StreamError;

use super::{Method, Request, Response};

/// How much is read at once, in bytes.
const READ: usize = 64 * 1024;

/// How much `blocking-write-and-flush` takes, by its contract, in bytes.
const WRITE: usize = 4096;

pub(super) fn send(mut request: Request) -> Result<Response, Failure> {
    if let Some(wrong) = request.wrong.take() {
        return Err(wrong);
    }
    let asked = request.shown();
    let (scheme, authority) = origin(&request.origin)?;
    #[cfg(not(target_arch = "wasm32"))]
    if let Some(answer) = crate::testing::answer(&request) {
        return answer.map(|response| response.to(asked));
    }
    let impossible = |what: &str| Failure::internal("http.request", format!("{asked}: {what} cannot be sent"));

    let headers = Fields::from_list(&request.headers).map_err(|_| impossible("one of the headers"))?;
    let outgoing = OutgoingRequest::new(headers);
    let method = match request.method {
        Method::Get => WasiMethod::Get,
        Method::Head => WasiMethod::Head,
        Method::Post => WasiMethod::Post,
        Method::Put => WasiMethod::Put,
        Method::Patch => WasiMethod::Patch,
        Method::Delete => WasiMethod::Delete,
    };
    let target = format!("{}{}", request.target_path(), request.query);
    outgoing.set_method(&method).map_err(|()| impossible("the method"))?;
    outgoing.set_scheme(Some(&scheme)).map_err(|()| impossible("the scheme"))?;
    outgoing.set_authority(Some(authority)).map_err(|()| impossible("the host"))?;
    outgoing.set_path_with_query(Some(&target)).map_err(|()| impossible("the path"))?;

    // Taken before, written after: a body that nobody reads yet would block for ever.
    let body = match request.body.take() {
        Some(bytes) => Some((outgoing.body().map_err(|()| impossible("the body"))?, bytes)),
        None => None,
    };
    let pending = handle(outgoing, options(&request)).map_err(|error| failure(&asked, &error))?;
    if let Some((body, bytes)) = body {
        write(body, &bytes).map_err(|error| failure(&asked, &error))?;
    }
    pending.subscribe().block();
    let broken = || Failure::internal("http.internal", format!("{asked}: the host gave no answer"));
    let answer = pending.get().ok_or_else(broken)?.map_err(|()| broken())?.map_err(|error| failure(&asked, &error))?;

    let (status, headers) = (answer.status(), answer.headers().entries());
    let body = read(&asked, &answer, request.limit)?;
    Ok(Response::received(asked, status, headers, body))
}

/// The time-outs of its own. A host that cannot set one waits as long as it would anyhow.
fn options(request: &Request) -> Option<RequestOptions> {
    let (connect, answer) = (request.connect_timeout?, request.answer_timeout?);
    let nanoseconds = |time: Duration| Some(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    let options = RequestOptions::new();
    let _ = options.set_connect_timeout(nanoseconds(connect));
    let _ = options.set_first_byte_timeout(nanoseconds(answer));
    Some(options)
}

/// Writes a whole body. A server that answers without reading it all closes it, which is no failure:
/// the answer tells.
fn write(body: OutgoingBody, bytes: &[u8]) -> Result<(), ErrorCode> {
    if let Ok(stream) = body.write() {
        for piece in bytes.chunks(WRITE) {
            if stream.blocking_write_and_flush(piece).is_err() {
                return Ok(());
            }
        }
    }
    OutgoingBody::finish(body, None)
}

/// Reads a whole body, and gives up where it is longer than `limit`.
fn read(asked: &str, answer: &IncomingResponse, limit: usize) -> Result<Vec<u8>, Failure> {
    let broken = || Failure::internal("http.internal", format!("{asked}: the host gave no body"));
    let body = answer.consume().map_err(|()| broken())?;
    let stream = body.stream().map_err(|()| broken())?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(READ as u64) {
            Ok(piece) if piece.len() > limit - bytes.len() => {
                let message = format!("the answer to {asked} has more than {limit} bytes");
                return Err(Failure::protocol("http.too-large", message));
            }
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = http_error_code(&error).unwrap_or(ErrorCode::HttpResponseIncomplete);
                return Err(failure(asked, &code));
            }
        }
    }
}

/// Scheme and authority. The host judges them as they are delivered; here only what is no origin at
/// all is told apart, since it is mostly a config's mistake.
fn origin(text: &str) -> Result<(Scheme, &str), Failure> {
    let (scheme, authority) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(authority), _) => (Scheme::Https, authority),
        (None, Some(authority)) => (Scheme::Http, authority),
        (None, None) => (Scheme::Https, ""),
    };
    if authority.is_empty() || authority.contains(['/', '?', '#', '@', '\\']) {
        let message = format!("`{text}` is no origin: it reads like `https://vault.example.com:8200`");
        return Err(Failure::invalid_config("http.origin", message));
    }
    Ok((scheme, authority))
}

/// What an error of the way means. Texts of the other side are left out.
fn failure(asked: &str, error: &ErrorCode) -> Failure {
    use ErrorCode as E;
    let unavailable = |code, what: &str| Failure::unavailable(code, format!("{asked}: {what}"));
    match error {
        E::HttpRequestDenied => {
            let what = "refused, since no rule that is in force for this call allows it";
            Failure::denied("http.refused", format!("{asked}: {what}"))
        }
        E::DestinationIpProhibited | E::DestinationIpUnroutable => {
            let what = "refused, since the host's address is not of a network that the rule allows";
            Failure::denied("http.refused", format!("{asked}: {what}"))
        }
        E::DnsTimeout | E::DnsError(_) | E::DestinationNotFound => unavailable("http.dns", "the host has no address"),
        E::ConnectionTimeout | E::ConnectionReadTimeout | E::ConnectionWriteTimeout | E::HttpResponseTimeout => {
            unavailable("http.timeout", "no answer in time")
        }
        E::DestinationUnavailable
        | E::ConnectionRefused
        | E::ConnectionTerminated
        | E::ConnectionLimitReached
        | E::HttpResponseIncomplete => unavailable("http.connect", "the connection failed or broke off"),
        E::TlsProtocolError | E::TlsCertificateError | E::TlsAlertReceived(_) => {
            unavailable("http.tls", "no trusted TLS connection: its certificate is not for this host, or not trusted")
        }
        E::HttpRequestLengthRequired
        | E::HttpRequestBodySize(_)
        | E::HttpRequestMethodInvalid
        | E::HttpRequestUriInvalid
        | E::HttpRequestUriTooLong
        | E::HttpRequestHeaderSectionSize(_)
        | E::HttpRequestHeaderSize(_)
        | E::HttpRequestTrailerSectionSize(_)
        | E::HttpRequestTrailerSize(_) => {
            Failure::internal("http.request", format!("{asked}: the request is too large or not well formed"))
        }
        E::HttpResponseHeaderSectionSize(_)
        | E::HttpResponseHeaderSize(_)
        | E::HttpResponseBodySize(_)
        | E::HttpResponseTrailerSectionSize(_)
        | E::HttpResponseTrailerSize(_) => {
            Failure::protocol("http.too-large", format!("the answer to {asked} is larger than the host takes"))
        }
        E::HttpResponseTransferCoding(_)
        | E::HttpResponseContentCoding(_)
        | E::HttpUpgradeFailed
        | E::HttpProtocolError
        | E::LoopDetected => {
            Failure::protocol("http.protocol", format!("the answer to {asked} is not well-formed HTTP"))
        }
        E::ConfigurationError | E::InternalError(_) => {
            Failure::internal("http.internal", format!("{asked}: the host could not send it"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert!(matches!(origin("https://h:8200"), Ok((Scheme::Https, "h:8200"))));
        assert!(matches!(origin("http://[::1]:80"), Ok((Scheme::Http, "[::1]:80"))));
        for text in ["", "h", "https://", "ftp://h", "https://h/v1", "https://u@h", "https://h?x", "HTTPS//h"] {
            assert_eq!(origin(text).unwrap_err().kind, Kind::InvalidConfig, "{text}");
        }
    }

    #[test]
    fn a_request_that_is_wrong_is_not_sent() {
        // Natively there is no host to send it: getting that far would panic.
        assert_eq!(super::super::get("https://h").path([".."]).send().unwrap_err().code, "http.path");
        assert_eq!(super::super::get("h").send().unwrap_err().code, "http.origin");
    }

    #[test]
    fn errors_of_the_way_say_what_may_help() {
        for (error, kind, code) in [
            (ErrorCode::HttpRequestDenied, Kind::Denied, "http.refused"),
            (ErrorCode::DestinationIpProhibited, Kind::Denied, "http.refused"),
            (ErrorCode::DestinationNotFound, Kind::Unavailable, "http.dns"),
            (ErrorCode::ConnectionRefused, Kind::Unavailable, "http.connect"),
            (ErrorCode::ConnectionReadTimeout, Kind::Unavailable, "http.timeout"),
            (ErrorCode::TlsCertificateError, Kind::Unavailable, "http.tls"),
            (ErrorCode::HttpResponseBodySize(Some(9)), Kind::Protocol, "http.too-large"),
            (ErrorCode::HttpProtocolError, Kind::Protocol, "http.protocol"),
            (ErrorCode::HttpRequestUriTooLong, Kind::Internal, "http.request"),
        ] {
            let failure = failure("GET https://h/", &error);
            assert_eq!((failure.kind, failure.code.as_str()), (kind, code));
            assert!(failure.message.contains("GET https://h/"));
        }
        let told = failure("GET https://h/", &ErrorCode::InternalError(Some("s3cret".into())));
        assert!(!format!("{told:?}").contains("s3cret"));
    }
}
