//! Uploads: instant, chunked, and many small ones at once.

use bytes::Bytes;
use reqwest::Method;

use super::call::Call;
use super::{Client, Error};
use crate::protocol::files::{ContentRef, Node};
use crate::protocol::uploads::{
    BatchStored, InstantUpload, InstantUploadAnswer, Known, KnownAnswer, Proof, UploadAddress,
    UploadBegun, UploadInit, UploadStatus,
};
use crate::protocol::{batch, routes};

/// Media type of bytes that nobody looks into.
const OCTETS: &str = "application/octet-stream";

impl Client {
    /// Asks which contents are one's own already.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn known(&self, known: &Known) -> Result<KnownAnswer, Error> {
        self.json(&Call::post(routes::KNOWN).json(known)).await
    }

    /// Stores many small contents at once; `body` is built with [`batch::push`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn batch(&self, body: Bytes) -> Result<BatchStored, Error> {
        self.json(&Call::post(routes::BATCH).bytes(batch::MEDIA_TYPE, body).within(60)).await
    }

    /// Asks for an instant upload.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn instant_upload(
        &self,
        request: &InstantUpload,
    ) -> Result<InstantUploadAnswer, Error> {
        self.json(&Call::post(routes::INSTANT_UPLOAD).json(request)).await
    }

    /// Answers the challenge of an instant upload. Not repeated by itself: a challenge is good once.
    ///
    /// # Errors
    /// [`Error::Api`] with [`Code::ProofWrong`](crate::protocol::problem::Code::ProofWrong), among others.
    pub async fn prove_instant_upload(&self, proof: &Proof) -> Result<ContentRef, Error> {
        self.json(&Call::post(routes::INSTANT_UPLOAD_PROVE).json(proof).not_idempotent()).await
    }

    /// Begins a chunked upload, or finds it again with what is still missing, on whichever host of the
    /// server it was begun.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn begin_upload(&self, init: &UploadInit) -> Result<UploadBegun, Error> {
        let call = Call::post(routes::MULTIPART_INIT).json(init).within(60);
        let answer = self.json(&call).await;
        let right = answer.as_ref().err().and_then(Error::right_host);
        match right.map(|host| routes::on(Some(host), routes::MULTIPART_INIT)) {
            Some(path) => self.json(&Call { path, ..call }).await,
            None => answer,
        }
    }

    /// Sends one chunk; `bytes` are not copied, and may be sent again when the answer is lost.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn put_chunk(
        &self,
        upload: &UploadAddress,
        index: u64,
        bytes: Bytes,
    ) -> Result<(), Error> {
        let path = routes::fill(routes::MULTIPART_CHUNK, &[&upload.id, &index]);
        let path = routes::on(upload.host.as_ref(), &path);
        let call = Call::new(Method::PUT, path).bytes(OCTETS, bytes).within(30);
        self.send(&call).await.map(drop)
    }

    /// Makes a content of the chunks.
    ///
    /// # Errors
    /// [`Error::Api`] with [`Code::ChunksMissing`](crate::protocol::problem::Code::ChunksMissing) and
    /// their indexes ([`Error::missing`]), among others.
    pub async fn complete_upload(&self, upload: &UploadAddress) -> Result<ContentRef, Error> {
        let path = routes::fill(routes::MULTIPART_COMPLETE, &[&upload.id]);
        let path = routes::on(upload.host.as_ref(), &path);
        self.json(&Call::post(path).within(600)).await
    }

    /// Asks for the progress of a chunked upload.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn upload_status(&self, upload: &UploadAddress) -> Result<UploadStatus, Error> {
        let path = routes::fill(routes::MULTIPART, &[&upload.id]);
        let path = routes::on(upload.host.as_ref(), &path);
        self.json(&Call::get(path)).await
    }

    /// Gives a chunked upload up; its staged bytes go.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn cancel_upload(&self, upload: &UploadAddress) -> Result<(), Error> {
        let path = routes::fill(routes::MULTIPART, &[&upload.id]);
        let path = routes::on(upload.host.as_ref(), &path);
        self.delete(path).await
    }

    /// Uploads a whole file by path, replacing what is there.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn upload(&self, path: &str, bytes: Bytes) -> Result<Node, Error> {
        self.json(&Call::post(routes::UPLOAD).query("path", path).bytes(OCTETS, bytes).within(600))
            .await
    }
}
