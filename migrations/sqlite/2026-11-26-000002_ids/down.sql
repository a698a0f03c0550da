DROP TABLE drawhall_ids;
