DROP TABLE drawhall_invitations;
