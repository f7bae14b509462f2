-- A row that is changed to see whether the database can be written to.
CREATE TABLE probes (
    id     BIGINT NOT NULL PRIMARY KEY,
    writes BIGINT NOT NULL
);
INSERT INTO probes (id, writes) VALUES (1, 0);
