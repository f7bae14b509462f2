-- What a transfer has begun to put in parts: in which store, of which object, and what the store calls it. A try that
-- comes after one that was killed aborts it.
ALTER TABLE transfers ADD COLUMN put_place VARCHAR(32);
ALTER TABLE transfers ADD COLUMN put_key VARCHAR(255);
ALTER TABLE transfers ADD COLUMN put_id VARCHAR(1024);
