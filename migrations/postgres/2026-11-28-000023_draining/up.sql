ALTER TABLE drawhall_nodes
    -- It takes sessions over (--cluster-sessions).
    ADD COLUMN shares_sessions boolean not null default false,
    -- Its sessions are to move to other servers (`drawhall cluster drain`).
    ADD COLUMN is_draining boolean not null default false;
