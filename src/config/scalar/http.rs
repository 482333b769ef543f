//! Parts of HTTP: what a probe asks for, and which answers it takes.

use hyper::http::uri::PathAndQuery;

use super::token;
use crate::config::tree::{Node, Value};

/// `200` or `200-299`: first and last.
pub(in crate::config) fn statuses(node: &Node) -> Result<(u16, u16), String> {
    let bad =
        || format!("expected a status code such as `200`, or a range such as `200-299`, found {}", node.describe());
    let code = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let (first, last) = match &node.value {
        Value::Int(number) => (u16::try_from(*number).ok(), u16::try_from(*number).ok()),
        _ => {
            let text = node.text().ok_or_else(bad)?;
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            (code(first), code(last))
        }
    };
    let (first, last) = first.zip(last).ok_or_else(bad)?;
    if first > last {
        return Err(format!("the range {first}-{last} is empty: its first code is the higher one"));
    }
    if first < 200 || last > 599 {
        let wrong = if first < 200 { first } else { last };
        return Err(format!("an answer's status code is 200 to 599, and here is {wrong}"));
    }
    Ok((first, last))
}

/// The path of an HTTP request.
pub(in crate::config) fn http_path(node: &Node) -> Result<&str, String> {
    let path = token(node)?;
    if !path.starts_with('/') {
        return Err("a path begins with `/`".to_owned());
    }
    match path.parse::<PathAndQuery>() {
        Ok(_) => Ok(path),
        Err(_) => Err("a path may not have characters such as `<`, `>` and quotes: write them as `%3C`".to_owned()),
    }
}

/// A method of HTTP.
pub(in crate::config) fn method(node: &Node) -> Result<&str, String> {
    let method = token(node)?;
    match method.parse::<hyper::Method>() {
        Ok(_) => Ok(method),
        Err(_) => Err("a method is a word such as `GET`".to_owned()),
    }
}
