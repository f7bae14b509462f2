//! Refresh tokens, and the keys that make and prove them.
//!
//! There may be several keys: the first one makes tokens, and each proves those that it made. So a key is replaced
//! without anybody signing in again: a token that another one made is traded for one that the first one makes.

use jsonwebtoken::{DecodingKey, EncodingKey};

use crate::backend::{TokenId, TokenKeys};

/// Bytes of the number of renewals in a secret; the rest is the code.
pub(super) const GENERATION_BYTES: usize = 8;
/// Renewals that a database may have lost, and still know a token by.
const LOST_MAX: u64 = 100_000;

/// Keys derived from those of the server, by use; of each use the first one makes.
pub(super) struct DerivedKeys {
    /// Signs access tokens.
    pub sign: EncodingKey,
    /// Prove access tokens.
    pub verify: Vec<DecodingKey>,
    /// Make and prove the codes of refresh tokens.
    succeed: Vec<[u8; 32]>,
}

impl DerivedKeys {
    /// The keys of a server.
    pub(super) fn new(keys: &TokenKeys) -> Self {
        let purpose = "miaofs 2026 refresh token succession";
        Self {
            sign: EncodingKey::from_secret(keys.first().as_bytes()),
            verify: keys.all().map(|key| DecodingKey::from_secret(key.as_bytes())).collect(),
            succeed: keys.all().map(|key| key.derive(purpose)).collect(),
        }
    }
}

/// A refresh token.
#[derive(Clone, Copy)]
pub(super) struct RefreshToken {
    /// The same in all refresh tokens of a session, and known to nobody else.
    pub session: [u8; 16],
    /// The part that changes with each renewal.
    pub secret: [u8; 32],
}

impl RefreshToken {
    /// The token of a session after so many renewals.
    pub(super) fn new(keys: &DerivedKeys, session: [u8; 16], generation: u64) -> Self {
        Self::made_by(&keys.succeed[0], session, generation)
    }

    fn made_by(key: &[u8; 32], session: [u8; 16], generation: u64) -> Self {
        let mut secret = [0; 32];
        let (number, code) = secret.split_at_mut(GENERATION_BYTES);
        number.copy_from_slice(&generation.to_be_bytes());
        let mac = blake3::keyed_hash(key, &[&session[..], number].concat());
        code.copy_from_slice(&mac.as_bytes()[..code.len()]);
        Self { session, secret }
    }

    /// The same after so many renewals, as each key makes it.
    fn made_by_each(
        self,
        keys: &DerivedKeys,
        generation: u64,
    ) -> impl Iterator<Item = Self> + use<'_> {
        keys.succeed.iter().map(move |key| Self::made_by(key, self.session, generation))
    }

    /// Number of renewals before it; `None` for one whose code is not ours, as those of before.
    fn generation(self, keys: &DerivedKeys) -> Option<u64> {
        let number = self.secret.first_chunk::<GENERATION_BYTES>()?;
        let generation = u64::from_be_bytes(*number);
        // The ids are hashes: how long they are compared tells nothing of the secret.
        let is_ours = self.made_by_each(keys, generation).any(|ours| ours.id() == self.id());
        is_ours.then_some(generation)
    }

    /// The token that it is traded for: the `newest` one that the database knows, where that follows it, whichever key
    /// made that.
    pub(super) fn next(self, keys: &DerivedKeys, newest: TokenId) -> Self {
        let generation = self.generation(keys).map_or(0, |generation| generation + 1);
        let given = self.made_by_each(keys, generation).find(|next| next.id() == newest);
        given.unwrap_or_else(|| Self::new(keys, self.session, generation))
    }

    /// True if it is one that followed the `newest` one which the database knows.
    pub(super) fn is_ahead(self, keys: &DerivedKeys, newest: TokenId) -> bool {
        let Some(generation) = self.generation(keys) else { return false };
        let is_known =
            |before| self.made_by_each(keys, before).any(|earlier| earlier.id() == newest);
        (generation.saturating_sub(LOST_MAX)..generation).rev().any(is_known)
    }

    /// Reads what [`Self::to_text`] wrote; `None` for anything else.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let mut token = Self { session: [0; 16], secret: [0; 32] };
        let (session, secret) = text.split_at_checked(2 * token.session.len())?;
        hex::decode_to_slice(session, &mut token.session).ok()?;
        hex::decode_to_slice(secret, &mut token.secret).ok()?;
        Some(token)
    }

    /// The token as clients have it.
    pub(super) fn to_text(self) -> String {
        hex::encode(self.session) + &hex::encode(self.secret)
    }

    /// The id that the database knows the session by: whoever reads there learns no token.
    pub(super) fn session_id(&self) -> TokenId {
        id_from(&blake3::derive_key("miaofs 2026 session id", &self.session))
    }

    /// The id that the database knows it by.
    pub(super) fn id(&self) -> TokenId {
        id_from(&blake3::derive_key("miaofs 2026 refresh token id", &self.secret))
    }

    /// The id of the access token that is given with it.
    pub(super) fn access_id(&self) -> TokenId {
        id_from(&blake3::derive_key("miaofs 2026 access token id", &self.secret))
    }
}

fn id_from(hash: &[u8; 32]) -> TokenId {
    let (id, _rest) = hash.split_first_chunk().expect("32 bytes are more than 16");
    TokenId::from_bytes(*id)
}
