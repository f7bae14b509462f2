//! How much room there is: the account's quota, bounded by the local disk that everything passes through.

use std::path::Path;

use miaofs::protocol::accounts::Account;

use super::{Error, Vfs};

/// Size of a block in bytes.
pub(crate) const BLOCK_SIZE: u64 = 4096;

/// Space as statfs(2) gives it, in blocks of [`BLOCK_SIZE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    /// In all.
    pub blocks: u64,
    /// Free: what is not used of the quota.
    pub free: u64,
    /// Of these, what the local disk can take.
    pub available: u64,
    /// Nodes in all.
    pub nodes: u64,
    /// Nodes that may still be made.
    pub free_nodes: u64,
}

/// Nodes that a drive may have, as far as `statfs` is concerned, where the server sets no limit.
const NODES_MAX: u64 = 1 << 32;

impl Vfs {
    /// Returns size and free space of the drive: until the server has told the quota, those of the local disk.
    ///
    /// # Errors
    /// A state directory that cannot be looked at.
    pub(crate) fn space(&self) -> Result<Space, Error> {
        let state_dir = self.settings.control_socket.parent().unwrap_or(Path::new("/"));
        let disk = rustix::fs::statvfs(state_dir).map_err(Error::Disk)?;
        let total = disk.f_blocks.saturating_mul(disk.f_frsize);
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let available = self.store.writable_bytes(free);
        Ok(bounded(self.engine.account().as_ref(), total, available))
    }
}

/// The quota, of which no more is free than the local disk can take.
fn bounded(account: Option<&Account>, disk_total: u64, disk_available: u64) -> Space {
    let nodes_max = account.map_or(0, |account| account.max_nodes);
    let nodes_max = if nodes_max == 0 { NODES_MAX } else { nodes_max };
    let (quota, left, nodes) = match account {
        Some(account) => (account.quota, account.quota.saturating_sub(account.used), account.nodes),
        None => (disk_total, disk_available, 0),
    };
    Space {
        blocks: quota / BLOCK_SIZE,
        free: left / BLOCK_SIZE,
        available: left.min(disk_available) / BLOCK_SIZE,
        nodes: nodes_max,
        free_nodes: nodes_max.saturating_sub(nodes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_free_than_the_quota_and_the_disk_have() {
        let account = |quota: u64, used: u64| Account {
            name: "a".into(),
            quota,
            used,
            metadata: 0,
            nodes: 7,
            max_nodes: 0,
            max_file_size: u64::MAX,
        };
        let space = |account: Option<&Account>| {
            let space = bounded(account, 1 << 30, 1 << 20);
            (space.blocks * BLOCK_SIZE, space.free * BLOCK_SIZE, space.available * BLOCK_SIZE)
        };
        let tebibyte = 1 << 40;
        assert_eq!(space(Some(&account(tebibyte, 0))), (tebibyte, tebibyte, 1 << 20));
        assert_eq!(space(Some(&account(tebibyte, tebibyte - 8192))), (tebibyte, 8192, 8192));
        assert_eq!(space(Some(&account(4096, 8192))), (4096, 0, 0));
        assert_eq!(space(None), (1 << 30, 1 << 20, 1 << 20));
    }
}
