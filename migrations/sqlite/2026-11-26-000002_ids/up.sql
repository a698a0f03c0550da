-- Drawhall's own: the greatest number that a row of a table has had. SQLite gives the number of a removed row to the next
-- one, and whoever still knows it by its number then means another ban, or another account.
CREATE TABLE drawhall_ids (name text primary key not null, last integer not null);
