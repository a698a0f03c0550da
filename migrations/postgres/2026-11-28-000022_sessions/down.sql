DROP TABLE drawhall_session_data;
DROP TABLE drawhall_committers;
DROP TABLE drawhall_sessions;
