DROP TABLE drawhall_notes;
DROP TABLE drawhall_sightings;
