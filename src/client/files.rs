//! The drive: commits, listings, and the plain API by path.

use super::call::Call;
use super::{Client, Error};
use crate::protocol::files::{Commit, Committed, DeletePath, Listing, Node, PathQuery, UpdatePath};
use crate::protocol::ids::NodeId;
use crate::protocol::routes;

impl Client {
    /// Changes the drive. Safe to repeat: a revision that is there already is acknowledged again.
    ///
    /// # Errors
    /// [`Error`]; conflicts are in the answer.
    pub async fn commit(&self, commit: &Commit) -> Result<Committed, Error> {
        self.json(&Call::post(routes::COMMIT).json(commit).within(30)).await
    }

    /// One directory.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list(&self, directory: NodeId) -> Result<Listing, Error> {
        let path = routes::fill(routes::LIST, &[&directory]);
        self.json(&Call::get(path)).await
    }

    /// One directory by path.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn query(&self, query: &PathQuery) -> Result<Listing, Error> {
        self.json(&Call::get(routes::QUERY).query("path", &query.path)).await
    }

    /// One node by path.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn meta(&self, query: &PathQuery) -> Result<Node, Error> {
        self.json(&Call::get(routes::META).query("path", &query.path)).await
    }

    /// Renames or moves by path. Not repeated by itself: the second time the path is gone.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn update_path(&self, update: &UpdatePath) -> Result<Node, Error> {
        self.json(&Call::post(routes::UPDATE).json(update).not_idempotent()).await
    }

    /// Deletes by path. Not repeated by itself: the path may be another's the second time.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_path(&self, delete: &DeletePath) -> Result<(), Error> {
        self.send(&Call::post(routes::DELETE).json(delete).not_idempotent()).await.map(drop)
    }
}
