-- Accounts, drives, contents, and what moves contents: the tables of sqlite/0001_initial.sql for MySQL and
-- MariaDB. Ids, digests and names are VARBINARY, since collations make `a` and `A` one name. There are no
-- foreign keys: each change would lock the rows that it refers to, and SQLite does not check them either.

CREATE TABLE users (
    id         BIGINT        AUTO_INCREMENT PRIMARY KEY,
    name       VARBINARY(64) NOT NULL UNIQUE,  -- lower case: one account however it is typed
    password   VARCHAR(255)  NOT NULL,         -- PHC string of argon2id
    quota      BIGINT        NOT NULL,
    used       BIGINT        NOT NULL DEFAULT 0,
    nodes      BIGINT        NOT NULL DEFAULT 0,
    seq        BIGINT        NOT NULL,
    status     BIGINT        NOT NULL DEFAULT 0,
    created_at BIGINT        NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE devices (
    user_id   BIGINT        NOT NULL,
    id        VARBINARY(16) NOT NULL,
    name      VARCHAR(255)  NOT NULL,
    last_seen BIGINT        NOT NULL,
    PRIMARY KEY (user_id, id)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What a user sees. A deleted node stays as a tombstone (deleted_at) so that the feed can tell.
CREATE TABLE nodes (
    user_id    BIGINT        NOT NULL,
    id         VARBINARY(16) NOT NULL,
    kind       BIGINT        NOT NULL,
    mode       BIGINT        NOT NULL,
    uid        BIGINT        NOT NULL,
    gid        BIGINT        NOT NULL,
    rdev       BIGINT        NOT NULL,
    mtime      BIGINT        NOT NULL,
    ctime      BIGINT        NOT NULL,
    btime      BIGINT        NOT NULL,
    target     MEDIUMBLOB,
    xattrs     LONGTEXT,
    digest     VARBINARY(32),
    size       BIGINT        NOT NULL,
    version    BIGINT        NOT NULL,
    revision   VARBINARY(16) NOT NULL,
    deleted_at BIGINT,
    PRIMARY KEY (user_id, id)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX nodes_by_version ON nodes (user_id, version);
CREATE INDEX nodes_by_digest ON nodes (user_id, digest);

CREATE TABLE entries (
    user_id BIGINT         NOT NULL,
    parent  VARBINARY(16)  NOT NULL,
    name    VARBINARY(255) NOT NULL,
    node    VARBINARY(16)  NOT NULL,
    PRIMARY KEY (user_id, parent, name)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX entries_by_node ON entries (user_id, node);

-- One row a content. The manifest holds its chunks and where they are.
CREATE TABLE files (
    digest     VARBINARY(32) NOT NULL PRIMARY KEY,
    md5        VARBINARY(16),
    size       BIGINT        NOT NULL,
    manifest   LONGBLOB      NOT NULL,
    refs       BIGINT        NOT NULL DEFAULT 0,
    status     BIGINT        NOT NULL DEFAULT 0,
    created_at BIGINT        NOT NULL,
    zero_at    BIGINT  -- since when refs is 0
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX files_by_md5 ON files (md5, size);
CREATE INDEX files_by_zero ON files (zero_at);

CREATE TABLE blobs (
    id         VARBINARY(16) NOT NULL PRIMARY KEY,
    size       BIGINT        NOT NULL,
    place      VARCHAR(32)   NOT NULL,
    host       VARCHAR(32),
    `key`      VARCHAR(255)  NOT NULL,
    state      BIGINT        NOT NULL,
    etags      LONGTEXT,
    created_at BIGINT        NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE file_blobs (
    digest  VARBINARY(32) NOT NULL,
    blob_id VARBINARY(16) NOT NULL,
    PRIMARY KEY (digest, blob_id)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX file_blobs_by_blob ON file_blobs (blob_id);

-- Which contents a user owns: those that a node of theirs names, and those just proven or uploaded.
CREATE TABLE user_contents (
    user_id    BIGINT        NOT NULL,
    digest     VARBINARY(32) NOT NULL,
    refs       BIGINT        NOT NULL DEFAULT 0,
    claimed_at BIGINT,
    PRIMARY KEY (user_id, digest)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX user_contents_by_digest ON user_contents (digest);
CREATE INDEX user_contents_by_claim ON user_contents (refs, claimed_at);

-- The outbox: what has to move, written with what made it necessary.
CREATE TABLE transfers (
    id       VARBINARY(16) NOT NULL PRIMARY KEY,
    blob_id  VARBINARY(16) NOT NULL,
    host     VARCHAR(32)   NOT NULL,
    state    BIGINT        NOT NULL,
    attempts BIGINT        NOT NULL DEFAULT 0,
    error    MEDIUMTEXT,
    next_at  BIGINT        NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX transfers_due ON transfers (state, next_at);

-- Earlier contents, links for others, and downloads by the server: nothing writes these yet.
CREATE TABLE versions (
    user_id    BIGINT        NOT NULL,
    node       VARBINARY(16) NOT NULL,
    version    BIGINT        NOT NULL,
    digest     VARBINARY(32) NOT NULL,
    size       BIGINT        NOT NULL,
    mtime      BIGINT        NOT NULL,
    created_at BIGINT        NOT NULL,
    PRIMARY KEY (user_id, node, version)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE shares (
    id         VARBINARY(16) NOT NULL PRIMARY KEY,
    user_id    BIGINT        NOT NULL,
    node       VARBINARY(16) NOT NULL,
    password   VARCHAR(255),
    expires_at BIGINT,
    created_at BIGINT        NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE offline_jobs (
    id         VARBINARY(16) NOT NULL PRIMARY KEY,
    user_id    BIGINT        NOT NULL,
    url        TEXT          NOT NULL,
    parent     VARBINARY(16) NOT NULL,
    state      BIGINT        NOT NULL,
    error      MEDIUMTEXT,
    created_at BIGINT        NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
