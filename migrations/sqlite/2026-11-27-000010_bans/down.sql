DROP TABLE drawhall_ban_changes;
DROP TABLE drawhall_ban_parts;
DROP TABLE drawhall_accountbans;
DROP TABLE drawhall_bans;
