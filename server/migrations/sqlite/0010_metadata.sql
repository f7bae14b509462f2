-- Bytes that the nodes of a drive take beside their contents: 256 for a node and what its target and xattrs take, 64 for
-- an entry and what its name takes.
ALTER TABLE users ADD COLUMN metadata BIGINT NOT NULL DEFAULT 0;
UPDATE users SET metadata =
    (SELECT COALESCE(SUM(256 + COALESCE(OCTET_LENGTH(nodes.target), 0) + COALESCE(OCTET_LENGTH(nodes.xattrs), 0)), 0)
     FROM nodes WHERE nodes.user_id = users.id AND nodes.deleted_at IS NULL)
    + (SELECT COALESCE(SUM(64 + OCTET_LENGTH(entries.name)), 0) FROM entries WHERE entries.user_id = users.id);
