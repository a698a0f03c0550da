-- Drawhall's own: abuse reports, with everybody as they were then (JSON).
CREATE TABLE drawhall_reports (
    id integer primary key autoincrement not null,
    at text not null,
    session text not null,
    title text not null,
    reason text not null,
    reporter text not null,
    about text not null,
    users text not null,
    state text not null default 'open',
    handler text not null default '',
    handled_at text not null default '',
    outcome text not null default '',
    -- Devices and accounts of both, for finding reports about a person.
    reporter_device text not null,
    reporter_account text not null,
    about_device text not null,
    about_account text not null
);
CREATE INDEX drawhall_reports_state ON drawhall_reports (state);
CREATE INDEX drawhall_reports_about_device ON drawhall_reports (about_device);
CREATE INDEX drawhall_reports_reporter_device ON drawhall_reports (reporter_device);
