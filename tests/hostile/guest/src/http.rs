//! Requests as no client would make them: each part is given to `wasi:http` as the script has it.

use serde_json::{Value as Json, json};
use strongroom_plugin::bindings::wasi::http::outgoing_handler::handle;
use strongroom_plugin::bindings::wasi::http::types::{
    Fields, HeaderError, IncomingBody, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use strongroom_plugin::bindings::wasi::io::streams::StreamError;

/// What one request came to. `error` says where it ended.
pub fn exchange(wanted: &Json) -> Json {
    send(wanted).unwrap_or_else(|error| json!({ "error": error }))
}

fn text<'a>(json: &'a Json, key: &str, default: &'a str) -> &'a str {
    json[key].as_str().unwrap_or(default)
}

fn number(json: &Json, key: &str) -> Option<u64> {
    json[key].as_u64()
}

fn pairs(json: &Json) -> Vec<(String, Vec<u8>)> {
    let part = |pair: &Json, at: usize| pair[at].as_str().unwrap_or_default().to_owned();
    json.as_array().into_iter().flatten().map(|pair| (part(pair, 0), part(pair, 1).into_bytes())).collect()
}

fn header_error(error: HeaderError) -> &'static str {
    match error {
        HeaderError::InvalidSyntax => "header-syntax",
        HeaderError::Forbidden => "header-forbidden",
        HeaderError::Immutable => "header-immutable",
    }
}

fn headers(wanted: &Json) -> Result<(Fields, Vec<&'static str>), String> {
    let mut given = pairs(&wanted["headers"]);
    if let Some(count) = number(&wanted["flood"], "count") {
        let size = number(&wanted["flood"], "size").unwrap_or(1);
        let value = vec![b'x'; usize::try_from(size).unwrap_or(1)];
        let name = text(&wanted["flood"], "name", "");
        for n in 0..count {
            given.push((if name.is_empty() { format!("x-flood-{n}") } else { name.to_owned() }, value.clone()));
        }
    }
    if wanted["at_once"] == true {
        return Fields::from_list(&given).map(|fields| (fields, Vec::new())).map_err(|e| header_error(e).to_owned());
    }
    let fields = Fields::new();
    let mut refused = Vec::new();
    for (name, value) in &given {
        // One way of setting it, and where that is refused the other.
        if let Err(error) = fields.append(name, value) {
            refused.push(header_error(error));
            if fields.set(name, &[value.clone()]).is_ok() {
                refused.pop();
            }
        }
    }
    if wanted["strict"] == true && !refused.is_empty() {
        return Err(refused[0].to_owned());
    }
    Ok((fields, refused))
}

fn send(wanted: &Json) -> Result<Json, String> {
    let (fields, refused) = headers(wanted)?;
    let request = OutgoingRequest::new(fields);
    let method = match text(wanted, "method", "GET") {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "TRACE" => Method::Trace,
        "OPTIONS" => Method::Options,
        other => Method::Other(other.to_owned()),
    };
    request.set_method(&method).map_err(|()| "set-method")?;
    match text(wanted, "scheme", "https") {
        "" => {}
        "http" => request.set_scheme(Some(&Scheme::Http)).map_err(|()| "set-scheme")?,
        "https" => request.set_scheme(Some(&Scheme::Https)).map_err(|()| "set-scheme")?,
        other => request.set_scheme(Some(&Scheme::Other(other.to_owned()))).map_err(|()| "set-scheme")?,
    }
    if let Some(authority) = wanted["authority"].as_str() {
        request.set_authority(Some(authority)).map_err(|()| "set-authority")?;
    }
    if let Some(target) = wanted["target"].as_str() {
        let longer = usize::try_from(number(wanted, "longer").unwrap_or(0)).unwrap_or(0);
        let target = format!("{target}{}", "a".repeat(longer));
        request.set_path_with_query(Some(&target)).map_err(|()| "set-path")?;
    }
    // Headers that were handed over belong to the request; what they are now, anybody may read.
    let late = request.headers();
    if let Some(name) = wanted["late"].as_str() {
        late.append(name, b"late").map_err(|error| header_error(error).to_owned())?;
    }
    let options = number(wanted, "patience_ms").map(|ms| {
        let options = RequestOptions::new();
        let _ = options.set_connect_timeout(Some(ms * 1_000_000));
        let _ = options.set_first_byte_timeout(Some(ms * 1_000_000));
        let _ = options.set_between_bytes_timeout(Some(ms * 1_000_000));
        options
    });

    let body = match wanted["body"].is_null() {
        true => None,
        false => Some(request.body().map_err(|()| "body")?),
    };
    let before: Vec<String> = late.entries().into_iter().map(|(name, _)| name).collect();
    let pending = handle(request, options).map_err(|error| format!("{error:?}"))?;
    let after: Vec<String> = late.entries().into_iter().map(|(name, _)| name).collect();
    if let Some(body) = body {
        write(body, &wanted["body"]).map_err(str::to_owned)?;
    }
    if wanted["abandon"] == true {
        return Ok(json!({ "abandoned": true }));
    }
    pending.subscribe().block();
    let answer = pending.get().ok_or("no answer")?.map_err(|()| "twice")?.map_err(|error| format!("{error:?}"))?;
    let status = answer.status();
    let mut came: Vec<Json> = Vec::new();
    for (name, value) in answer.headers().entries() {
        came.push(json!([name, String::from_utf8_lossy(&value)]));
    }
    let asked_for: Vec<String> =
        ["set-cookie", "location", "www-authenticate", "x-vault-token", "authorization", "x-secret"]
            .iter()
            .flat_map(|name| answer.headers().get(name))
            .map(|value| String::from_utf8_lossy(&value).into_owned())
            .collect();
    let mut report = json!({
        "status": status, "headers": came, "hidden": asked_for, "refused": refused, "request_headers": [before, after],
    });
    if wanted["read"] != "none" {
        let body = answer.consume().map_err(|()| "consume")?;
        report["body"] = read(&body, wanted["read"] == "half")?.into();
        if wanted["read"] != "half" {
            let trailers = IncomingBody::finish(body);
            trailers.subscribe().block();
            let got = trailers.get().and_then(Result::ok).and_then(Result::ok).flatten();
            let got: Vec<String> = got.map(|t| t.entries().into_iter().map(|(n, _)| n).collect()).unwrap_or_default();
            report["trailers"] = got.into();
        }
    }
    Ok(report)
}

fn write(body: OutgoingBody, wanted: &Json) -> Result<(), &'static str> {
    let size = usize::try_from(number(wanted, "size").unwrap_or(0)).unwrap_or(0);
    {
        let stream = body.write().map_err(|()| "body-write")?;
        if let Some(text) = wanted["text"].as_str() {
            let _ = stream.blocking_write_and_flush(text.as_bytes());
        }
        let mut left = size;
        while left > 0 {
            let piece = left.min(4096);
            if stream.blocking_write_and_flush(&vec![b'b'; piece]).is_err() {
                break;
            }
            left -= piece;
        }
    }
    if wanted["unfinished"] == true {
        if wanted["held"] == true {
            core::mem::forget(body);
        }
        return Ok(());
    }
    let trailers = match wanted["trailers"].is_null() {
        true => None,
        false => Some(Fields::from_list(&pairs(&wanted["trailers"])).map_err(|_| "trailers-forbidden")?),
    };
    OutgoingBody::finish(body, trailers).map_err(|_| "body-finish")
}

fn read(body: &IncomingBody, half: bool) -> Result<String, String> {
    let stream = body.stream().map_err(|()| "stream")?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(65536) {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(_)) => return Err("read-failed".into()),
        }
        if half {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
