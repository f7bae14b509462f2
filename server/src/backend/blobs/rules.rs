//! Rules of one service that speaks S3 where it differs, as data; the code that talks to all is one.

use std::time::Duration;

/// Place of the bucket in the URL of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Addressing {
    /// As the first part of the path.
    Path,
    /// As the first label of the host.
    VirtualHosted,
}

/// Meaning of the ETag of an object that a multipart upload made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CompletedEtag {
    /// MD5 of the parts' MD5s, a dash, and how many parts.
    OfPartMd5s,
    /// Nothing that a client may compute.
    Opaque,
}

/// The ways of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// Place of the bucket in the URL of a request.
    pub addressing: Addressing,
    /// Bytes that a part has at least, the last one excepted.
    pub part_min: u64,
    /// Parts that an object has at the most.
    pub parts_max: u64,
    /// Meaning of the ETag of a completed multipart upload.
    pub completed_etag: CompletedEtag,
    /// The region that signatures name when the settings name none; `None` when they have to.
    pub region: Option<&'static str>,
    /// For how long a URL may be signed.
    pub signed_for_max: Duration,
}

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Ceph's RGW. Its documentation (Ceph Object Gateway, S3 API and config reference) says: buckets in the
/// path unless `rgw_dns_name` is set, `rgw_multipart_min_part_size` 5 MiB and
/// `rgw_multipart_part_upload_limit` 10,000 by default. Regions are not checked, and ETags are S3's.
pub(super) const CEPH: Rules = Rules {
    addressing: Addressing::Path,
    part_min: 5 * 1024 * 1024,
    parts_max: 10_000,
    completed_etag: CompletedEtag::OfPartMd5s,
    region: Some("us-east-1"),
    signed_for_max: WEEK,
};
