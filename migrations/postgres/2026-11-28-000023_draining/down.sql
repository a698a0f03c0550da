ALTER TABLE drawhall_nodes DROP COLUMN shares_sessions, DROP COLUMN is_draining;
