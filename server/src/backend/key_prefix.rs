//! The prefix by which several servers share one Redis or RabbitMQ.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// Prefix of all names of one server in Redis or RabbitMQ.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct KeyPrefix(String);

/// A string that keys do not begin with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a prefix of keys is 1 to {PREFIX_BYTES_MAX} of a-z, A-Z, 0-9, '.', '_' and '-'")]
pub(crate) struct KeyPrefixError;

/// Bytes that a prefix of keys may have.
const PREFIX_BYTES_MAX: usize = 64;

impl Default for KeyPrefix {
    fn default() -> Self {
        Self("miaofs".to_owned())
    }
}

impl FromStr for KeyPrefix {
    type Err = KeyPrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=PREFIX_BYTES_MAX).contains(&text.len()) && text.bytes().all(known);
        fits.then(|| Self(text.to_owned())).ok_or(KeyPrefixError)
    }
}

impl TryFrom<String> for KeyPrefix {
    type Error = KeyPrefixError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_keys_cannot_be_taken_for_another_part_of_a_key() {
        for good in ["miaofs", "a", "A.b_c-9"] {
            assert_eq!(good.parse::<KeyPrefix>().unwrap().to_string(), good);
        }
        for bad in ["", "a:b", "{a}", "a b", "ä", &"a".repeat(65)] {
            assert_eq!(bad.parse::<KeyPrefix>(), Err(KeyPrefixError), "{bad}");
        }
    }
}
