//! One suite for the buckets of both services, on real gateways that verify every signature.
//!
//! `scripts/services up` starts them, and `services.env` names them. Without it these tests say that
//! they were skipped, and why.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures::stream::TryStreamExt as _;
use secrecy::SecretString;

use super::{BucketSettings, ObjectBody, StoreName, StoredCopy, Stores, StoresSettings};
use crate::backend::{BlobId, Error};

const MIB: usize = 1024 * 1024;
const MINUTE: Duration = Duration::from_secs(60);

/// The bucket that the environment names, with keys of their own for each test.
fn settings(name: StoreName) -> Option<BucketSettings> {
    let word = |key: &str| {
        let store = name.as_str().to_ascii_uppercase();
        std::env::var(format!("MIAOFS_TEST_{store}_{key}")).ok()
    };
    let Some(endpoint) = word("ENDPOINT") else {
        eprintln!("skipped for {name}: no MIAOFS_TEST_…_ENDPOINT; see scripts/services up");
        return None;
    };
    Some(BucketSettings {
        public_endpoint: Some(endpoint.clone()),
        endpoint,
        bucket: word("BUCKET").unwrap(),
        region: word("REGION"),
        access_key: word("ACCESS_KEY").unwrap(),
        secret_key: SecretString::from(word("SECRET_KEY").unwrap()),
        proxy: word("PROXY"),
        prefix: format!("test/{}", BlobId::random()),
    })
}

fn open(directory: &Path, name: StoreName, bucket: BucketSettings) -> Result<Stores, Error> {
    let mut settings = StoresSettings::local_only(directory.join("store"));
    match name {
        StoreName::Ceph => settings.ceph = Some(bucket),
        StoreName::Oss => settings.oss = Some(bucket),
        StoreName::Local => (),
    }
    settings.policy = vec![name];
    Stores::open(&settings)
}

/// The stores to be tried, each with a directory: the local one always.
fn all() -> Vec<(StoreName, tempfile::TempDir, Stores)> {
    let mut all = Vec::new();
    for name in [StoreName::Local, StoreName::Ceph, StoreName::Oss] {
        let directory = tempfile::tempdir().unwrap();
        let stores = match name {
            StoreName::Local => {
                Stores::open(&StoresSettings::local_only(directory.path().join("store"))).unwrap()
            }
            _ => match settings(name) {
                Some(bucket) => open(directory.path(), name, bucket).unwrap(),
                None => continue,
            },
        };
        all.push((name, directory, stores));
    }
    all
}

fn bytes_of(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&length.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn staged(directory: &Path, bytes: &[u8]) -> std::path::PathBuf {
    let path = directory.join("staged");
    std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
    path
}

async fn read(stores: &Stores, copy: &StoredCopy, from: usize, to: usize) -> Option<Vec<u8>> {
    match stores.read(copy, from as u64..to as u64).await.unwrap()? {
        ObjectBody::Stream(pieces) => Some(pieces.try_collect::<Vec<_>>().await.unwrap().concat()),
        ObjectBody::File(file) => {
            use std::os::unix::fs::FileExt as _;
            let mut bytes = vec![0; to - from];
            file.read_exact_at(&mut bytes, from as u64).unwrap();
            Some(bytes)
        }
    }
}

#[tokio::test]
async fn every_store_gives_back_what_it_took_in_whole_or_in_parts() {
    for (name, directory, stores) in all() {
        for length in [1, 100_000, 8 * MIB, 8 * MIB + 1, 25 * MIB + 7] {
            let (bytes, blob) = (bytes_of(length), BlobId::random());
            let file = staged(directory.path(), &bytes);
            assert_eq!(stores.head(name, blob).await.unwrap(), None, "{name} {length}");
            let copy = stores.put(name, blob, file.clone()).await.unwrap();
            assert_eq!(copy.size, length as u64, "{name}");
            let again = stores.put(name, blob, file).await.unwrap();
            assert_eq!(again, copy, "{name} {length}: a repeated put makes the same object");

            let whole = read(&stores, &copy, 0, length).await.unwrap();
            assert!(whole == bytes, "{name} {length}: other bytes came back");
            let (from, to) = (length / 3, length / 3 + length.div_ceil(2));
            let part = read(&stores, &copy, from, to).await.unwrap();
            assert!(part == bytes[from..to], "{name} {length}: another range came back");

            let found = stores.head(name, blob).await.unwrap().unwrap();
            assert_eq!((&found.key, found.size, &found.etag), (&copy.key, copy.size, &copy.etag));
            let listed: Vec<_> = stores.list(name).unwrap().try_collect().await.unwrap();
            assert_eq!(listed, [found], "{name} {length}");
            assert_eq!(stores.blob_of(name, &listed[0].key), Some(blob));

            for _again in 0..2 {
                stores.remove_everywhere(blob, std::slice::from_ref(&copy)).await.unwrap();
            }
            assert_eq!(read(&stores, &copy, 0, length).await, None, "{name} {length}");
        }
    }
}

#[tokio::test]
async fn a_signed_url_is_good_for_an_independent_client_until_it_expires() {
    for (name, directory, stores) in all() {
        if name == StoreName::Local {
            continue;
        }
        let bytes = bytes_of(9 * MIB);
        let file = staged(directory.path(), &bytes);
        let copy = stores.put(name, BlobId::random(), file).await.unwrap();
        let disposition = Some("attachment; filename*=UTF-8''a%20b.bin");
        let sign = |seconds| stores.signed_url(&copy, Duration::from_secs(seconds), disposition);
        let url = sign(60).await.unwrap().unwrap();
        let (status, body) = curl(name, url.as_str(), &["--range", "1000000-2999999"]);
        assert_eq!(status, "206", "{name}: {}", String::from_utf8_lossy(&body));
        assert!(body == bytes[1_000_000..3_000_000], "{name}: another range came back");
        let (_, head) = curl(name, url.as_str(), &["--dump-header", "-", "--output", "/dev/null"]);
        assert!(String::from_utf8_lossy(&head).contains("a%20b.bin"), "{name}");

        let forged = url.as_str().replace("X-Amz-Expires=60", "X-Amz-Expires=600");
        assert_eq!(curl(name, &forged, &[]).0, "403", "{name}: a changed URL is store_error");
        let bare = url.as_str().split('?').next().unwrap();
        assert_eq!(curl(name, bare, &[]).0, "403", "{name}: objects are not public");
        let short = sign(1).await.unwrap().unwrap();
        let began = std::time::Instant::now();
        while curl(name, short.as_str(), &[]).0 != "403" {
            assert!(began.elapsed() < MINUTE, "{name}: the URL does not expire");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        stores.remove(name, &copy.key).await.unwrap();
    }
}

/// Status and output of curl, which knows neither this program nor its libraries.
fn curl(name: StoreName, url: &str, arguments: &[&str]) -> (String, Vec<u8>) {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "60",
        "--write-out",
        "%{stderr}%{http_code}",
    ]);
    if let Some(proxy) = settings(name).and_then(|it| it.proxy) {
        command.args(["--proxy", &proxy]);
    }
    let output = command.args(arguments).arg(url).output().unwrap();
    (String::from_utf8(output.stderr).unwrap(), output.stdout)
}

#[tokio::test]
async fn a_refusal_says_which_setting_to_mend() {
    for name in [StoreName::Ceph, StoreName::Oss] {
        let Some(good) = settings(name) else { continue };
        let wrong = [
            ("'bucket'", BucketSettings { bucket: "nosuchbucket".into(), ..good.clone() }),
            (
                "'secret_key'",
                BucketSettings { secret_key: "wrong".to_owned().into(), ..good.clone() },
            ),
            ("'access_key'", BucketSettings { access_key: "nobody".into(), ..good.clone() }),
        ];
        for (setting, bucket) in wrong {
            let directory = tempfile::tempdir().unwrap();
            let stores = open(directory.path(), name, bucket).unwrap();
            for length in [10, 9 * MIB] {
                let file = staged(directory.path(), &bytes_of(length));
                let error = stores.put(name, BlobId::random(), file).await.unwrap_err();
                let text = error.to_string();
                assert!(text.contains(setting) && text.contains(name.as_str()), "{text}");
                assert!(!text.contains("<Error>"), "{text}");
            }
            let copy = StoredCopy {
                blob: BlobId::random(),
                store: name,
                key: "ab/abcd".to_owned(),
                size: 1,
                etag: None,
            };
            let store_error =
                stores.read(&copy, 0..1).await.err().expect("a wrong setting reads nothing");
            assert!(store_error.to_string().contains(setting), "{store_error}");
        }
    }
}

#[tokio::test]
async fn a_gateway_that_is_away_is_an_error_within_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = BucketSettings {
        // A port that was free a moment ago.
        endpoint: {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            format!("http://{}", listener.local_addr().unwrap())
        },
        bucket: "b".to_owned(),
        region: None,
        access_key: "a".to_owned(),
        secret_key: SecretString::from("s".to_owned()),
        public_endpoint: None,
        proxy: None,
        prefix: String::new(),
    };
    let stores = open(directory.path(), StoreName::Ceph, bucket).unwrap();
    let looked = stores.head(StoreName::Ceph, BlobId::random());
    let error = tokio::time::timeout(MINUTE, looked).await.expect("no answer").unwrap_err();
    assert!(error.to_string().contains("store ceph"), "{error}");
}

#[test]
fn settings_that_cannot_be_right_are_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = |endpoint: &str, region: Option<&str>, prefix: &str| BucketSettings {
        endpoint: endpoint.to_owned(),
        bucket: "b".to_owned(),
        region: region.map(str::to_owned),
        access_key: "a".to_owned(),
        secret_key: SecretString::from("s".to_owned()),
        public_endpoint: None,
        proxy: None,
        prefix: prefix.to_owned(),
    };
    let said = |name, bucket| open(directory.path(), name, bucket).unwrap_err().to_string();
    assert!(said(StoreName::Ceph, bucket("rgw:80", None, "")).contains("endpoint"));
    assert!(said(StoreName::Ceph, bucket("http://rgw", None, "a//b")).contains("'prefix'"));
    assert!(said(StoreName::Oss, bucket("http://oss.test", None, "")).contains("'region'"));
    assert!(said(StoreName::Oss, bucket("http://127.0.0.1", Some("r"), "")).contains("address"));
}
