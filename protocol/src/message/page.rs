//! The message table as a documentation page, `docs/protocol/messages.md`.

use std::fmt::{self, Write as _};

use super::{FieldInfo, FieldKind, Group, ItemKind, MESSAGES, MessageInfo};

const HEAD: &str = "# Messages

The payloads of all messages of dp:4.25.1, and of dp:4.24.0 where they differ. Made from `protocol/messages.toml` by
`cargo run -p drawhall-protocol --example messages > docs/protocol/messages.md`; a test keeps it in step.

On TCP four bytes come before the payload: its length (2 bytes, big-endian), the type, and the user id; on WebSocket
only the last two. Integers are big-endian. A field without a size goes on to the end of the payload.
";

/// The page in Markdown.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    let groups = [
        (Group::Control, "Control (0-31): between client and server, never recorded"),
        (Group::ServerMeta, "Transparent (32-63): part of a session, read by the server, too"),
        (Group::ClientMeta, "Opaque (64-127): part of a session, passed on untouched"),
        (Group::Command, "Commands (128-255): change the canvas, passed on untouched"),
    ];
    for (group, title) in groups {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "\n## {title}");
        for message in MESSAGES.iter().filter(|message| message.group == group) {
            let _ = describe(&mut page, message);
        }
    }
    page
}

fn describe(page: &mut String, message: &MessageInfo) -> fmt::Result {
    if message.reserved {
        return writeln!(page, "\n### {} is reserved: no payload is valid", message.id);
    }
    let only = if message.only_4_25 { ", not in dp:4.24" } else { "" };
    writeln!(page, "\n### {} {}, `{}`{only}\n", message.id, message.name, message.text)?;
    fields(page, message.fields)?;
    if let Some(older) = message.fields_4_24 {
        writeln!(page, "\nIn dp:4.24:\n")?;
        fields(page, older)?;
    }
    Ok(())
}

fn fields(page: &mut String, fields: &[FieldInfo]) -> fmt::Result {
    if fields.is_empty() {
        return writeln!(page, "No payload.");
    }
    writeln!(page, "| bytes | field | content |\n| --- | --- | --- |")?;
    for field in fields {
        let size = field.kind.width().map_or_else(|| open_size(&field.kind), |width| width.to_string());
        let scale =
            if field.scale > 1 { format!(", the value times {}", field.scale) } else { String::new() };
        writeln!(page, "| {size} | `{}` | {}{scale} |", field.name, content(&field.kind))?;
        if let FieldKind::StructList { fields, .. } = &field.kind {
            for inner in *fields {
                let size = inner.kind.width().map_or_else(String::new, |width| width.to_string());
                writeln!(page, "| - {size} | `{}.{}` | {} |", field.name, inner.name, content(&inner.kind))?;
            }
        }
    }
    Ok(())
}

fn open_size(kind: &FieldKind) -> String {
    match kind {
        FieldKind::Utf8 { length_prefix: true } | FieldKind::Bytes { length_prefix: true } => "1 + n".into(),
        _ => "n".into(),
    }
}

fn content(kind: &FieldKind) -> String {
    let named = |what: &str, names: &[&str]| format!("{what}: {}", names.join(", "));
    let several = |what: &str, min: usize, max: usize| {
        let least = if min > 0 { format!(", {min} or more") } else { String::new() };
        let most = if max < usize::MAX { format!(", {max} at most") } else { String::new() };
        format!("{what}{least}{most}")
    };
    match kind {
        FieldKind::U8 | FieldKind::U16 | FieldKind::U24 | FieldKind::U32 => "unsigned".into(),
        FieldKind::I8 | FieldKind::I32 => "signed, two's complement".into(),
        FieldKind::Bool => "0 is false".into(),
        FieldKind::Argb32 => "colour 0xAARRGGBB".into(),
        FieldKind::BlendMode => "blend mode".into(),
        FieldKind::Flags8(names) => named("bits, lowest first", names),
        FieldKind::Enum8(names) => named("from 0", names),
        FieldKind::Utf8 { length_prefix: true } => "length, then UTF-8".into(),
        FieldKind::Utf8 { length_prefix: false } => "UTF-8".into(),
        FieldKind::Bytes { length_prefix: true } => "length, then bytes".into(),
        FieldKind::Bytes { length_prefix: false } => "bytes".into(),
        FieldKind::List { item, min, max } => {
            let what = match item {
                ItemKind::U8 => "numbers of 1 byte",
                ItemKind::U16 => "numbers of 2 bytes",
                ItemKind::U32 => "numbers of 4 bytes",
                ItemKind::I32 => "signed numbers of 4 bytes",
            };
            several(what, *min, *max)
        }
        FieldKind::StructList { min, .. } => several("records", *min, usize::MAX),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_of_messages_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol/messages.md");
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            super::page(),
            "cargo run -p drawhall-protocol --example messages > docs/protocol/messages.md"
        );
    }
}
