//! The page for people who open the address in a browser.

use super::{LISTS, Page};

/// What is here, as HTML.
pub(super) fn page(telemetry_path: &str, pages: &[Page]) -> String {
    let lists = LISTS.map(|list| (format!("/api/v1/{list}"), "JSON"));
    let mut all = vec![(telemetry_path.to_owned(), "metrics for Prometheus")];
    let pages = pages.iter().map(|page| (page.path.to_owned(), page.about));
    all.extend(pages);
    all.extend(lists);
    all.push(("/-/healthy".to_owned(), "does it run?"));
    all.push(("/-/ready".to_owned(), "is everything in place?"));
    let links = all.iter().map(|(path, text)| {
        let (path, text) = (escape(path), escape(text));
        format!("<li><a href=\"{path}\">{path}</a> {text}</li>\n")
    });
    let links: String = links.collect();
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>socktrace</title></head>\n\
         <body>\n<h1>socktrace</h1>\n<p>Version {version}</p>\n<ul>\n{links}</ul>\n</body>\n</html>\n"
    )
}

/// What may stand in a text or an attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_end_its_attribute() {
        let page = page("/\"><script>", &[]);
        assert!(!page.contains("<script>"), "{page}");
        assert!(
            page.contains("href=\"/&quot;&gt;&lt;script&gt;\""),
            "{page}"
        );
    }
}
