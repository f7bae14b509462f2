//! A bucket as a client that is none of ours sees it: curl, which signs by itself.

use std::path::Path;
use std::process::{Command, Stdio};

use super::command::output;
use super::services::service;

/// The most keys that a service lists at once.
const KEYS_A_PAGE: usize = 1000;

/// A bucket of one of the gateways, with the keys of its user.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    url: String,
    region: String,
    keys: String,
    proxy: Option<String>,
}

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    /// Key of the object.
    pub key: String,
    /// Size of the object in bytes.
    pub size: u64,
}

impl Bucket {
    /// The bucket in Ceph, by path.
    pub(crate) fn ceph() -> Self {
        let url = format!("{}/{}", service("CEPH_ENDPOINT"), service("CEPH_BUCKET"));
        let keys = format!("{}:{}", service("CEPH_ACCESS_KEY"), service("CEPH_SECRET_KEY"));
        Self { url, region: service("CEPH_REGION"), keys, proxy: None }
    }

    /// The bucket in what stands in for OSS, by the name of its host, which only the front resolves.
    pub(crate) fn oss() -> Self {
        let (endpoint, bucket) = (service("OSS_ENDPOINT"), service("OSS_BUCKET"));
        let url = endpoint.replacen("http://", &format!("http://{bucket}."), 1);
        let keys = format!("{}:{}", service("OSS_ACCESS_KEY"), service("OSS_SECRET_KEY"));
        Self { url, region: service("OSS_REGION"), keys, proxy: Some(service("OSS_PROXY")) }
    }

    /// The address of an object.
    pub(crate) fn url(&self, key: &str) -> String {
        format!("{}/{key}", self.url)
    }

    /// All objects whose keys begin with `prefix`, which is of letters, digits, `_`, `-` and `/`.
    pub(crate) fn list(&self, prefix: &str) -> Vec<Object> {
        let mut objects = Vec::new();
        loop {
            let after = objects.last().map_or("", |object: &Object| &object.key);
            // Signed as it stands: the names in order, and every slash escaped.
            let query = format!(
                "list-type=2&max-keys={KEYS_A_PAGE}&prefix={}&start-after={}",
                prefix.replace('/', "%2F"),
                after.replace('/', "%2F")
            );
            let page = self.curl(&[&format!("{}/?{query}", self.url)]);
            let found = page.split("<Contents>").skip(1).map(Object::parse);
            let before = objects.len();
            objects.extend(found);
            if objects.len() - before < KEYS_A_PAGE {
                return objects;
            }
        }
    }

    /// True if a multipart upload of an object whose key begins with `prefix` is begun and not ended.
    pub(crate) fn has_unfinished(&self, prefix: &str) -> bool {
        let query = format!("prefix={}&uploads=", prefix.replace('/', "%2F"));
        self.curl(&[&format!("{}/?{query}", self.url)]).contains("<UploadId>")
    }

    /// Writes an object's bytes to a file.
    pub(crate) fn fetch(&self, key: &str, target: &Path) {
        let target = target.to_str().expect("paths of tests are UTF-8");
        self.curl(&["--output", target, &self.url(key)]);
    }

    /// The digest of an object's bytes, which are kept nowhere.
    pub(crate) fn b3sum(&self, key: &str) -> String {
        let mut fetch = self.command(&[&self.url(key)]);
        let mut fetch = fetch.stdout(Stdio::piped()).spawn().expect("curl is installed");
        let bytes = fetch.stdout.take().expect("stdout is a pipe");
        let digest = output(Command::new("b3sum").stdin(bytes));
        let status = fetch.wait().expect("a child can be waited for");
        assert!(status.success(), "curl could not fetch {key}: {status}");
        digest.split(' ').next().expect("a digest").to_owned()
    }

    /// Removes all objects whose keys begin with `prefix`.
    pub(crate) fn empty(&self, prefix: &str) {
        let keys: Vec<String> = self.list(prefix).into_iter().map(|object| object.key).collect();
        for keys in keys.chunks(100) {
            let urls: Vec<String> = keys.iter().map(|key| self.url(key)).collect();
            let mut arguments = vec!["--request", "DELETE"];
            arguments.extend(urls.iter().map(String::as_str));
            self.curl(&arguments);
        }
    }

    /// Puts an object together from files, each a part.
    ///
    /// # Errors
    /// What the service said to the completion, when it refused.
    pub(crate) fn put_in_parts(&self, key: &str, parts: &[&Path]) -> Result<(), String> {
        let url = self.url(key);
        let begun = self.curl(&["--request", "POST", &format!("{url}?uploads=")]);
        let id = between(&begun, "UploadId");
        let mut list = String::new();
        for (number, part) in (1..).zip(parts) {
            let part = part.to_str().expect("paths of tests are UTF-8");
            let url = format!("{url}?partNumber={number}&uploadId={id}");
            let headers = self.curl(&["--upload-file", part, "--dump-header", "-", &url]);
            let etag = headers.lines().find_map(|line| line.strip_prefix("ETag: "));
            let etag = etag.expect("an ETag").trim();
            list += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        let body = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
        self.try_curl(&["--data", &body, &format!("{url}?uploadId={id}")]).map(|_answer| ())
    }

    /// Answer of the service to curl with these arguments; panics when it refuses.
    #[track_caller]
    pub(crate) fn curl(&self, arguments: &[&str]) -> String {
        self.try_curl(arguments).unwrap_or_else(|said| panic!("curl {arguments:?}: {said}"))
    }

    fn try_curl(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.command(arguments).output().expect("curl is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(text) } else { Err(format!("{complaint}{text}")) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("curl");
        let signature = format!("aws:amz:{}:s3", self.region);
        command.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "120"]);
        command.args(["--aws-sigv4", &signature, "--user", &self.keys]);
        command.args(["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]);
        match &self.proxy {
            Some(proxy) => command.args(["--proxy", proxy]),
            None => command.args(["--noproxy", "*"]),
        };
        command.args(arguments);
        command
    }
}

impl Object {
    fn parse(xml: &str) -> Self {
        let size = between(xml, "Size").parse().expect("a size");
        Self { key: between(xml, "Key").to_owned(), size }
    }
}

/// The text of the first element with this tag.
fn between<'a>(xml: &'a str, tag: &str) -> &'a str {
    let (_before, rest) = xml.split_once(&format!("<{tag}>")).expect("an element");
    rest.split_once("</").expect("the end of an element").0
}
