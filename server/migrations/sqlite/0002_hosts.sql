-- The upload hosts, and where the other processes of the server reach them. seen_at is renewed while
-- a host lives; url ends without a slash.

CREATE TABLE hosts (
    name    TEXT   NOT NULL PRIMARY KEY,
    url     TEXT   NOT NULL,
    seen_at BIGINT NOT NULL
);
