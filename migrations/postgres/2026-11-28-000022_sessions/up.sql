-- Sessions that the servers share (--cluster-sessions), and the bytes of their files. Times are those of the database
-- only.
CREATE TABLE drawhall_sessions (
    id text COLLATE "C" primary key not null,
    -- The server that may write: its row in drawhall_nodes. Without one, any server may take the session over.
    owner text COLLATE "C" not null,
    -- Counts those who took it over. What is written with an earlier one is refused.
    epoch bigint not null,
    alias text COLLATE "C" not null default '',
    -- Version of the protocol.
    protocol text COLLATE "C" not null,
    -- Within a minute of the last change.
    changed timestamptz not null default now()
);
CREATE UNIQUE INDEX drawhall_sessions_alias ON drawhall_sessions (alias) WHERE alias <> '';
CREATE INDEX drawhall_sessions_owner ON drawhall_sessions (owner);

-- Counts the connections over which a server commits. What arrives late over an earlier one is refused.
CREATE TABLE drawhall_committers (
    owner text COLLATE "C" primary key not null,
    connection bigint not null,
    connected timestamptz not null default now()
);

-- Files have the names and contents that they have in a session directory.
CREATE TABLE drawhall_session_data (
    session text COLLATE "C" not null,
    file text COLLATE "C" not null,
    -- Offset in the file.
    start bigint not null,
    -- Epoch of the session when it was written.
    epoch bigint not null,
    bytes bytea not null,
    PRIMARY KEY (session, file, start)
);
-- What people draw is compressed already, where that pays.
ALTER TABLE drawhall_session_data ALTER COLUMN bytes SET STORAGE EXTERNAL;
