//! The tables, for diesel's DSL. Types are those that we write. People and drawpile-srv write others, so what they may
//! have written is read with casts, in SQL.

diesel::table! {
    settings (key) {
        key -> Text,
        value -> Text,
    }
}

diesel::table! {
    listingservers (url) {
        url -> Text,
    }
}

diesel::table! {
    ipbans (rowid) {
        rowid -> BigInt,
        ip -> Text,
        subnet -> BigInt,
        expires -> Text,
        comment -> Text,
        added -> Text,
    }
}

diesel::table! {
    systembans (id) {
        id -> BigInt,
        sid -> Text,
        reaction -> Text,
        expires -> Text,
        comment -> Text,
        reason -> Text,
        added -> Text,
    }
}

diesel::table! {
    userbans (id) {
        id -> BigInt,
    }
}

diesel::table! {
    users (rowid) {
        rowid -> BigInt,
        username -> Text,
        password -> Text,
        locked -> Integer,
        flags -> Text,
    }
}

diesel::table! {
    disabledextbans (id) {
        id -> BigInt,
    }
}

diesel::table! {
    serverlog (rowid) {
        rowid -> BigInt,
        timestamp -> Text,
        level -> Integer,
        topic -> Text,
        user -> Text,
        session -> Text,
        message -> Text,
    }
}

diesel::table! {
    drawhall_keys (name) {
        name -> Text,
        secret -> Binary,
    }
}

diesel::table! {
    drawhall_ids (name) {
        name -> Text,
        last -> BigInt,
    }
}
