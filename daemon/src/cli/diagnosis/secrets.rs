//! Takes secrets out of texts that are handed to others.

/// Stands where a secret was.
const REMOVED: &str = "[removed]";
/// Words behind which a secret stands, in lower case.
const BEFORE: [&str; 11] = [
    "bearer ",
    "basic ",
    "token=",
    "token\":",
    "token: ",
    "password=",
    "password\":",
    "password: ",
    "signature=",
    "x-amz-credential=",
    "secret=",
];

/// The text without the known secrets, and without what looks like one.
pub(super) fn without_secrets(text: &str, known: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in known.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret.as_str(), REMOVED);
    }
    for word in BEFORE {
        text = without_values(&text, word);
    }
    without_logins(&text)
}

/// Takes away what follows a word, in quotes or up to the next blank or separator.
fn without_values(text: &str, word: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut clean = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = lower[at..].find(word) {
        let start = at + found + word.len();
        let blanks = text[start..].len() - text[start..].trim_start_matches([' ', '"']).len();
        let value = start + blanks;
        let length = text[value..]
            .find(|it: char| {
                it.is_whitespace() || matches!(it, '"' | '&' | ',' | ';' | '}' | ')' | '\'')
            })
            .unwrap_or(text.len() - value);
        clean.push_str(&text[at..value]);
        if length > 0 {
            clean.push_str(REMOVED);
        }
        at = value + length;
    }
    clean.push_str(&text[at..]);
    clean
}

/// Takes names and passwords out of URLs.
fn without_logins(text: &str) -> String {
    let mut parts = text.split("://");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|it: char| it.is_whitespace() || matches!(it, '/' | '"' | '?' | '#'));
        let host = &part[..end.unwrap_or(part.len())];
        clean.push_str("://");
        match host.rfind('@') {
            Some(at) => {
                clean.push_str(REMOVED);
                clean.push_str(&part[at..]);
            }
            None => clean.push_str(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_passwords_are_taken_out_and_all_else_stays() {
        let known = ["my-refresh".to_owned()];
        let text = "a my-refresh b\nAuthorization: Bearer abc.def\n{\"token\": \"xyz\", \"n\": 1}\n\
                    http://ada:pw@host:1/x?X-Amz-Signature=ff00&a=1 token=t1, rest über alles";
        let clean = without_secrets(text, &known);
        for secret in ["my-refresh", "abc.def", "xyz", "ada:pw", "ff00", "t1"] {
            assert!(!clean.contains(secret), "{secret} is in {clean}");
        }
        for rest in ["a ", "\"n\": 1", "host:1/x", "&a=1", "rest über alles"] {
            assert!(clean.contains(rest), "{rest} is not in {clean}");
        }
    }
}
