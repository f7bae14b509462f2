//! Settings of the log.

use super::file::File;
use super::flags::ServingFlags;
use super::log_format::LogFormat;
use crate::http::AccessLog;

/// Form of the log, and what of requests stands in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Logging {
    /// Form of its lines.
    pub format: LogFormat,
    /// Lines about requests.
    pub access: AccessLog,
}

impl Logging {
    /// Puts flags, file and defaults together.
    pub(super) fn of(serving: &ServingFlags, file: &File) -> Self {
        let access = serving.access_log.or(file.access_log).unwrap_or(false);
        Self {
            format: serving.log_format.or(file.log_format).unwrap_or_default(),
            access: if access { AccessLog::Always } else { AccessLog::Debug },
        }
    }
}
