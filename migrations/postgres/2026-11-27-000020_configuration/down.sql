DROP TABLE drawhall_ids, settings, listingservers, ipbans, systembans, userbans, drawhall_accountbans, users, disabledextbans, drawhall_keys, drawhall_bans, drawhall_ban_parts, drawhall_ban_changes, drawhall_sightings, drawhall_notes, drawhall_reports, drawhall_invitations, serverlog, drawhall_version;
DROP FUNCTION drawhall_rules_changed, drawhall_next_id;
