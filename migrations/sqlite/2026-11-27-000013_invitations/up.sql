-- Drawhall's own: invitations by link, each for one account. Times are UTC, yyyy-MM-dd HH:mm:ss.
CREATE TABLE drawhall_invitations (
    id integer primary key autoincrement not null,
    -- SHA-256 of the token, hexadecimal.
    digest text not null unique,
    flags text not null,
    name text not null,
    author text not null,
    created text not null,
    expires text not null,
    used text not null default '',
    used_by text not null default ''
);
