-- A transfer from store to store names both; under from_key is what is left in the first one, once nothing
-- reads it any more.
ALTER TABLE transfers ADD COLUMN from_place VARCHAR(32);
ALTER TABLE transfers ADD COLUMN to_place VARCHAR(32);
ALTER TABLE transfers ADD COLUMN from_key VARCHAR(255);
CREATE INDEX transfers_by_blob ON transfers (blob_id);
