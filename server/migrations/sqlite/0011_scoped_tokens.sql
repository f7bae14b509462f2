-- Tokens that reach a part of a drive, by path. Of each there is a hash only.

CREATE TABLE scoped_tokens (
    id         BLOB    NOT NULL PRIMARY KEY,
    user_id    BIGINT  NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash       BLOB    NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    root       BLOB    NOT NULL, -- the node that it reaches, with all below it
    path       TEXT    NOT NULL, -- where that was when the token was made, for people
    operations BIGINT  NOT NULL,
    created_at BIGINT  NOT NULL,
    expires_at BIGINT,           -- NULL for never
    UNIQUE (user_id, name)
);
