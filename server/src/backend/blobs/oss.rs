//! Every rule of Aliyun OSS that differs from S3's, with where it is written.
//!
//! The pages lie under `https://www.alibabacloud.com/help/en/oss/developer-reference/`.
//!
//! | rule | page |
//! |---|---|
//! | only virtual-hosted style; a bucket in the path is store_error (`SecondLevelDomainForbidden`) | `compatibility-with-amazon-s3` |
//! | a part has 100 KB at least, 5 GB at the most, and there are 10,000 | `uploadpart`, `completemultipartupload` |
//! | a part's ETag is its MD5, a put object's too; a completed object's ETag is no MD5 and follows no published rule | `uploadpart`, `putobject`, `completemultipartupload` |
//! | ETags are written in capitals | the examples of `putobject` and `uploadpart` |
//! | no conditional PUT: `If-None-Match` and `If-Match` are answered 501; overwriting is forbidden by a header of its own | `compatibility-with-amazon-s3`, `putobject` |
//! | signatures are V4 and name a region, and `aws-chunked` bodies are not understood | `compatibility-with-amazon-s3` |
//! | a URL is signed for 7 days at the most with V4 | `add-signatures-to-urls` |
//!
//! What follows from them elsewhere: ETags are compared without regard to case (`etag`), no code
//! relies on a conditional put (keys are random and an object never changes), payloads are sent in one
//! piece with `UNSIGNED-PAYLOAD` and checked by the ETag, and objects are deleted one by one.

use std::time::Duration;

use url::Url;

use super::rules::{Addressing, CompletedEtag, Rules};

/// The ways of OSS.
pub(super) const OSS: Rules = Rules {
    addressing: Addressing::VirtualHosted,
    part_min: 100 * 1024,
    parts_max: 10_000,
    completed_etag: CompletedEtag::Opaque,
    region: None,
    signed_for_max: Duration::from_secs(7 * 24 * 3600),
};

/// The endpoint of a bucket: the service's with the bucket as first label of the host, unless it is
/// there already. `None` when the host is an address, which has no labels.
pub(super) fn bucket_endpoint(service: &Url, bucket: &str) -> Option<String> {
    let host = service.domain()?;
    let named = match host.strip_prefix(bucket).is_some_and(|rest| rest.starts_with('.')) {
        true => host.to_owned(),
        false => format!("{bucket}.{host}"),
    };
    let port = service.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{named}{port}", service.scheme()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(service: &str) -> Option<String> {
        bucket_endpoint(&Url::parse(service).unwrap(), "drive")
    }

    #[test]
    fn the_bucket_stands_in_the_host_once() {
        let expected = Some("https://drive.oss-cn-hangzhou.aliyuncs.com".to_owned());
        assert_eq!(endpoint("https://oss-cn-hangzhou.aliyuncs.com"), expected);
        assert_eq!(endpoint("https://drive.oss-cn-hangzhou.aliyuncs.com/"), expected);
        assert_eq!(endpoint("http://oss.test:8080").as_deref(), Some("http://drive.oss.test:8080"));
        assert_eq!(
            endpoint("http://drives.test:80/").as_deref(),
            Some("http://drive.drives.test"),
            "another name that begins alike is no bucket"
        );
    }

    #[test]
    fn an_address_can_carry_no_bucket() {
        assert_eq!(endpoint("http://127.0.0.1:8080"), None);
        assert_eq!(endpoint("http://[::1]:8080"), None);
    }
}
