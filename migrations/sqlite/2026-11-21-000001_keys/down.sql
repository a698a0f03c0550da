DROP TABLE drawhall_keys;
