//! The secrets of the settings, taken out of what is printed: nobody knows what a library quotes in an error.

use secrecy::{ExposeSecret as _, SecretString};

use crate::backend::{Database, Settings};

/// Printed in place of a secret.
const HIDDEN: &str = "***";

/// Words that nobody is to read, the longest first.
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// The passwords in the URLs of these settings, and the secret halves of keys.
    pub(super) fn of(settings: &Settings) -> Self {
        let mut urls: Vec<&SecretString> = Vec::new();
        if let Database::MySql { primary, replica } = &settings.database {
            urls.push(primary);
            urls.extend(replica);
        }
        urls.extend(settings.redis.as_ref().map(|redis| &redis.url));
        urls.extend(&settings.queue.amqp_url);
        let buckets = [&settings.stores.ceph, &settings.stores.oss].into_iter().flatten();
        let mut words: Vec<String> =
            urls.iter().flat_map(|url| passwords(url.expose_secret())).collect();
        for bucket in buckets {
            words.push(bucket.secret_key.expose_secret().to_owned());
            let addresses =
                [Some(&bucket.endpoint), bucket.public_endpoint.as_ref(), bucket.proxy.as_ref()];
            words.extend(addresses.into_iter().flatten().flat_map(|url| passwords(url)));
        }
        words.retain(|word| !word.is_empty());
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        Self(words)
    }

    /// The text without them.
    pub(super) fn hidden_in(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, word| text.replace(word, HIDDEN))
    }
}

/// The password of a URL as it is written there, and as it is meant; all before the host where no user stands before it.
fn passwords(url: &str) -> Vec<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let Some((user, _host)) = rest.rsplit_once('@') else { return Vec::new() };
    let written = user.split_once(':').map_or(user, |(_, password)| password);
    vec![written.to_owned(), decoded(written)]
}

/// A text with its `%XX` read.
fn decoded(text: &str) -> String {
    let query = format!("p={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(query.as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::backend::{KeyPrefix, RedisSettings};

    #[test]
    fn a_password_is_hidden_as_it_is_written_and_as_it_is_meant() {
        let mut settings = Settings::embedded(PathBuf::from("/data"));
        let url = SecretString::from("redis://:hu%23sh@host:1/0");
        settings.redis = Some(RedisSettings { url, prefix: KeyPrefix::default() });
        settings.queue.amqp_url = Some(SecretString::from("amqp://me:a+b:c@d@host"));
        let secrets = Secrets::of(&settings);
        for word in ["hu%23sh", "hu#sh", "a+b:c@d"] {
            assert_eq!(secrets.hidden_in(&format!("at {word}:")), "at ***:", "{word}");
        }
        assert_eq!(secrets.hidden_in("host:1 refuses me"), "host:1 refuses me");
    }
}
