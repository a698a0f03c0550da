DROP TABLE drawhall_nodes;
