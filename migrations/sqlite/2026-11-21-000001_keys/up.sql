-- Drawhall's own: secret keys that it makes and keeps.
CREATE TABLE drawhall_keys (name text primary key not null, secret blob not null);
