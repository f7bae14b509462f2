//! The fakes are as strict as what they stand for: tests on a store more lenient than OSS would prove nothing.

use std::process::Command;

use crate::harness::bucket::Bucket;
use crate::harness::command::output;
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::services::service;

/// OSS takes parts from 100 KiB on, S3 from 5 MiB.
const OSS_PART_BYTES: usize = 100 << 10;

/// HTTP status of a request to the fake of OSS, signed as `keys` say.
fn oss_status(keys: &str, arguments: &[&str]) -> u16 {
    let mut command = Command::new("curl");
    let signature = format!("aws:amz:{}:s3", service("OSS_REGION"));
    command.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]);
    command.args(["--proxy", &service("OSS_PROXY"), "--aws-sigv4", &signature, "--user", keys]);
    command.args(["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]).args(arguments);
    output(&mut command).parse().unwrap()
}

fn oss_keys() -> String {
    format!("{}:{}", service("OSS_ACCESS_KEY"), service("OSS_SECRET_KEY"))
}

#[test]
#[ignore = "needs scripts/services up"]
fn the_stand_in_of_oss_knows_no_conditional_put() {
    let url = Bucket::oss().url("conditional");
    for condition in ["if-none-match: *", "if-match: \"0\""] {
        let put = ["--request", "PUT", "--data-binary", "bytes", "--header", condition, &url];
        assert_eq!(oss_status(&oss_keys(), &put), 501, "{condition}");
    }
    assert_eq!(oss_status(&oss_keys(), &[&url]), 404, "something was put");
}

#[test]
#[ignore = "needs scripts/services up"]
fn the_stand_in_of_oss_refuses_path_style_and_wrong_signatures() {
    let by_path = format!("{}/{}/x", service("OSS_ENDPOINT"), service("OSS_BUCKET"));
    assert_eq!(oss_status(&oss_keys(), &[&by_path]), 403);
    let put = ["--request", "PUT", "--data-binary", "bytes", &Bucket::oss().url("unsigned")];
    let wrong = format!("{}:wrong", service("OSS_ACCESS_KEY"));
    assert_eq!(oss_status(&wrong, &put), 403);
}

#[test]
#[ignore = "needs scripts/services up"]
fn only_the_stand_in_of_oss_takes_parts_of_100_kib() {
    let directory = scratch();
    let part = directory.path().join("part");
    std::fs::write(&part, Seed::of_this_run().bytes("part", OSS_PART_BYTES)).unwrap();
    let key = directory.path().file_name().unwrap().to_string_lossy().into_owned();
    let oss = Bucket::oss();
    oss.put_in_parts(&key, &[&part, &part]).unwrap();
    assert_eq!(oss.list(&key)[0].size, 2 * OSS_PART_BYTES as u64);
    oss.empty(&key);
    let refused = Bucket::ceph().put_in_parts(&key, &[&part, &part]).unwrap_err();
    assert!(refused.contains("EntityTooSmall"), "{refused}");
}
