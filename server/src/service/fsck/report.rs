//! What a check has found, and what became of it.

use serde::Serialize;

/// Findings that a report lists; of more it only has the numbers.
const LISTED_MAX: usize = 1000;

/// Kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FindingKind {
    /// An account says that its drive holds something else than it does.
    DriveCount,
    /// A drive has no root.
    NoRoot,
    /// A node names a content that the server does not have.
    LostContent,
    /// A node has another size than its content.
    WrongSize,
    /// A node's user is not known to own its content.
    Unowned,
    /// A node has no name.
    Nameless,
    /// A directory has several names.
    ManyNames,
    /// A deleted node names a content.
    #[serde(rename = "full_tombstone")]
    TombstoneWithContent,
    /// A file has no content.
    NoContent,
    /// Directories hold each other.
    Cycle,
    /// An entry leads to no node.
    DanglingEntry,
    /// An entry is in no directory.
    #[serde(rename = "homeless_entry")]
    OrphanEntry,
    /// A user is said to name a content more or less often than they do.
    OwnedCount,
    /// A user owns a content that the server does not have.
    OwnedLost,
    /// A content is said to be named more or less often than it is.
    ContentCount,
    /// The manifest of a content cannot be read, or is another content's.
    Manifest,
    /// A content stands on other blobs than it is said to.
    ContentBlobs,
    /// A content stands on a blob that is not known or too short.
    NoBlob,
    /// No content stands on a blob.
    UnusedBlob,
    /// The bytes of a blob are not where they should be.
    MissingBytes,
    /// The bytes of a blob are more or fewer than they should be.
    WrongLength,
    /// The bytes of a content are not those of its digest.
    WrongBytes,
    /// The rows of a blob or of its copies cannot be read.
    BlobRow,
    /// A copy of a blob is not there or wrong, and another one is right.
    WrongCopy,
    /// A copy is of no blob.
    StrayCopy,
    /// A staged blob has nothing that moves it.
    NoTransfer,
    /// A transfer has no blob.
    StrayTransfer,
    /// Staged bytes belong to nothing.
    StrayStaged,
    /// An object of a store belongs to nothing.
    StrayObject,
    /// A put in parts was begun, and no transfer goes on with it.
    StrayParts,
}

/// Treatment of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FindingStatus {
    /// The check has mended it.
    Mended,
    /// `--repair` would mend it.
    Mendable,
    /// Only a person can mend it.
    Left,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The kind of damage.
    #[serde(rename = "flaw")]
    pub kind: FindingKind,
    /// Of what.
    pub subject: String,
    /// The damage in words.
    pub words: String,
    /// Files that suffer, each as `account:/path`; not all when they are many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub affected: Vec<String>,
    /// Mended, mendable, or left to a person.
    #[serde(rename = "outcome")]
    pub status: FindingStatus,
    /// The step that mends or mended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
}

/// Numbers of things that were looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Checked {
    /// Accounts.
    pub users: u64,
    /// Nodes, deleted ones too.
    pub nodes: u64,
    /// Contents.
    pub contents: u64,
    /// Blobs that the tables know.
    pub blobs: u64,
    /// Blobs staged on other hosts, whose bytes can be looked at there only.
    pub blobs_elsewhere: u64,
    /// Staged blobs and objects of stores.
    pub objects: u64,
    /// Bytes that were read and hashed.
    pub bytes: u64,
}

/// The result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// Numbers of things that were looked at.
    pub checked: Checked,
    /// Number of findings.
    pub found: u64,
    /// Number of mended findings.
    pub mended: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Number of findings that are not mended.
    pub(crate) fn left(&self) -> u64 {
        self.found - self.mended
    }

    /// Adds a finding.
    pub(super) fn add(&mut self, finding: Finding) {
        self.found += 1;
        self.mended += u64::from(finding.status == FindingStatus::Mended);
        if self.findings.len() < LISTED_MAX {
            self.findings.push(finding);
        }
    }
}
