//! Invitations: codes that an operator gives to those who may make an account.
//!
//! A code is 128 random bits in hex. The database has an id that is derived from it, so whoever reads there can invite
//! nobody.

use std::time::Duration;

use crate::backend::db::invitations::{self, Invitation};
use crate::backend::db::{self, Connection, Db};
use crate::backend::{Backends, InvitationId, unix_now};
use crate::service::Error;
use crate::service::audit::{Actor, AuditEvent, AuditLog, AuditSubject};
use crate::service::policy::after;

/// The invitations of a server, for its operator.
#[derive(Debug)]
pub(crate) struct Invitations {
    db: Db,
    audit: AuditLog,
}

impl Invitations {
    /// The invitations that these backends hold.
    pub(crate) fn new(backends: &Backends) -> Self {
        Self { db: backends.db.clone(), audit: AuditLog::new(backends) }
    }

    /// Makes an invitation, by which so many accounts may be made. Answers its code, which cannot be had again.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn invite(
        &self,
        uses: u64,
        lifetime: Duration,
    ) -> Result<(String, Invitation), Error> {
        let code: [u8; 16] = rand::random();
        let (id, created_at) = (id_of(&code), unix_now());
        let expires_at = after(created_at, lifetime);
        let invitation = Invitation { id, uses, created_at, expires_at };
        db::retry_transaction(|| async {
            let mut transaction = self.db.write().await?;
            invitations::remove_useless(&mut transaction).await?;
            invitations::insert(&mut transaction, invitation).await?;
            transaction.commit().await
        })
        .await?;
        self.note(AuditEvent::Invited { invitation: id, uses }).await;
        Ok((hex::encode(code), invitation))
    }

    /// The invitations that are good still.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn all(&self) -> Result<Vec<Invitation>, Error> {
        Ok(invitations::all(&mut *self.db.read().await?).await?)
    }

    /// Takes an invitation back.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) async fn revoke(&self, id: &str) -> Result<(), Error> {
        let no_such = || Error::NotFound("invitation of this id");
        let id: InvitationId = id.parse().map_err(|_no_id| no_such())?;
        let removed = db::retry_transaction(|| async {
            let mut transaction = self.db.write().await?;
            let removed = invitations::remove(&mut transaction, id).await?;
            transaction.commit().await?;
            Ok::<_, Error>(removed)
        })
        .await?;
        if !removed {
            return Err(no_such());
        }
        self.note(AuditEvent::InvitationRevoked { invitation: id }).await;
        Ok(())
    }

    async fn note(&self, event: AuditEvent) {
        self.audit.note(event, Actor::Operator, AuditSubject::default()).await;
    }
}

/// Uses an invitation once, within the transaction that makes the account.
///
/// # Errors
/// [`Error::InvitationNeeded`] when there is none, or not a good one.
pub(super) async fn take(db: &mut Connection, code: Option<&str>) -> Result<(), Error> {
    let code = code.ok_or(Error::InvitationNeeded(
        "this server takes new accounts by invitation only; ask its operator for one",
    ))?;
    let not_good = Error::InvitationNeeded(
        "the invitation is none of this server's, or was used, or has expired; ask for another one",
    );
    let mut bytes = [0; 16];
    if hex::decode_to_slice(code.trim(), &mut bytes).is_err() {
        return Err(not_good);
    }
    if invitations::take(db, id_of(&bytes)).await? { Ok(()) } else { Err(not_good) }
}

fn id_of(code: &[u8; 16]) -> InvitationId {
    let hash = blake3::derive_key("miaofs 2026 invitation id", code);
    let (id, _rest) = hash.split_first_chunk().expect("32 bytes are more than 16");
    InvitationId::from_bytes(*id)
}
