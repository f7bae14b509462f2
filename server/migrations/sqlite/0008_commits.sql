-- The ids of the latest commits to each drive: a database that was restored from an older copy and committed to anew
-- has other ones at the same numbers.

CREATE TABLE commits (
    user_id BIGINT NOT NULL REFERENCES users (id),
    seq     BIGINT NOT NULL,
    id      BLOB   NOT NULL,
    PRIMARY KEY (user_id, seq)
) WITHOUT ROWID;
