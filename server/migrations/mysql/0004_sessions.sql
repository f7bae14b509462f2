-- The sessions: who is signed in on which device, and which refresh token renews that. They outlive
-- the access tokens, which stand in the tracker and may be lost.

CREATE TABLE sessions (
    id          VARBINARY(16) NOT NULL PRIMARY KEY, -- derived from what each refresh token of it begins with
    user_id     BIGINT        NOT NULL,
    device      VARBINARY(16) NOT NULL,
    refresh     VARBINARY(16) NOT NULL,             -- id of the refresh token that was given last
    predecessor VARBINARY(16),                      -- id of the one that it was given for
    spent_at    BIGINT,                             -- when a token given for the predecessor was first shown
    renewed_at  BIGINT        NOT NULL,
    expires_at  BIGINT        NOT NULL,
    UNIQUE (user_id, device)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX sessions_by_expiry ON sessions (expires_at);
