//! Targets for a fuzzer: the text of refresh tokens, and names, passwords and devices of who signs up.

use super::account::{check_password, checked_name};
use super::refresh_token::RefreshToken;

/// A token, and the same text as a name and a password.
pub(crate) fn tokens(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(again) = RefreshToken::from_text(text).map(RefreshToken::to_text) {
        assert!(again.eq_ignore_ascii_case(text), "a token is written as it was read");
    }
    if let Ok(name) = checked_name(text) {
        assert!(name.eq_ignore_ascii_case(text) && (1..=64).contains(&name.len()));
    }
    if check_password(text).is_ok() {
        assert!((8..=1024).contains(&text.len()));
    }
}
