-- Machines that are only listed and looked at, never lent: what is known of them, as JSON.
ALTER TABLE machine ADD COLUMN listing TEXT;
-- As whoever listed it said, to the letter.
ALTER TABLE machine ADD COLUMN listed_address TEXT;
CREATE UNIQUE INDEX machine_listed_address ON machine (listed_address)
    WHERE gone_at IS NULL AND listed_address IS NOT NULL;
