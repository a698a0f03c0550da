-- Drawhall's own: who was in which session, for moderators. Times are milliseconds since 1970.
CREATE TABLE drawhall_sightings (
    id integer primary key not null,
    device text not null,
    account text not null,
    name text not null,
    folded text not null,
    address text not null,
    session text not null,
    title text not null,
    first_ms integer not null,
    last_ms integer not null,
    visits integer not null
);
CREATE UNIQUE INDEX drawhall_sightings_key ON drawhall_sightings (device, account, name, address, session);
CREATE INDEX drawhall_sightings_account ON drawhall_sightings (account);
CREATE INDEX drawhall_sightings_address ON drawhall_sightings (address);
CREATE INDEX drawhall_sightings_last ON drawhall_sightings (last_ms);
-- What moderators have noted about devices and accounts.
CREATE TABLE drawhall_notes (
    id integer primary key autoincrement not null,
    device text not null,
    account text not null,
    at text not null,
    author text not null,
    note text not null
);
CREATE INDEX drawhall_notes_device ON drawhall_notes (device);
CREATE INDEX drawhall_notes_account ON drawhall_notes (account);
