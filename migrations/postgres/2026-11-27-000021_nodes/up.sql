-- Servers that have node links. Each writes its row every second; times are those of the database only.
CREATE TABLE drawhall_nodes (
    -- Made anew at each start.
    incarnation text COLLATE "C" primary key not null,
    name text COLLATE "C" not null,
    -- Where other servers connect, host:port.
    address text COLLATE "C" not null,
    seen timestamptz not null default now()
);
