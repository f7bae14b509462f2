-- The upload hosts, and where the other processes of the server reach them. seen_at is renewed while
-- a host lives; url ends without a slash.

CREATE TABLE hosts (
    name    VARCHAR(32)   CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    url     VARCHAR(2048) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    seen_at BIGINT        NOT NULL
) ENGINE = InnoDB;
