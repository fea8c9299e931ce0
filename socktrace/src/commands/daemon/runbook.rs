//! The runbook, as a page: where alerts lead, on the machine that they are of, so that it is that of
//! the version that runs there.

use crate::http::{Page, escape};

const TEXT: &str = include_str!("../../../../docs/runbook.md");

/// See the file.
pub(super) fn page() -> Page {
    Page {
        path: "/runbook",
        about: "what to do about each kind of finding",
        html: html(TEXT),
    }
}

/// Headings, each with its words as its anchor, and paragraphs: the runbook has nothing else.
fn html(text: &str) -> String {
    let mut body = String::new();
    for block in text.split("\n\n").map(str::trim) {
        if let Some(title) = block.strip_prefix("# ") {
            body.extend(["<h1>", &inline(title), "</h1>\n"]);
        } else if let Some(title) = block.strip_prefix("## ") {
            let anchor = escape(title);
            let parts = [
                "<h2 id=\"",
                &anchor,
                "\"><a href=\"#",
                &anchor,
                "\">",
                &anchor,
                "</a></h2>\n",
            ];
            body.extend(parts);
        } else if !block.is_empty() {
            // Symptom, cause and next step each begin a line.
            let text = inline(block).replace("\n<b>", "<br>\n<b>");
            body.extend(["<p>", &text, "</p>\n"]);
        }
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>socktrace: runbook</title>\
         <style>body{{max-width:50em;margin:auto;padding:1em;font-family:sans-serif;line-height:1.4}}\
         :target{{background:#ffd}}</style></head>\n<body>\n{body}</body>\n</html>\n"
    )
}

/// What is within a paragraph: code, what is bold, and links, of which only those to elsewhere lead
/// anywhere from here.
fn inline(text: &str) -> String {
    let mut found = String::new();
    for (number, part) in text.split('`').enumerate() {
        let part = escape(part);
        if number % 2 == 1 {
            found.extend(["<code>", &part, "</code>"]);
            continue;
        }
        for (number, part) in part.split("**").enumerate() {
            if number % 2 == 1 {
                found.extend(["<b>", &links(part), "</b>"]);
            } else {
                found += &links(part);
            }
        }
    }
    found
}

/// `[words](address)`
fn links(text: &str) -> String {
    let mut found = String::new();
    let mut rest = text;
    while let Some((before, words, address, after)) = link(rest) {
        found += before;
        if address.starts_with("https://") {
            found.extend(["<a href=\"", address, "\">", words, "</a>"]);
        } else {
            found += words;
        }
        rest = after;
    }
    found + rest
}

fn link(text: &str) -> Option<(&str, &str, &str, &str)> {
    let (words, address) = text.split_once("](")?;
    let (before, words) = words.rsplit_once('[')?;
    let (address, after) = address.split_once(')')?;
    Some((before, words, address, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Kind;

    #[test]
    fn every_section_of_the_runbook_is_an_anchor() {
        let page = page().html;
        let sections = TEXT.lines().filter_map(|line| line.strip_prefix("## "));
        let mut found = 0;
        for section in sections {
            assert_eq!(page.matches(&format!("<h2 id=\"{section}\">")).count(), 1);
            found += 1;
        }
        assert!(found >= Kind::ALL.len());
        for kind in Kind::ALL {
            assert!(
                page.contains(&format!("<h2 id=\"{}\">", kind.word())),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn nothing_of_the_notation_is_left_and_every_element_ends() {
        let page = page().html;
        let body = &page[page.find("<body>").unwrap()..];
        for sign in ["**", "`", "](", "## "] {
            assert!(!body.contains(sign), "{sign}: {body}");
        }
        for element in ["p", "h1", "h2", "a", "b", "code"] {
            let begins = body.matches(&format!("<{element}>")).count()
                + body.matches(&format!("<{element} ")).count();
            assert_eq!(
                begins,
                body.matches(&format!("</{element}>")).count(),
                "{element}"
            );
        }
    }

    #[test]
    fn a_text_cannot_become_markup() {
        let page = html(
            "# a <b>\n\n## x\">\n\nsee [there](https://example.org/?a&b), [here](ports.md) and `<i>`, **<u>**",
        );
        assert!(page.contains("<h1>a &lt;b&gt;</h1>"), "{page}");
        assert!(page.contains("id=\"x&quot;&gt;\""), "{page}");
        let line = "see <a href=\"https://example.org/?a&amp;b\">there</a>, here and <code>&lt;i&gt;</code>, <b>&lt;u&gt;</b>";
        assert!(page.contains(line), "{page}");
    }
}
