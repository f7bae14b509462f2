-- When a device signed in for the first time.
ALTER TABLE devices ADD COLUMN first_seen BIGINT NOT NULL DEFAULT 0;
UPDATE devices SET first_seen = last_seen;

-- Why a session has ended; NULL while it goes on. An ended one stays until it expires, so that its device learns why.
ALTER TABLE sessions ADD COLUMN ended BIGINT;

-- When an account was closed, after which all that it has goes.
ALTER TABLE users ADD COLUMN closed_at BIGINT;
CREATE INDEX users_by_closing ON users (closed_at);

-- Invitations, by which accounts may be made.
CREATE TABLE invitations (
    id         BLOB   NOT NULL PRIMARY KEY, -- derived from the code, which is not kept
    uses       BIGINT NOT NULL,             -- accounts that may still be made by it
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
