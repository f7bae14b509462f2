//! History of a drive: the commits that a client has seen are those that the database has, unless it was restored from an
//! older copy, or a replica took over that had not all of them.

use miaofs::protocol::files::SeenCommit;

use crate::backend::UserId;
use crate::backend::db::{self, Connection};
use crate::service::Error;

/// Makes sure that a commit which a client has seen is one of this drive.
///
/// # Errors
/// [`Error::AnotherHistory`] when it is not, [`Error::CommitForgotten`] when nothing says so; [`Error::Backend`].
pub(super) async fn check(
    db: &mut Connection,
    user: UserId,
    seen: SeenCommit,
) -> Result<(), Error> {
    match db::commits::id(db, user, seen.seq).await? {
        Some(id) if id == seen.id => return Ok(()),
        Some(_another) => return Err(Error::AnotherHistory(seen.seq)),
        None => (),
    }
    let head = db::accounts::usage(db, user).await?.ok_or(Error::Unauthorized)?.seq;
    if seen.seq <= head {
        return Err(Error::CommitForgotten(seen.seq));
    }
    Err(Error::AnotherHistory(seen.seq))
}
