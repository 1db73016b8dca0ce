-- What the database was before it was restored, and how much of what this machine was told then it still knows.
ALTER TABLE machine ADD COLUMN follows TEXT NOT NULL DEFAULT '[]';
