//! The two forms of a page, and which one a scraper asks for.

/// The form of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The form that an `Accept` header asks for: OpenMetrics if it is named, and not ranked below text.
    pub fn accepted(accept: &str) -> Self {
        let rank = |kind: &str| accept.split(',').filter_map(|part| quality(part, kind)).reduce(f32::max);
        match rank("application/openmetrics-text") {
            Some(wanted) if wanted > 0.0 && wanted >= rank("text/plain").unwrap_or(0.0) => Self::OpenMetrics,
            _ => Self::Text,
        }
    }

    /// The page's `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The `q` of one part of an `Accept` header, if it names `kind`.
fn quality(part: &str, kind: &str) -> Option<f32> {
    let mut words = part.split(';').map(str::trim);
    words.next().filter(|name| name.eq_ignore_ascii_case(kind))?;
    let q = words.find_map(|word| word.strip_prefix("q=").or_else(|| word.strip_prefix("Q=")));
    Some(q.map_or(1.0, |q| q.parse().unwrap_or(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_decides() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted("application/openmetrics-text; version=1.0.0"), Format::OpenMetrics);
        assert_eq!(Format::accepted("application/openmetrics-text;q=0.2, text/plain"), Format::Text);
        assert_eq!(Format::accepted("application/openmetrics-text;q=0"), Format::Text);
        assert_eq!(Format::accepted("*/*"), Format::Text);
        assert_eq!(Format::accepted(""), Format::Text);
    }
}
