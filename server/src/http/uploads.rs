//! Routes that bring contents: in chunks, many at once, or at once without their bytes.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use base64::Engine as _;
use miaofs::content::Md5;
use miaofs::protocol::batch;
use miaofs::protocol::files::ContentRef;
use miaofs::protocol::ids::UploadId;
use miaofs::protocol::problem::{Code, Problem};
use miaofs::protocol::routes;
use miaofs::protocol::uploads::{
    BatchStored, FastUpload, FastUploadAnswer, Known, KnownAnswer, Proof, UploadBegun, UploadInit,
    UploadStatus,
};

use super::json::{Json, Path};
use super::problem::Failure;
use crate::service::{Caller, Error, Services};

/// MD5 of a body in base64, RFC 1864.
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

type Answer<T> = Result<axum::Json<T>, Failure>;

/// Ask for an instant upload.
#[utoipa::path(post, path = routes::FAST_UPLOAD, tag = "upload",
    responses((status = 200, body = FastUploadAnswer), (status = "4XX", body = Problem)))]
pub async fn fast_upload(
    State(services): State<Services>,
    caller: Caller,
    Json(request): Json<FastUpload>,
) -> Answer<FastUploadAnswer> {
    Ok(axum::Json(services.fast_uploads.ask(caller, request).await?))
}

/// Answer the challenge of an instant upload.
#[utoipa::path(post, path = routes::FAST_UPLOAD_PROVE, tag = "upload",
    responses((status = 200, body = ContentRef), (status = "4XX", body = Problem)))]
pub async fn prove(
    State(services): State<Services>,
    caller: Caller,
    Json(request): Json<Proof>,
) -> Answer<ContentRef> {
    Ok(axum::Json(services.fast_uploads.prove(caller, request).await?))
}

/// Begin a chunked upload, or find it again.
#[utoipa::path(post, path = routes::MULTIPART_INIT, tag = "upload",
    responses((status = 200, body = UploadBegun), (status = "4XX", body = Problem)))]
pub async fn init(
    State(services): State<Services>,
    caller: Caller,
    Json(request): Json<UploadInit>,
) -> Answer<UploadBegun> {
    Ok(axum::Json(services.uploads.init(caller, request).await?))
}

/// Send one chunk of an upload.
#[utoipa::path(put, path = routes::MULTIPART_CHUNK, tag = "upload",
    params(("upload_id" = UploadId, Path), ("index" = u64, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub async fn put_chunk(
    State(services): State<Services>,
    caller: Caller,
    Path(place): Path<(UploadId, u64)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Failure> {
    let md5 = content_md5(&headers)?;
    services.uploads.put_chunk(caller, place, body.into_data_stream(), md5).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn content_md5(headers: &HeaderMap) -> Result<Option<Md5>, Failure> {
    let Some(value) = headers.get(CONTENT_MD5) else { return Ok(None) };
    let bytes = base64::engine::general_purpose::STANDARD.decode(value).ok();
    match bytes.and_then(|bytes| Md5::try_from(&bytes[..]).ok()) {
        Some(md5) => Ok(Some(md5)),
        None => Err(Problem::new(Code::InvalidValue, "Content-MD5: 16 bytes in base64").into()),
    }
}

/// How far an upload is.
#[utoipa::path(get, path = routes::MULTIPART, tag = "upload",
    params(("upload_id" = UploadId, Path)),
    responses((status = 200, body = UploadStatus), (status = "4XX", body = Problem)))]
pub async fn status(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<UploadId>,
) -> Answer<UploadStatus> {
    Ok(axum::Json(services.uploads.status(caller, id).await?))
}

/// Cancel an upload; what was sent of it is gone.
#[utoipa::path(delete, path = routes::MULTIPART, tag = "upload",
    params(("upload_id" = UploadId, Path)),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub async fn cancel(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<UploadId>,
) -> Result<StatusCode, Failure> {
    services.uploads.cancel(caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// All chunks are sent: make the content exist.
#[utoipa::path(post, path = routes::MULTIPART_COMPLETE, tag = "upload",
    params(("upload_id" = UploadId, Path)),
    responses((status = 200, body = ContentRef), (status = 409, body = Problem),
        (status = "4XX", body = Problem)))]
pub async fn complete(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<UploadId>,
) -> Answer<ContentRef> {
    Ok(axum::Json(services.uploads.complete(caller, id).await?))
}

/// Which contents are mine already.
#[utoipa::path(post, path = routes::KNOWN, tag = "upload",
    responses((status = 200, body = KnownAnswer), (status = "4XX", body = Problem)))]
pub async fn known(
    State(services): State<Services>,
    caller: Caller,
    Json(request): Json<Known>,
) -> Answer<KnownAnswer> {
    Ok(axum::Json(services.batches.known(caller, request).await?))
}

/// Many small contents at once.
#[utoipa::path(post, path = routes::BATCH, tag = "upload",
    request_body(content = Vec<u8>, content_type = batch::MEDIA_TYPE),
    responses((status = 200, body = BatchStored), (status = "4XX", body = Problem)))]
pub async fn batch(
    State(services): State<Services>,
    caller: Caller,
    request: Request,
) -> Answer<BatchStored> {
    let batches = &services.batches;
    let _room = batches.room().await?;
    let body =
        Bytes::from_request(request, &()).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Error::TooLarge(format!("a batch has at most {} bytes", batch::BODY_MAX))
            }
            _ => Error::LengthMismatch(rejection.body_text()),
        })?;
    Ok(axum::Json(batches.store(caller, body).await?))
}
