-- Tokens that reach a part of a drive, by path. Of each there is a hash only.

CREATE TABLE scoped_tokens (
    id         VARBINARY(16)  NOT NULL PRIMARY KEY,
    user_id    BIGINT         NOT NULL,
    hash       VARBINARY(32)  NOT NULL UNIQUE,
    name       VARCHAR(64)    NOT NULL,
    root       VARBINARY(16)  NOT NULL, -- the node that it reaches, with all below it
    path       MEDIUMTEXT     NOT NULL, -- where that was when the token was made, for people
    operations BIGINT         NOT NULL,
    created_at BIGINT         NOT NULL,
    expires_at BIGINT,                  -- NULL for never
    UNIQUE (user_id, name)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
