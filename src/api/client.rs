//! A request of the command line to a service: one connection, one answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::{HTTP_ANSWER_BYTES_MAX, HTTP_ANSWER_SECONDS_MAX};

/// A service by its address.
#[derive(Clone, Debug)]
pub struct Client {
    /// `host:port`.
    address: String,
}

impl Client {
    /// The service at `http://host:port`.
    pub fn new(url: &str) -> Result<Self> {
        let wrong = || {
            Error::config(format!("'{url}' is no address of a service"))
                .with_hint("write http://host:port")
        };
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?.trim_end_matches('/');
        if rest.is_empty() || rest.contains(['/', '?', '#', ' ', '\r', '\n']) {
            return Err(wrong());
        }
        let has_port = rest.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok());
        let address = if has_port { rest.to_owned() } else { format!("{rest}:80") };
        Ok(Client { address })
    }

    /// Sends a request and reads its answer; an error of the service is that error.
    pub fn request<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T> {
        let address = &self.address;
        let failed = |e: &std::io::Error| {
            Error::io(format!("the service at {address}"), e)
                .with_hint("name a running service with --url, or a directory with --data-dir")
        };
        let answer = self.exchange(method, path, body).map_err(|e| failed(&e))?;
        let (status, body) = parse(&answer)
            .ok_or_else(|| Error::new(ErrorKind::Io, format!("{address} answers no HTTP")))?;
        if !(200..300).contains(&status) {
            return Err(error_of(status, &body));
        }
        serde_json::from_slice(&body).map_err(|e| {
            Error::new(ErrorKind::Io, format!("the answer of {address} is not as expected: {e}"))
        })
    }

    fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(HTTP_ANSWER_SECONDS_MAX)))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\naccept: application/json\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(HTTP_ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// Status and body.
fn parse(bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let (head, body) = (bytes.get(..end)?, bytes.get(end + 4..)?);
    let head = std::str::from_utf8(head).ok()?.to_ascii_lowercase();
    let status = head.strip_prefix("http/1.1 ")?.get(..3)?.parse().ok()?;
    let is_chunked = head.lines().any(|line| line == "transfer-encoding: chunked");
    Some((status, if is_chunked { dechunk(body)? } else { body.to_vec() }))
}

fn dechunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(bytes.get(..end)?).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let from = end + 2;
        let to = from.checked_add(size)?;
        body.extend_from_slice(bytes.get(from..to)?);
        bytes = bytes.get(to + 2..)?;
    }
}

fn error_of(status: u16, body: &[u8]) -> Error {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &body["error"];
    let kind = match error["kind"].as_str() {
        Some("sql") => ErrorKind::Sql,
        Some("config") => ErrorKind::Config,
        Some("not_found") => ErrorKind::NotFound,
        Some("conflict") => ErrorKind::Conflict,
        Some("limit") => ErrorKind::Limit,
        Some("internal") => ErrorKind::Internal,
        _ => ErrorKind::Io,
    };
    let message = error["message"].as_str();
    let message = message.map_or_else(|| format!("the service answers {status}"), str::to_owned);
    match error["hint"].as_str() {
        Some(hint) => Error::new(kind, message).with_hint(hint),
        None => Error::new(kind, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_answers_are_taken_apart() {
        for (url, address) in
            [("http://a:80", Some("a:80")), ("http://a/", Some("a:80")), ("a:80", None)]
        {
            assert_eq!(Client::new(url).ok().map(|c| c.address).as_deref(), address, "{url}");
        }
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(parse(whole), Some((200, b"{}".to_vec())));
        let cut =
            b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n";
        assert_eq!(parse(cut), Some((404, b"{}".to_vec())));
        assert_eq!(parse(b"SSH-2.0"), None);
        let error = error_of(404, br#"{"error":{"kind":"not_found","message":"m","hint":"h"}}"#);
        assert_eq!((error.kind, error.hint.as_deref()), (ErrorKind::NotFound, Some("h")));
    }
}
