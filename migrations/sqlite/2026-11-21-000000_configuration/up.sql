-- The tables of drawpile-srv, as it makes them. Those that are there already stay as they are.
CREATE TABLE IF NOT EXISTS settings (key primary key, value);
CREATE TABLE IF NOT EXISTS listingservers (url);
CREATE TABLE IF NOT EXISTS ipbans (ip, subnet, expires, comment, added);
CREATE TABLE IF NOT EXISTS systembans (
    id integer primary key not null,
    sid text not null,
    reaction text not null default 'normal',
    expires text not null,
    comment text,
    reason text,
    added text not null
);
CREATE TABLE IF NOT EXISTS userbans (
    id integer primary key not null,
    userid integer not null,
    reaction text not null default 'normal',
    expires text not null,
    comment text,
    reason text,
    added text not null
);
CREATE TABLE IF NOT EXISTS users (username unique, password, locked, flags);
CREATE TABLE IF NOT EXISTS disabledextbans (id integer primary key not null);
CREATE TABLE IF NOT EXISTS serverlog (timestamp, level, topic, user, session, message);
