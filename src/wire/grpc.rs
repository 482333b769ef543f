//! gRPC's health checking: the two messages of `grpc.health.v1.Health/Check`, each in the frame that gRPC puts around
//! a message (one byte that says whether it is compressed, four that say how long it is), and the codes of `grpc-status`.
//!
//! Laid out as in "gRPC over HTTP2" and in the health checking protocol of the gRPC project, and in protobuf's encoding
//! guide. A message has one field: number 1, the service's name in the request, the serving status in the response.

use super::{Malformed, Parsed};

/// The path that is asked.
pub const CHECK: &str = "/grpc.health.v1.Health/Check";
/// The longest response that is looked at, without its frame. A serving status takes two bytes.
pub const LONGEST_RESPONSE: usize = 1024;
/// What stands before a message.
pub const FRAME: usize = 5;

/// The status of a service that is well.
pub const SERVING: u64 = 1;

/// Field 1 with a length before it, and with a bare number.
const SERVICE: u8 = 1 << 3 | LENGTH_DELIMITED;
const STATUS_FIELD: u64 = 1;
/// Protobuf's wire types.
const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const FIXED_32: u8 = 5;

/// A request about `service`, framed; `None` asks about the server as a whole.
pub fn check(service: Option<&str>) -> Vec<u8> {
    let mut message = Vec::new();
    if let Some(service) = service.filter(|service| !service.is_empty()) {
        message.push(SERVICE);
        push_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    // A configuration has no text of 4 GiB; the largest length would be refused by the server.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], &message].concat()
}

/// The serving status in a framed response; absent is 0, as all of protobuf's numbers are. Fields that are not known
/// are skipped, and of several the last one counts.
///
/// # Errors
/// It is compressed, which was not offered, too long, or not a message.
pub fn status(bytes: &[u8]) -> Parsed<u64> {
    let Some((frame, rest)) = bytes.split_first_chunk::<FRAME>() else { return Ok(None) };
    let [compressed, length @ ..] = *frame;
    let length = u32::from_be_bytes(length) as usize;
    if compressed != 0 {
        return Err(Malformed("a compressed message, which was not offered".into()));
    }
    if length > LONGEST_RESPONSE {
        return Err(Malformed(format!("a message of {length} bytes, where a health status has two")));
    }
    let Some(message) = rest.get(..length) else { return Ok(None) };
    let status = status_field(message).ok_or_else(|| Malformed(format!("{} is no message", super::quoted(message))))?;
    Ok(Some((status, FRAME + length)))
}

/// What a serving status is called.
pub fn status_name(status: u64) -> String {
    match status {
        0 => "UNKNOWN".into(),
        SERVING => "SERVING".into(),
        2 => "NOT_SERVING".into(),
        3 => "SERVICE_UNKNOWN".into(),
        other => format!("serving status {other}"),
    }
}

/// What a code of `grpc-status` is called.
pub fn code_name(code: u32) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    usize::try_from(code).ok().and_then(|code| NAMES.get(code)).copied().unwrap_or("unknown code")
}

/// The bytes of a `grpc-message`, which is percent-encoded. What is no encoding stands for itself.
pub fn decoded(message: &[u8]) -> Vec<u8> {
    let digit = |at: usize| message.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(message.len());
    let mut at = 0;
    while at < message.len() {
        match (message[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high << 4 | low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

fn status_field(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        let (field, wire_type) = (key >> 3, (key & 7) as u8);
        let skipped = match wire_type {
            VARINT => {
                let value = take_varint(&mut message)?;
                if field == STATUS_FIELD {
                    status = value;
                }
                0
            }
            FIXED_64 => 8,
            LENGTH_DELIMITED => usize::try_from(take_varint(&mut message)?).ok()?,
            FIXED_32 => 4,
            // Groups are of the past, the rest is undefined.
            _ => return None,
        };
        message = message.get(skipped..)?;
    }
    Some(status)
}

/// Seven bits a byte, lowest first; the top bit says that there is more.
fn push_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

/// Ten bytes at most, which hold 64 bits; what is above them is dropped, as protobuf's readers do.
fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (index, byte) in message.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *message = &message[index + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests;
