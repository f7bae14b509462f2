-- When the bytes of a condemned blob may be removed by another process than the one that is at it.
ALTER TABLE blobs ADD COLUMN remove_at BIGINT;
