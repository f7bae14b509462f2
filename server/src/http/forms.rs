//! The form of a plain upload: its parts, one by one as they come.

use axum::extract::Multipart;
use axum::extract::multipart::{Field, MultipartError};
use miaofs::protocol::files::PATH_MAX;
use miaofs::protocol::problem::{Code, Problem};

/// A part of the form. One at a time is in memory.
#[expect(clippy::large_enum_variant, reason = "it is read, and gone, before the next one")]
pub(super) enum Part<'a> {
    /// Where the file is to be.
    Path(String),
    /// The bytes of the file, to be read before the next part.
    File(Field<'a>),
}

/// The next part of a form; none at its end.
pub(super) async fn next_part(form: &mut Multipart) -> Result<Option<Part<'_>>, Problem> {
    let Some(mut field) = form.next_field().await.map_err(malformed)? else { return Ok(None) };
    match field.name() {
        Some("path") => Ok(Some(Part::Path(short_text(&mut field).await?))),
        Some("file") => Ok(Some(Part::File(field))),
        _ => Err(Problem::new(Code::BadRequest, "fields: path and file")),
    }
}

/// A field that holds a path.
async fn short_text(field: &mut Field<'_>) -> Result<String, Problem> {
    let mut text = Vec::new();
    while let Some(bytes) = field.chunk().await.map_err(malformed)? {
        if text.len() + bytes.len() > PATH_MAX {
            return Err(Problem::new(Code::TooLarge, "the path is too long"));
        }
        text.extend_from_slice(&bytes);
    }
    let text = String::from_utf8(text);
    text.map_err(|_not_text| Problem::new(Code::InvalidValue, "path: not UTF-8"))
}

fn malformed(error: MultipartError) -> Problem {
    Problem::new(Code::BadRequest, error.body_text())
}
