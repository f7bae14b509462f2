//! Invitations, by which accounts may be made where signing up is not open.

use super::{Connection, Row, query};
use crate::backend::{Error, InvitationId, unix_now};

/// An invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Invitation {
    /// Id, which is derived from its code.
    pub id: InvitationId,
    /// Accounts that may still be made by it.
    pub uses: u64,
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
    /// When it expires, in seconds since 1970.
    pub expires_at: i64,
}

/// Keeps an invitation.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn insert(db: &mut Connection, invitation: Invitation) -> Result<(), Error> {
    query("INSERT INTO invitations (id, uses, created_at, expires_at) VALUES (?, ?, ?, ?)")
        .bind(invitation.id.as_bytes().to_vec())
        .bind(i64::try_from(invitation.uses).unwrap_or(i64::MAX))
        .bind(invitation.created_at)
        .bind(invitation.expires_at)
        .execute(db)
        .await?;
    Ok(())
}

/// Uses an invitation once; `false` when there is none of this id, or it was used up, or has expired.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn take(db: &mut Connection, id: InvitationId) -> Result<bool, Error> {
    let taken = query(
        "UPDATE invitations SET uses = uses - 1 WHERE id = ? AND uses > 0 AND expires_at > ?",
    )
    .bind(id.as_bytes().to_vec())
    .bind(unix_now())
    .execute(db)
    .await?;
    Ok(taken > 0)
}

/// All invitations that are good still, the first made first.
///
/// # Errors
/// [`Error::Database`]; [`Error::Damaged`] when an id has not 16 bytes.
pub(crate) async fn all(db: &mut Connection) -> Result<Vec<Invitation>, Error> {
    let rows = query(
        "SELECT id, uses, created_at, expires_at FROM invitations
         WHERE uses > 0 AND expires_at > ? ORDER BY created_at, id",
    )
    .bind(unix_now())
    .fetch_all(db)
    .await?;
    rows.iter().map(invitation_of).collect()
}

/// Removes an invitation; `false` when there is none of this id.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove(db: &mut Connection, id: InvitationId) -> Result<bool, Error> {
    let removed = query("DELETE FROM invitations WHERE id = ?")
        .bind(id.as_bytes().to_vec())
        .execute(db)
        .await?;
    Ok(removed > 0)
}

/// Removes the invitations that nobody can use any more.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn remove_useless(db: &mut Connection) -> Result<(), Error> {
    query("DELETE FROM invitations WHERE uses <= 0 OR expires_at <= ?")
        .bind(unix_now())
        .execute(db)
        .await?;
    Ok(())
}

fn invitation_of(row: &Row) -> Result<Invitation, Error> {
    let id: Vec<u8> = row.try_get("id")?;
    let id = id.as_slice().try_into().map_err(|error| Error::damaged("invitation", error))?;
    Ok(Invitation {
        id: InvitationId::from_bytes(id),
        uses: row.try_get::<i64, _>("uses")?.max(0) as u64,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
    })
}
