//! Secrets in logs: every log of a server or a daemon of the tests is looked through when its process ends.

use std::path::Path;

/// Words behind which a secret stands, however it looks.
const BEFORE: [&str; 3] = ["Bearer ", "X-Amz-Signature=", "Signature="];
/// The way in which a scoped token begins.
const SCOPED_TOKEN: &str = "miao_";
/// Characters from which on what stands behind such a word is a secret, and no word of a sentence.
const SECRET_MIN: usize = 16;
/// Hexadecimal digits of a refresh token; digests and ids have fewer.
const REFRESH_TOKEN: usize = 96;
/// Words that every password of the tests has.
const PASSWORD_WORDS: &str = "horse battery";

/// Panics when a log holds a token, a password or a signed URL; says where, and not what.
pub(crate) fn expect_none(log: &Path) {
    let Ok(bytes) = std::fs::read(log) else { return };
    let text = String::from_utf8_lossy(&bytes);
    let found = text.lines().enumerate().find_map(|(at, line)| Some((at + 1, secret_in(line)?)));
    // A test that fails already says why.
    if let Some((line, kind)) = found
        && !std::thread::panicking()
    {
        panic!("{}:{line} holds {kind}", log.display());
    }
}

/// The kind of secret that a line holds.
pub(crate) fn secret_in(line: &str) -> Option<&'static str> {
    if line.contains(PASSWORD_WORDS) {
        return Some("a password");
    }
    for word in BEFORE {
        let values = line.match_indices(word).map(|(at, _)| &line[at + word.len()..]);
        if values.into_iter().any(|value| length_of_word(value) >= SECRET_MIN) {
            return Some("a bearer token or a signature");
        }
    }
    let words = line.split(|it: char| !is_of_token(it)).filter(|word| !word.is_empty());
    words.into_iter().find_map(kind_of_word)
}

fn kind_of_word(word: &str) -> Option<&'static str> {
    if word.starts_with("eyJ") && word.matches('.').count() == 2 {
        return Some("an access token");
    }
    let behind = word.find(SCOPED_TOKEN).map(|at| &word[at + SCOPED_TOKEN.len()..]);
    if behind.is_some_and(|secret| secret.len() >= SECRET_MIN) {
        return Some("a scoped token");
    }
    let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hex && word.len() == REFRESH_TOKEN).then_some("a refresh token")
}

fn length_of_word(text: &str) -> usize {
    text.find(|it: char| !is_of_token(it)).unwrap_or(text.len())
}

fn is_of_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "._-%".contains(character)
}
