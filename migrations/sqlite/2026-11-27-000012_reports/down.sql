DROP TABLE drawhall_reports;
