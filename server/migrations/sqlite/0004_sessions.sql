-- The sessions: who is signed in on which device, and which refresh token renews that. They outlive
-- the access tokens, which stand in the tracker and may be lost.

CREATE TABLE sessions (
    id          BLOB   NOT NULL PRIMARY KEY, -- derived from what each refresh token of it begins with
    user_id     BIGINT NOT NULL REFERENCES users (id),
    device      BLOB   NOT NULL,
    refresh     BLOB   NOT NULL,             -- id of the refresh token that was given last
    predecessor BLOB,                        -- id of the one that it was given for
    spent_at    BIGINT,                      -- when a token that was given for the predecessor was first shown
    renewed_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    UNIQUE (user_id, device)
);

CREATE INDEX sessions_by_expiry ON sessions (expires_at);
