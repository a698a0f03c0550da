-- Drawhall's own: bans of persons. Each is several rows of the tables of bans together, with what those have no columns
-- for. Times are UTC, yyyy-MM-dd HH:mm:ss.
CREATE TABLE drawhall_bans (
    id integer primary key autoincrement not null,
    name text not null,
    reason text not null,
    note text not null,
    author text not null,
    created text not null,
    expires text not null,
    ended text not null default '',
    ended_by text not null default ''
);
-- Rows of ipbans (address), systembans (system), userbans (user) and drawhall_accountbans (account) that belong to them. A row that another program has
-- removed or given another subject does not belong to a ban any more.
CREATE TABLE drawhall_ban_parts (
    kind text not null,
    row_id integer not null,
    subject text not null,
    subnet integer not null,
    ban integer not null,
    primary key (kind, row_id)
);
-- Bans of accounts of this server, as systembans has those of system ids.
CREATE TABLE drawhall_accountbans (
    id integer primary key not null,
    account text not null,
    reaction text not null default 'normal',
    expires text not null,
    comment text,
    reason text,
    added text not null
);
CREATE INDEX drawhall_ban_parts_of_ban ON drawhall_ban_parts (ban);
CREATE TABLE drawhall_ban_changes (
    id integer primary key not null,
    ban integer not null,
    at text not null,
    author text not null,
    field text not null,
    before text not null,
    after text not null
);
CREATE INDEX drawhall_ban_changes_of_ban ON drawhall_ban_changes (ban);
