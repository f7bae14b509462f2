//! Routes that bring contents: in chunks, many at once, or at once without their bytes.

use axum::body::Body;
use axum::extract::multipart::Multipart;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use miaofs::content::Md5;
use miaofs::protocol::batch;
use miaofs::protocol::files::{ContentRef, Node};
use miaofs::protocol::ids::UploadId;
use miaofs::protocol::problem::{Code, Problem};
use miaofs::protocol::routes;
use miaofs::protocol::uploads::{
    BatchStored, InstantUpload, InstantUploadAnswer, Known, KnownAnswer, Proof, UploadBegun,
    UploadInit, UploadStatus,
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::conditions::{Tagged, condition_of};
use super::forms::{Part, next_part};
use super::json::{Json, List, Path, Query};
use super::problem::Failure;
use super::spooled::gather;
use crate::service::uploads::ChunkBody;
use crate::service::{Caller, Error, Lobby, Services, Writer};

/// MD5 of a body in base64, RFC 1864.
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

type Answer<T> = Result<axum::Json<T>, Failure>;

/// Lets a request pass that brings bytes, before any of them is read.
///
/// # Errors
/// 507 when a disk is nearly full.
pub(super) async fn check_room(
    State(services): State<Services>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    services.disks.check_upload().await?;
    Ok(next.run(request).await)
}

/// Ask for an instant upload.
#[utoipa::path(post, path = routes::INSTANT_UPLOAD, tag = "upload", request_body = InstantUpload,
    responses((status = 200, description = "found or not", body = InstantUploadAnswer)))]
pub(super) async fn fast_upload(
    State(services): State<Services>,
    caller: Caller,
    Json(request): Json<InstantUpload>,
) -> Answer<InstantUploadAnswer> {
    Ok(axum::Json(services.instant_uploads.ask(caller, request).await?))
}

/// Answer the challenge of an instant upload.
#[utoipa::path(post, path = routes::INSTANT_UPLOAD_PROVE, tag = "upload", request_body = Proof,
    responses((status = 200, description = "the content is one's own", body = ContentRef),
        (status = 403, description = "the proof is wrong"),
        (status = 404, description = "no such challenge, or the content has gone")))]
pub(super) async fn prove(
    State(services): State<Services>,
    caller: Caller,
    Json(request): Json<Proof>,
) -> Answer<ContentRef> {
    Ok(axum::Json(services.instant_uploads.prove(caller, request).await?))
}

/// Begin a chunked upload, or find it again.
#[utoipa::path(post, path = routes::MULTIPART_INIT, tag = "upload", request_body = UploadInit,
    responses((status = 200, description = "begun or found again", body = UploadBegun),
        (status = 421, description = "another host has begun it")))]
pub(super) async fn init(
    State(services): State<Services>,
    caller: Caller,
    List(request, _room): List<UploadInit>,
) -> Answer<UploadBegun> {
    Ok(axum::Json(services.uploads.init(caller, request).await?))
}

/// Send one chunk of an upload.
#[utoipa::path(put, path = routes::MULTIPART_CHUNK, tag = "upload",
    params(("upload_id" = UploadId, Path), ("index" = u64, Path),
        ("content-md5" = Option<String>, Header, description = "MD5 of the bytes in base64, to be checked",
            pattern = "^[A-Za-z0-9+/]{21}[AQgw]==$")),
    request_body(content = String, content_type = "application/octet-stream",
        description = "the bytes of the chunk: 4 MiB, of the last one what is left"),
    responses((status = 204, description = "received"),
        (status = 404, description = "no such upload"), (status = 421, description = "another host has it")))]
pub(super) async fn put_chunk(
    State(services): State<Services>,
    caller: Caller,
    Path(place): Path<(UploadId, u64)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Failure> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let body = ChunkBody { length, md5: content_md5(&headers)?, bytes: body.into_data_stream() };
    services.uploads.put_chunk(caller, place, body).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn content_md5(headers: &HeaderMap) -> Result<Option<Md5>, Failure> {
    let Some(value) = headers.get(CONTENT_MD5) else { return Ok(None) };
    let bytes = base64::engine::general_purpose::STANDARD.decode(value).ok();
    match bytes.and_then(|bytes| Md5::try_from(&bytes[..]).ok()) {
        Some(md5) => Ok(Some(md5)),
        None => Err(Problem::new(Code::InvalidValue, "Content-MD5: 16 bytes in base64").into()),
    }
}

/// Received and missing chunks of an upload.
#[utoipa::path(get, path = routes::MULTIPART, tag = "upload",
    params(("upload_id" = UploadId, Path)),
    responses((status = 200, description = "its progress", body = UploadStatus),
        (status = 404, description = "no such upload"), (status = 421, description = "another host has it")))]
pub(super) async fn status(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<UploadId>,
) -> Answer<UploadStatus> {
    Ok(axum::Json(services.uploads.status(caller, id).await?))
}

/// Cancel an upload; what was sent of it is gone.
#[utoipa::path(delete, path = routes::MULTIPART, tag = "upload",
    params(("upload_id" = UploadId, Path)),
    responses((status = 204, description = "cancelled"),
        (status = 404, description = "no such upload"), (status = 421, description = "another host has it")))]
pub(super) async fn cancel(
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
    responses((status = 200, description = "the content is one's own", body = ContentRef),
        (status = 404, description = "no such upload"),
        (status = 409, description = "chunks are missing, or the base has gone and it has to begin anew"),
        (status = 421, description = "another host has it")))]
pub(super) async fn complete(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<UploadId>,
) -> Answer<ContentRef> {
    Ok(axum::Json(services.uploads.complete(caller, id).await?))
}

/// Those of the contents that are mine already.
#[utoipa::path(post, path = routes::KNOWN, tag = "upload", request_body = Known,
    responses((status = 200, description = "those that are", body = KnownAnswer)))]
pub(super) async fn known(
    State(services): State<Services>,
    caller: Caller,
    List(request, _room): List<Known>,
) -> Answer<KnownAnswer> {
    Ok(axum::Json(services.batches.known(caller, request).await?))
}

/// Many small contents at once.
#[utoipa::path(post, path = routes::BATCH, tag = "upload",
    request_body(content = String, content_type = batch::MEDIA_TYPE,
        description = "digest (32 bytes), length (4 bytes, big-endian) and bytes of each content, one after the other"),
    responses((status = 200, description = "stored", body = BatchStored)))]
pub(super) async fn batch(
    State(services): State<Services>,
    caller: Caller,
    request: Request,
) -> Answer<BatchStored> {
    is_batch(request.headers())?;
    let batches = &services.batches;
    let (parts, body) = request.into_parts();
    let lobby = Lobby { room: batches.room(), spools: &services.spools, user: caller.user };
    let (body, _seat) = gather((&parts, body), batch::BODY_MAX, lobby).await?;
    Ok(axum::Json(batches.store(caller, body).await?))
}

/// Checks the media type of a batch; parameters of it mean nothing.
fn is_batch(headers: &HeaderMap) -> Result<(), Failure> {
    let said = headers.get(CONTENT_TYPE).and_then(|media_type| media_type.to_str().ok());
    let essence = said.and_then(|said| said.split(';').next()).unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case(batch::MEDIA_TYPE) {
        return Ok(());
    }
    let detail = format!("send it as {}", batch::MEDIA_TYPE);
    Err(Problem::new(Code::UnsupportedMediaType, detail).into())
}

/// A whole file by path: as the body, with the path in the query, or as a form with the fields `path`
/// and `file`.
#[utoipa::path(post, path = routes::UPLOAD, tag = "by path",
    params(("path" = Option<String>, Query, description = "absolute path, when the body is the file",)),
    request_body(content(
        (String = "application/octet-stream"),
        (Form = "multipart/form-data"),
    )),
    responses((status = 200, description = "the file as it is now", body = Node),
        (status = 409, description = "something else is there or on the way, or the drive changed meanwhile"),
        (status = 412, description = "If-Match or If-None-Match does not hold")))]
pub(super) async fn upload(
    State(services): State<Services>,
    writer: Writer,
    Query(query): Query<UploadQuery>,
    request: Request,
) -> Result<Tagged, Failure> {
    let condition = condition_of(request.headers())?;
    let is_form = request.headers().get(CONTENT_TYPE).is_some_and(|media_type| {
        media_type.as_bytes().to_ascii_lowercase().starts_with(b"multipart/form-data")
    });
    let (path, content) = if is_form {
        receive_form(&services, writer, query.path, request).await?
    } else {
        let path = query.path.ok_or_else(no_path)?;
        services.files.check_put(writer, &path).await?;
        let body = request.into_body().into_data_stream();
        (path, services.plain_uploads.receive(writer, body).await?)
    };
    Ok(Tagged(services.files.put_path(writer, &path, content, &condition).await?))
}

/// Query of a plain upload.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UploadQuery {
    path: Option<String>,
}

/// The form of a plain upload, for the document of the API.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a form is read field by field as it comes")]
struct Form {
    /// Absolute path in the drive.
    path: String,
    /// The bytes of the file.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

async fn receive_form(
    services: &Services,
    writer: Writer,
    mut path: Option<String>,
    request: Request,
) -> Result<(String, ContentRef), Failure> {
    let form = Multipart::from_request(request, &()).await;
    let mut form =
        form.map_err(|rejection| Problem::new(Code::BadRequest, rejection.body_text()))?;
    let mut content = None;
    while let Some(part) = next_part(&mut form).await? {
        match part {
            Part::Path(text) => path = Some(text),
            Part::File(file) => {
                if let Some(path) = &path {
                    services.files.check_put(writer, path).await?;
                }
                content = Some(services.plain_uploads.receive(writer, file).await?);
            }
        }
    }
    let content = content.ok_or_else(|| Problem::new(Code::BadRequest, "no field 'file'"))?;
    Ok((path.ok_or_else(no_path)?, content))
}

fn no_path() -> Error {
    Error::Invalid("path: say where the file is to be".to_owned())
}
