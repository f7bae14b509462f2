//! Uploads: instant ones of contents that somebody else has, and chunks of new contents.

use bytes::Bytes;
use miaofs::content::{Chunk, Digest, Manifest, chunk_count, hash_chunk};
use miaofs::protocol::proof::proof_of;
use miaofs::protocol::routes;
use miaofs::protocol::uploads::{InstantUploadAnswer, UploadBegun};
use reqwest::Method;
use serde_json::json;

use crate::Outcome;
use crate::account::{Account, Server, answer, together};
use crate::figures::{print_begin, print_rate};

/// Bytes of a content of an instant upload.
const SHARED: usize = 64 * 1024;
/// Bytes of a chunk.
const CHUNK: usize = miaofs::content::CHUNK_SIZE as usize;

/// A content that an account has uploaded.
#[derive(Debug, Clone)]
pub(crate) struct Uploaded {
    /// Whose it is.
    pub account: Account,
    /// BLAKE3 of it.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
}

/// Measures instant uploads of `count` contents by each client.
///
/// # Errors
/// What ends a measure.
pub(crate) async fn measure_instant(server: &Server, clients: usize, count: usize) -> Outcome<()> {
    let contents: Vec<Vec<u8>> = (0..count).map(|_| random_bytes(SHARED)).collect();
    server.sign_up().await?.batch(&contents).await?;
    let contents: Vec<(Digest, Bytes)> =
        contents.into_iter().map(|bytes| (Digest::of(&bytes), bytes.into())).collect();
    let mut claimers = Vec::new();
    for _client in 0..clients {
        claimers.push((server.sign_up().await?, contents.clone()));
    }
    print_begin("instant uploads");
    let (took, _) = together(claimers, |(account, contents)| async move {
        for (digest, bytes) in contents {
            claim(&account, digest, &bytes).await?;
        }
        Ok(())
    })
    .await?;
    print_rate("instant uploads", clients, (clients * count) as f64, "contents", took);
    Ok(())
}

async fn claim(account: &Account, digest: Digest, bytes: &[u8]) -> Outcome<()> {
    let ask = json!({ "filehash": digest, "size": bytes.len() });
    let asked = account.post(routes::INSTANT_UPLOAD, &ask).await?;
    let asked: InstantUploadAnswer = serde_json::from_value(asked)?;
    let challenge = asked.challenge.ok_or("the server does not have the content")?;
    let proof = json!({ "id": challenge.id, "proof": proof_of(&challenge, bytes) });
    account.post(routes::INSTANT_UPLOAD_PROVE, &proof).await.map(drop)
}

/// Measures the upload of a content of `chunks` chunks by each client; answers the contents.
///
/// # Errors
/// What ends a measure.
pub(crate) async fn measure_chunked(
    server: &Server,
    clients: usize,
    chunks: u64,
) -> Outcome<Vec<Uploaded>> {
    let mut uploads = Vec::new();
    for _client in 0..clients {
        let account = server.sign_up().await?;
        let bytes = Bytes::from(random_bytes(chunks as usize * CHUNK));
        let size = bytes.len() as u64;
        let places = (0..chunk_count(size)).filter_map(|index| Chunk::new(index, size));
        let digests = places.map(|place| {
            let range = place.range();
            Some(hash_chunk(place, &bytes[range.start as usize..range.end as usize]))
        });
        uploads.push((account, bytes.clone(), Manifest::new(size, &digests.collect::<Vec<_>>())?));
    }
    print_begin("chunk uploads");
    let (took, uploaded) = together(uploads, |(account, bytes, manifest)| async move {
        upload(&account, &bytes, &manifest).await?;
        Ok(Uploaded { account, digest: manifest.digest(), size: manifest.size() })
    })
    .await?;
    let mebibytes = (clients as u64 * chunks * 4) as f64;
    print_rate("chunk uploads", clients, mebibytes, "MiB", took);
    Ok(uploaded)
}

async fn upload(account: &Account, bytes: &Bytes, manifest: &Manifest) -> Outcome<()> {
    let size = manifest.size();
    let init = json!({ "digest": manifest.digest(), "size": size, "chunks": manifest.to_wire() });
    let begun = account.post(routes::MULTIPART_INIT, &init).await?;
    let begun: UploadBegun = serde_json::from_value(begun)?;
    let on = |path: &str| routes::on(begun.host.as_ref(), path);
    for index in &begun.missing {
        let place = Chunk::new(*index, size).ok_or("a chunk that is not there is missing")?;
        let range = place.range();
        let chunk = bytes.slice(range.start as usize..range.end as usize);
        let path = on(&routes::fill(routes::MULTIPART_CHUNK, &[&begun.upload_id, index]));
        answer(account.request(Method::PUT, &path).body(chunk)).await?;
    }
    let path = on(&routes::fill(routes::MULTIPART_COMPLETE, &[&begun.upload_id]));
    account.post(&path, &json!({})).await.map(drop)
}

fn random_bytes(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    rand::fill(&mut bytes[..]);
    bytes
}
