//! What the client accepts: `Accept`, `Accept-Encoding`, and how long it waits.

use std::time::Duration;

use hyper::{
    HeaderMap,
    header::{ACCEPT, ACCEPT_ENCODING, HeaderName},
};

use super::Format;

/// How long Prometheus waits for the whole scrape, in seconds.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// For the way back.
const WAY_BACK: Duration = Duration::from_millis(250);

/// A member of such a list: its name, its parameters, its weight.
struct Choice<'a> {
    name: String,
    parameters: Vec<(&'a str, &'a str)>,
    weight: f32,
}

/// The members of a header that may be there several times. What cannot be read is not accepted.
fn choices(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Choice<'_>> {
    let lists = headers
        .get_all(name)
        .iter()
        .filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(|member| {
        let mut parts = member.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut choice = Choice {
            name,
            parameters: Vec::new(),
            weight: 1.0,
        };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            if key.eq_ignore_ascii_case("q") {
                let weight: Option<f32> = value.parse().ok();
                choice.weight = weight.filter(|w| (0.0..=1.0).contains(w)).unwrap_or(0.0);
            } else {
                choice.parameters.push((key, value.trim_matches('"')));
            }
        }
        choice
    })
}

/// The best weight among these, if any fits.
fn best<'a>(
    choices: impl Iterator<Item = Choice<'a>>,
    fits: impl Fn(&Choice<'a>) -> bool,
) -> Option<f32> {
    choices
        .filter(fits)
        .map(|choice| choice.weight)
        .reduce(f32::max)
}

/// The format of metrics. Who accepts none gets text, as everywhere; only who names `OpenMetrics`
/// gets it.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let version = |choice: &Choice<'_>, wanted: &str| {
        let named = choice.parameters.iter().find(|(key, _)| *key == "version");
        named.is_none_or(|(_, version)| *version == wanted)
    };
    let open = best(choices(headers, ACCEPT), |choice| {
        choice.name == "application/openmetrics-text" && version(choice, "1.0.0")
    });
    let text = best(choices(headers, ACCEPT), |choice| {
        (choice.name == "text/plain" && version(choice, "0.0.4"))
            || choice.name == "text/*"
            || choice.name == "*/*"
    });
    match open {
        Some(weight) if weight > 0.0 && weight >= text.unwrap_or(0.0) => Format::OpenMetrics100,
        _ => Format::Text004,
    }
}

/// May the answer be compressed?
pub(super) fn gzip(headers: &HeaderMap) -> bool {
    let named = best(choices(headers, ACCEPT_ENCODING), |choice| {
        choice.name == "gzip" || choice.name == "x-gzip"
    });
    let any = || {
        best(choices(headers, ACCEPT_ENCODING), |choice| {
            choice.name == "*"
        })
    };
    named.or_else(any).is_some_and(|weight| weight > 0.0)
}

/// How long an answer may take, at most this long.
pub(super) fn patience(headers: &HeaderMap, most: Duration) -> Duration {
    let said = headers.get(SCRAPE_TIMEOUT).and_then(|value| {
        let seconds: f64 = value.to_str().ok()?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    });
    // A short wait keeps a part of it for the way back, never all.
    said.map_or(most, |said| {
        said.saturating_sub(WAY_BACK.min(said / 2)).min(most)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn prometheus_gets_the_format_it_likes_best() {
        for (accept, expected) in [
            // Prometheus 2.42 and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics100,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3",
                Format::OpenMetrics100,
            ),
            (
                "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.2",
                Format::Text004,
            ),
            ("application/openmetrics-text", Format::OpenMetrics100),
            (
                "application/openmetrics-text; version=\"1.0.0\"",
                Format::OpenMetrics100,
            ),
            (
                "application/openmetrics-text;version=2.0.0",
                Format::Text004,
            ),
            ("application/openmetrics-text;q=0", Format::Text004),
            ("application/openmetrics-text;q=nan", Format::Text004),
            ("*/*", Format::Text004),
            (
                "application/vnd.google.protobuf;q=0.9,image/png",
                Format::Text004,
            ),
            (";;,,q=", Format::Text004),
        ] {
            assert_eq!(format(&headers(ACCEPT, accept)), expected, "{accept}");
        }
        assert_eq!(format(&HeaderMap::new()), Format::Text004);
    }

    #[test]
    fn an_answer_is_compressed_only_for_who_accepts_it() {
        for (accept, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("br, *", true),
            ("gzip;q=0, *", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(
                gzip(&headers(ACCEPT_ENCODING, accept)),
                expected,
                "{accept}"
            );
        }
    }

    #[test]
    fn a_scrape_ends_before_prometheus_gives_up() {
        let most = Duration::from_secs(30);
        let name = || HeaderName::from_static(SCRAPE_TIMEOUT);
        for (said, millis) in [
            ("10", 9750),
            ("0.2", 100),
            ("600", 30_000),
            ("-1", 30_000),
            ("x", 30_000),
        ] {
            let patience = patience(&headers(name(), said), most);
            assert_eq!(patience, Duration::from_millis(millis), "{said}");
        }
    }
}
