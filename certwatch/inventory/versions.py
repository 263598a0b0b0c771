"""What a file must say of itself to be taken for an inventory of ours."""

#: "CWiv", in the header of the file (https://www.sqlite.org/fileformat.html, 1.3.14).
APPLICATION_ID = 0x43576976

#: Number of the last migration, in the header's user_version.
VERSION = 8
