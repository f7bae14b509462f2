-- The last commit up to which a drive has forgotten what was deleted; and how far each device has followed the feed, once it
-- has: deletions after it are remembered.
ALTER TABLE users ADD COLUMN forgotten_until BIGINT NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN followed_until BIGINT;
CREATE INDEX nodes_by_deletion ON nodes (user_id, deleted_at) WHERE deleted_at IS NOT NULL;
