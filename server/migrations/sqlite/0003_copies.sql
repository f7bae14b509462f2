-- Where verified copies of stored blobs are: one row for each store that has one. A blob's own place only
-- says whether it is still staged.

CREATE TABLE copies (
    blob_id    BLOB   NOT NULL REFERENCES blobs (id),
    place      TEXT   NOT NULL,  -- local, ceph or oss
    object_key TEXT   NOT NULL,
    size       BIGINT NOT NULL,
    etag       TEXT,             -- as the store gave it, in small letters; a directory gives none
    created_at BIGINT NOT NULL,
    PRIMARY KEY (blob_id, place)
);
CREATE INDEX copies_by_place ON copies (place, blob_id);

INSERT INTO copies (blob_id, place, object_key, size, created_at)
SELECT id, 'local', key, size, created_at FROM blobs WHERE place = 'local';
UPDATE blobs SET place = 'stored' WHERE place = 'local';
