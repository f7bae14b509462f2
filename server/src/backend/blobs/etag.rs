//! ETags as services of S3's kind make them from MD5s, and their comparison.

use md5::Digest as _;

/// MD5 of some bytes.
pub(super) type Md5Bytes = [u8; 16];

/// The MD5 of `bytes`.
pub(super) fn md5_of(bytes: &[u8]) -> Md5Bytes {
    md5::Md5::digest(bytes).into()
}

/// The ETag of an object that was put in one piece, and that of a part.
pub(super) fn of_piece(md5: &Md5Bytes) -> String {
    hex::encode(md5)
}

/// The ETag of an object that was put together from parts: the MD5 of their MD5s, and how many.
pub(super) fn of_parts(parts: &[Md5Bytes]) -> String {
    format!("{}-{}", hex::encode(md5_of(parts.as_flattened())), parts.len())
}

/// The ETag without quotation marks and in small letters, as the tables keep it.
pub(super) fn plain(etag: &str) -> String {
    etag.trim_start_matches("W/").trim_matches('"').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_are_those_that_the_services_write() {
        // What `openssl md5` says of the same bytes.
        assert_eq!(of_piece(&md5_of(b"")), "d41d8cd98f00b204e9800998ecf8427e");
        let parts = [md5_of(b"a"), md5_of(b"b")];
        assert_eq!(of_parts(&parts), format!("{}-2", hex::encode(md5_of(&parts.concat()))));
        assert_eq!(plain("\"D41D8CD98F00B204E9800998ECF8427E\""), of_piece(&md5_of(b"")));
        assert_eq!(plain("W/\"ab-2\""), "ab-2");
    }
}
