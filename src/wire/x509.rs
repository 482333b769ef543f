//! What an X.509 certificate or revocation list says of itself beyond what rustls tells: names, and until when it holds.
//!
//! RFC 5280, in DER. Nothing is verified here. Who wants to know has verified a client's certificate before, or has read
//! a file of the operator's.

use super::fields::Fields;

/// The most names that are taken from one certificate, and the most bytes of one; SPIFFE allows 2048 bytes, and host
/// names and addresses are shorter. What is beyond is left out: a certificate is a peer's to make.
const MOST_NAMES: usize = 256;
const LONGEST_NAME: usize = 2048;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
const OCTETS: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERAL_TIME: u8 = 0x18;
/// UTF8String, PrintableString, TeletexString, IA5String.
const STRINGS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];
/// The tags with which a certificate's version and extensions stand.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// Kinds of subject alternative names (4.2.1.6).
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;
/// 2.5.29.17, subjectAltName, and 2.5.4.3, commonName.
const ALTERNATIVE_NAME: [u8; 3] = [0x55, 0x1d, 0x11];
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// A certificate's own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Host names of its alternative names, as they stand there.
    pub dns: Vec<String>,
    /// Its URIs, such as `spiffe://prod/web`.
    pub uris: Vec<String>,
    /// Its mail addresses.
    pub emails: Vec<String>,
    /// How many IP addresses it has.
    pub addresses: usize,
    /// The first common name of its subject. It says nothing that may be relied on.
    pub common_name: Option<String>,
    /// When it ends, seconds since 1970.
    pub not_after: i64,
}

impl Certificate {
    /// Reads `der`; `None` if it is no certificate.
    pub fn read(der: &[u8]) -> Option<Self> {
        let mut fields = signed(der)?;
        if fields.0.first() == Some(&VERSION) {
            element(&mut fields)?;
        }
        for _serial_algorithm_issuer in 0..3 {
            element(&mut fields)?;
        }
        let mut validity = sequence(&mut fields)?;
        element(&mut validity)?;
        let not_after = time(&mut validity)?;
        let common_name = common_name(sequence(&mut fields)?);
        let mut certificate = Self { not_after, common_name, ..Self::default() };
        while let Some((tag, content)) = element(&mut fields) {
            if tag == EXTENSIONS {
                certificate.extensions(&mut Fields(content))?;
            }
        }
        Some(certificate)
    }

    /// The names by which a client is known: URIs, host names, mail addresses.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [&self.uris, &self.dns, &self.emails].into_iter().flatten().map(String::as_str)
    }

    fn extensions(&mut self, list: &mut Fields<'_>) -> Option<()> {
        let mut list = sequence(list)?;
        while let Some((SEQUENCE, extension)) = element(&mut list) {
            let mut extension = Fields(extension);
            let is_names = value(&mut extension, OBJECT)? == ALTERNATIVE_NAME;
            while let Some((tag, content)) = element(&mut extension) {
                if is_names && tag == OCTETS {
                    self.alternative_names(sequence(&mut Fields(content))?);
                }
            }
        }
        Some(())
    }

    fn alternative_names(&mut self, mut names: Fields<'_>) {
        let mut room = MOST_NAMES;
        while let Some((tag, name)) = element(&mut names) {
            let list = match tag {
                DNS => &mut self.dns,
                URI => &mut self.uris,
                EMAIL => &mut self.emails,
                IP => {
                    self.addresses += 1;
                    continue;
                }
                _ => continue,
            };
            if let Some(text) = visible(name).filter(|_| room > 0) {
                room -= 1;
                list.push(text);
            }
        }
    }
}

/// When a revocation list is out of date, seconds since 1970: `Some(None)` if it does not say, `None` if it is no list.
pub fn next_update(der: &[u8]) -> Option<Option<i64>> {
    let mut fields = signed(der)?;
    let (mut tag, _) = element(&mut fields)?;
    if tag != SEQUENCE {
        (tag, _) = element(&mut fields)?; // behind the version
    }
    let issuer = element(&mut fields)?;
    time(&mut fields)?;
    if (tag, issuer.0) != (SEQUENCE, SEQUENCE) {
        return None;
    }
    let more = fields.0.first().is_some_and(|tag| matches!(*tag, UTC_TIME | GENERAL_TIME));
    if more { time(&mut fields).map(Some) } else { Some(None) }
}

/// What is signed of a certificate or of a list: the first element of the whole.
fn signed(der: &[u8]) -> Option<Fields<'_>> {
    sequence(&mut sequence(&mut Fields(der))?)
}

/// The elements of the next one, if it is a sequence.
fn sequence<'a>(fields: &mut Fields<'a>) -> Option<Fields<'a>> {
    value(fields, SEQUENCE).map(Fields)
}

/// The next element: its tag, and what it holds.
fn element<'a>(fields: &mut Fields<'a>) -> Option<(u8, &'a [u8])> {
    let tag = fields.byte()?;
    let length = match fields.byte()? {
        short @ 0..=0x7f => usize::from(short),
        0x81 => usize::from(fields.byte()?),
        0x82 => usize::from(u16::from_be_bytes(fields.array()?)),
        0x83 => fields.array().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]) as usize)?,
        0x84 => u32::from_be_bytes(fields.array()?) as usize,
        _ => return None,
    };
    Some((tag, fields.take(length)?))
}

/// What the next element holds, if it has this tag.
fn value<'a>(fields: &mut Fields<'a>, tag: u8) -> Option<&'a [u8]> {
    element(fields).filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

fn common_name(mut subject: Fields<'_>) -> Option<String> {
    while let Some((SET, names)) = element(&mut subject) {
        let mut names = Fields(names);
        while let Some((SEQUENCE, pair)) = element(&mut names) {
            let mut pair = Fields(pair);
            if value(&mut pair, OBJECT)? == COMMON_NAME {
                let (kind, text) = element(&mut pair)?;
                let text = std::str::from_utf8(text).ok().filter(|_| STRINGS.contains(&kind))?;
                return (!text.is_empty() && text.len() <= LONGEST_NAME).then(|| text.to_owned());
            }
        }
    }
    None
}

/// A name that is text: visible ASCII, not longer than names are.
fn visible(name: &[u8]) -> Option<String> {
    let fits = !name.is_empty() && name.len() <= LONGEST_NAME && name.iter().all(u8::is_ascii_graphic);
    fits.then(|| String::from_utf8_lossy(name).into_owned())
}

/// UTCTime or GeneralizedTime, to the second and in UTC, as RFC 5280 wants them (4.1.2.5).
fn time(fields: &mut Fields<'_>) -> Option<i64> {
    let (tag, text) = element(fields)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let year: i64 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (GENERAL_TIME, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    let days = days_before(year, part(0)?, part(2)?);
    Some(days * 86_400 + part(4)? * 3600 + part(6)? * 60 + part(8)?)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that a leap day is the last
/// of its year; 400 years have 146 097 days, and 719 468 of them are before 1970.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests;
