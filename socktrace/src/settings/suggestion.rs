//! What somebody may have meant who wrote a word that there is not.

use strsim::jaro;

/// Words that are less alike are others.
const ALIKE: f64 = 0.8;

/// The nearest of the words that serde's message says there are, as the end of a sentence.
pub(super) fn of(message: &str) -> Option<String> {
    let unknown = ["unknown field `", "unknown variant `"];
    let rest = unknown.iter().find_map(|it| message.strip_prefix(it))?;
    let (unknown, known) = rest.split_once("`, expected ")?;
    let nearest = known
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|word| (jaro(unknown, word), word))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    Some(format!("; did you mean `{}`?", nearest.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_if_one_is_near() {
        for (message, expected) in [
            ("unknown field `lisen`, expected `listen`", Some("listen")),
            (
                "unknown field `tokenfile`, expected one of `url`, `token_file`, `ca_file`",
                Some("token_file"),
            ),
            (
                "unknown variant `Info`, expected `info` or `error`",
                Some("info"),
            ),
            ("unknown field `speed`, expected `age` or `window`", None),
            ("unknown field `a`, there are no fields", None),
            ("missing field `path`", None),
        ] {
            let expected = expected.map(|word| format!("; did you mean `{word}`?"));
            assert_eq!(of(message), expected, "{message}");
        }
    }
}
