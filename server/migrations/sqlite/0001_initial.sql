-- Accounts, drives, contents, and what moves contents. Ids, digests and names are bytes; times of
-- nodes are nanoseconds since 1970, all other times seconds.

CREATE TABLE users (
    id         INTEGER PRIMARY KEY,
    name       BLOB    NOT NULL UNIQUE,  -- lower case: one account however it is typed
    password   TEXT    NOT NULL,         -- PHC string of argon2id
    quota      BIGINT  NOT NULL,
    used       BIGINT  NOT NULL DEFAULT 0,
    nodes      BIGINT  NOT NULL DEFAULT 0,
    seq        BIGINT  NOT NULL,
    status     BIGINT  NOT NULL DEFAULT 0,
    created_at BIGINT  NOT NULL
);

CREATE TABLE devices (
    user_id   BIGINT NOT NULL REFERENCES users (id),
    id        BLOB   NOT NULL,
    name      TEXT   NOT NULL,
    last_seen BIGINT NOT NULL,
    PRIMARY KEY (user_id, id)
);

-- What a user sees. A deleted node stays as a tombstone (deleted_at) so that the feed can tell.
CREATE TABLE nodes (
    user_id    BIGINT NOT NULL REFERENCES users (id),
    id         BLOB   NOT NULL,
    kind       BIGINT NOT NULL,
    mode       BIGINT NOT NULL,
    uid        BIGINT NOT NULL,
    gid        BIGINT NOT NULL,
    rdev       BIGINT NOT NULL,
    mtime      BIGINT NOT NULL,
    ctime      BIGINT NOT NULL,
    btime      BIGINT NOT NULL,
    target     BLOB,
    xattrs     TEXT,
    digest     BLOB,
    size       BIGINT NOT NULL,
    version    BIGINT NOT NULL,
    revision   BLOB   NOT NULL,
    deleted_at BIGINT,
    PRIMARY KEY (user_id, id)
);
CREATE INDEX nodes_by_version ON nodes (user_id, version);
CREATE INDEX nodes_by_digest ON nodes (user_id, digest);

CREATE TABLE entries (
    user_id BIGINT NOT NULL REFERENCES users (id),
    parent  BLOB   NOT NULL,
    name    BLOB   NOT NULL,
    node    BLOB   NOT NULL,
    PRIMARY KEY (user_id, parent, name)
);
CREATE INDEX entries_by_node ON entries (user_id, node);

-- One row a content. The manifest holds its chunks and where they are.
CREATE TABLE files (
    digest     BLOB   NOT NULL PRIMARY KEY,
    md5        BLOB,
    size       BIGINT NOT NULL,
    manifest   BLOB   NOT NULL,
    refs       BIGINT NOT NULL DEFAULT 0,
    status     BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    zero_at    BIGINT                      -- since when refs is 0
);
CREATE INDEX files_by_md5 ON files (md5, size);
CREATE INDEX files_by_zero ON files (zero_at);

CREATE TABLE blobs (
    id         BLOB   NOT NULL PRIMARY KEY,
    size       BIGINT NOT NULL,
    place      TEXT   NOT NULL,
    host       TEXT,
    key        TEXT   NOT NULL,
    state      BIGINT NOT NULL,
    etags      TEXT,
    created_at BIGINT NOT NULL
);

CREATE TABLE file_blobs (
    digest  BLOB NOT NULL REFERENCES files (digest),
    blob_id BLOB NOT NULL REFERENCES blobs (id),
    PRIMARY KEY (digest, blob_id)
);
CREATE INDEX file_blobs_by_blob ON file_blobs (blob_id);

-- Which contents a user owns: those that a node of theirs names, and those just proven or uploaded.
CREATE TABLE user_contents (
    user_id    BIGINT NOT NULL REFERENCES users (id),
    digest     BLOB   NOT NULL REFERENCES files (digest),
    refs       BIGINT NOT NULL DEFAULT 0,
    claimed_at BIGINT,
    PRIMARY KEY (user_id, digest)
);
CREATE INDEX user_contents_by_digest ON user_contents (digest);
CREATE INDEX user_contents_by_claim ON user_contents (refs, claimed_at);

-- The outbox: what has to move, written with what made it necessary.
CREATE TABLE transfers (
    id       BLOB   NOT NULL PRIMARY KEY,
    blob_id  BLOB   NOT NULL REFERENCES blobs (id),
    host     TEXT   NOT NULL,
    state    BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    error    TEXT,
    next_at  BIGINT NOT NULL
);
CREATE INDEX transfers_due ON transfers (state, next_at);

-- Earlier contents, links for others, and downloads by the server: nothing writes these yet.
CREATE TABLE versions (
    user_id    BIGINT NOT NULL REFERENCES users (id),
    node       BLOB   NOT NULL,
    version    BIGINT NOT NULL,
    digest     BLOB   NOT NULL REFERENCES files (digest),
    size       BIGINT NOT NULL,
    mtime      BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, node, version)
);

CREATE TABLE shares (
    id         BLOB   NOT NULL PRIMARY KEY,
    user_id    BIGINT NOT NULL REFERENCES users (id),
    node       BLOB   NOT NULL,
    password   TEXT,
    expires_at BIGINT,
    created_at BIGINT NOT NULL
);

CREATE TABLE offline_jobs (
    id         BLOB   NOT NULL PRIMARY KEY,
    user_id    BIGINT NOT NULL REFERENCES users (id),
    url        TEXT   NOT NULL,
    parent     BLOB   NOT NULL,
    state      BIGINT NOT NULL,
    error      TEXT,
    created_at BIGINT NOT NULL
);
