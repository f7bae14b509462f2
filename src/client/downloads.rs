//! Downloads: where chunks are, and ranges of contents as streams of bytes.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};

use super::call::Call;
use super::counters::Counters;
use super::{Client, Error};
use crate::content::Digest;
use crate::protocol::batch::{self, BatchError};
use crate::protocol::downloads::{Locate, Located, SmallContents};
use crate::protocol::routes;

/// The bytes of a range, as they come.
#[derive(Debug)]
pub struct Download {
    response: Response,
    counters: Arc<Counters>,
    left: u64,
}

impl Download {
    /// The next bytes; `None` once the whole range has come.
    ///
    /// # Errors
    /// [`Error::Unreachable`] or [`Error::TimedOut`] when the stream breaks, [`Error::Malformed`]
    /// when it is longer or shorter than the range.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match self.response.chunk().await? {
            Some(bytes) => {
                self.counters.received(bytes.len());
                self.left = self
                    .left
                    .checked_sub(bytes.len() as u64)
                    .ok_or_else(|| Error::Malformed("more bytes than asked for".to_owned()))?;
                Ok(Some(bytes))
            }
            None if self.left > 0 => Err(Error::Malformed(format!("{} bytes short", self.left))),
            None => Ok(None),
        }
    }
}

/// Small contents that were asked for together, as they come.
#[derive(Debug)]
pub struct ContentStream {
    response: Response,
    counters: Arc<Counters>,
    /// Begin of the contents that have not come whole.
    rest: BytesMut,
}

impl ContentStream {
    /// The next contents, as many as have come; `None` after the last one.
    ///
    /// # Errors
    /// [`Error::Unreachable`] or [`Error::TimedOut`] when the stream breaks, [`Error::Malformed`] when it is no batch, or a content
    /// has another digest.
    pub async fn next(&mut self) -> Result<Option<Vec<(Digest, Bytes)>>, Error> {
        while let Some(bytes) = self.response.chunk().await? {
            self.counters.received(bytes.len());
            self.rest.extend_from_slice(&bytes);
            let contents = self.take_whole().map_err(malformed)?;
            if !contents.is_empty() {
                return Ok(Some(contents));
            }
        }
        match self.rest.is_empty() {
            true => Ok(None),
            false => Err(malformed(BatchError::Truncated)),
        }
    }

    fn take_whole(&mut self) -> Result<Vec<(Digest, Bytes)>, BatchError> {
        let mut contents = Vec::new();
        while let Some(((digest, bytes), _)) = batch::split_first(&self.rest)? {
            let length = bytes.len();
            let record = self.rest.split_to(batch::HEADER + length).freeze();
            contents.push((digest, record.slice(batch::HEADER..)));
        }
        Ok(contents)
    }
}

fn malformed(error: BatchError) -> Error {
    Error::Malformed(error.to_string())
}

impl Client {
    /// Asks for small contents, which come as one stream.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn small_contents(&self, digests: Vec<Digest>) -> Result<ContentStream, Error> {
        let call = Call::post(routes::CONTENTS).json(&SmallContents { digests });
        let response = self.send(&call).await?;
        let counters = Arc::clone(self.transport.counters());
        Ok(ContentStream { response, counters, rest: BytesMut::new() })
    }

    /// Asks for the digests of a run of a content's chunks, and where to read them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn locate(&self, locate: &Locate) -> Result<Located, Error> {
        self.json(&Call::post(routes::LOCATE).json(locate)).await
    }

    /// Opens a stream of `range`, which is not empty and within the content, through the server.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn download(&self, digest: Digest, range: Range<u64>) -> Result<Download, Error> {
        let call = Call::get(routes::DOWNLOAD).query("digest", digest).query("through", "server");
        let call = call.range(range.clone());
        self.stream_of(self.send(&call).await?, &range)
    }

    /// Opens a stream of `range` of what a signed URL names. No token of ours goes there.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn download_url(&self, url: &str, range: Range<u64>) -> Result<Download, Error> {
        let call = Call::get(url).range(range.clone());
        let response = self.retry.run(|| self.transport.fetch(url, &call)).await?;
        self.stream_of(response, &range)
    }

    /// Reads a range into one buffer. For ranges that fit into memory well.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn download_bytes(&self, digest: Digest, range: Range<u64>) -> Result<Bytes, Error> {
        let mut whole = BytesMut::with_capacity((range.end - range.start) as usize);
        let mut download = self.download(digest, range).await?;
        while let Some(bytes) = download.next().await? {
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.freeze())
    }

    fn stream_of(&self, response: Response, range: &Range<u64>) -> Result<Download, Error> {
        let starts_right = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let expected = format!("bytes {}-{}/", range.start, range.end - 1);
                let given = response.headers().get(CONTENT_RANGE).map(|value| value.as_bytes());
                given.is_some_and(|given| given.starts_with(expected.as_bytes()))
            }
            _ => range.start == 0,
        };
        if !starts_right {
            return Err(Error::Malformed("another range than asked for".to_owned()));
        }
        let counters = Arc::clone(self.transport.counters());
        Ok(Download { response, counters, left: range.end - range.start })
    }
}
