//! Generates the message types and the message table from messages.toml. Source:
//! docs/spec/wire.md#values-in-messages.
#![allow(clippy::unwrap_used, reason = "a build that cannot go on stops")]

use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize)]
struct Table {
    message: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Message {
    id: u8,
    name: String,
    text: String,
    group: String,
    #[serde(default)]
    reserved: bool,
    same_as: Option<String>,
    fields: Option<Vec<Field>>,
    #[serde(rename = "fields-4-24")]
    fields_4_24: Option<Vec<Field>>,
    #[serde(default, rename = "only-4-25")]
    only_4_25: bool,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Field {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    bits: Vec<String>,
    length_prefix: Option<String>,
    scale: Option<u32>,
    min_items: Option<usize>,
    max_items: Option<usize>,
    #[serde(rename = "struct")]
    struct_name: Option<String>,
    fields: Option<Vec<Field>>,
}

impl Field {
    /// The field's name as a Rust identifier.
    fn ident(&self) -> String {
        match (self.name.as_str(), self.kind.as_str()) {
            ("dabs", _) => "dabs".into(),
            ("type", _) => "kind".into(),
            (name, _) => name.into(),
        }
    }

    fn item(&self) -> Option<&str> {
        self.kind.strip_prefix("list-")
    }

    fn rust_type(&self) -> String {
        match self.kind.as_str() {
            "u8" | "blend-mode" | "flags8" | "enum8" => "u8".into(),
            "u16" => "u16".into(),
            "u24" | "u32" | "argb32" => "u32".into(),
            "i8" => "i8".into(),
            "i32" => "i32".into(),
            "bool" => "bool".into(),
            "utf8" => "String".into(),
            "bytes" => "Vec<u8>".into(),
            "list-u24" => "Vec<u32>".into(),
            "struct-list" => format!("Vec<{}>", self.struct_name.as_deref().expect("struct name")),
            list if list.starts_with("list-") => format!("Vec<{}>", &list[5..]),
            other => panic!("unknown field type {other}"),
        }
    }

    fn decode_expr(&self) -> String {
        match self.kind.as_str() {
            "u8" | "blend-mode" | "flags8" | "enum8" => "r.u8()?".into(),
            "u32" | "argb32" => "r.u32()?".into(),
            "utf8" => format!("r.utf8({})?", self.prefixed()),
            "bytes" => format!("r.bytes({})?", self.prefixed()),
            "struct-list" => {
                let item = self.struct_name.as_deref().expect("struct name");
                let fields = self.fields.as_ref().expect("struct fields");
                let inner: Vec<_> =
                    fields.iter().map(|f| format!("{}: {} as _", f.ident(), f.decode_expr())).collect();
                format!(
                    "r.list({}, {}, usize::MAX, |r| Ok({item} {{ {} }}))?",
                    struct_size(fields),
                    self.min_items.unwrap_or(0),
                    inner.join(", ")
                )
            }
            list if list.starts_with("list-") => {
                let item = &list[5..];
                format!(
                    "r.list({}, {}, {}, |r| Ok(r.{item}()? as _))?",
                    width(item),
                    self.min_items.unwrap_or(0),
                    self.max_items.map_or("usize::MAX".into(), |n| n.to_string())
                )
            }
            plain => format!("r.{plain}()?"),
        }
    }

    fn prefixed(&self) -> bool {
        self.length_prefix.as_deref().map(|p| assert_eq!(p, "u8")).is_some()
    }

    fn encode_stmt(&self, value: &str) -> String {
        let field = &self.name;
        match self.kind.as_str() {
            "utf8" => format!("w.bytes({value}.as_bytes(), {}, \"{field}\")?;", self.prefixed()),
            "bytes" => format!("w.bytes(&{value}, {}, \"{field}\")?;", self.prefixed()),
            "bool" => format!("w.u8(u8::from({value}));"),
            "struct-list" => {
                let fields = self.fields.as_ref().expect("struct fields");
                let inner: Vec<_> =
                    fields.iter().map(|f| f.encode_stmt(&format!("item.{}", f.ident()))).collect();
                format!(
                    "w.count({value}.len(), {}, usize::MAX, \"{field}\")?; for item in &{value} {{ {} }}",
                    self.min_items.unwrap_or(0),
                    inner.join(" ")
                )
            }
            list if list.starts_with("list-") => format!(
                "w.count({value}.len(), {}, {}, \"{field}\")?; for item in &{value} {{ {} }}",
                self.min_items.unwrap_or(0),
                self.max_items.map_or("usize::MAX".into(), |n| n.to_string()),
                integer_stmt(self.item().expect("list item"), "*item", field)
            ),
            kind => integer_stmt(kind, value, field),
        }
    }

    fn info(&self) -> String {
        let kind = match self.kind.as_str() {
            "u8" => "FieldKind::U8".into(),
            "u16" => "FieldKind::U16".into(),
            "u24" => "FieldKind::U24".into(),
            "u32" => "FieldKind::U32".into(),
            "i8" => "FieldKind::I8".into(),
            "i32" => "FieldKind::I32".into(),
            "bool" => "FieldKind::Bool".into(),
            "argb32" => "FieldKind::Argb32".into(),
            "blend-mode" => "FieldKind::BlendMode".into(),
            "flags8" => format!("FieldKind::Flags8(&{:?})", self.bits),
            "enum8" => format!("FieldKind::Enum8(&{:?})", self.values),
            "utf8" => format!("FieldKind::Utf8 {{ length_prefix: {} }}", self.prefixed()),
            "bytes" => format!("FieldKind::Bytes {{ length_prefix: {} }}", self.prefixed()),
            "struct-list" => format!(
                "FieldKind::StructList {{ fields: &[{}], min: {} }}",
                infos(self.fields.as_ref().expect("struct fields")),
                self.min_items.unwrap_or(0)
            ),
            list => format!(
                "FieldKind::List {{ item: ItemKind::{}, min: {}, max: {} }}",
                list[5..].to_uppercase(),
                self.min_items.unwrap_or(0),
                self.max_items.map_or("usize::MAX".into(), |n| n.to_string())
            ),
        };
        let text = if self.kind == "struct-list" { "_" } else { &self.name };
        format!("FieldInfo {{ name: {text:?}, kind: {kind}, scale: {} }}", self.scale.unwrap_or(1))
    }
}

fn integer_stmt(kind: &str, value: &str, field: &str) -> String {
    match kind {
        "u8" | "blend-mode" | "flags8" | "enum8" => format!("w.fit_u8({value}, \"{field}\")?;"),
        "u16" => format!("w.fit_u16({value}, \"{field}\")?;"),
        "u24" => format!("w.fit_u24({value}, \"{field}\")?;"),
        "u32" | "argb32" => format!("w.u32({value});"),
        "i8" => format!("w.u8({value} as u8);"),
        "i32" => format!("w.u32({value} as u32);"),
        other => panic!("unknown integer type {other}"),
    }
}

fn width(kind: &str) -> usize {
    match kind {
        "u8" | "i8" | "bool" | "flags8" | "enum8" | "blend-mode" => 1,
        "u16" => 2,
        "u24" => 3,
        "u32" | "i32" | "argb32" => 4,
        other => panic!("{other} has no fixed width"),
    }
}

fn struct_size(fields: &[Field]) -> usize {
    fields.iter().map(|f| width(&f.kind)).sum()
}

fn infos(fields: &[Field]) -> String {
    fields.iter().map(Field::info).collect::<Vec<_>>().join(", ")
}

fn decode_arm(name: &str, fields: &[Field]) -> String {
    let mut inner = String::new();
    for f in fields {
        let cast = if f.kind.contains("list") { "" } else { ".into()" };
        write!(inner, "{}: {}{cast}, ", f.ident(), f.decode_expr()).expect("write to string");
    }
    format!("{name} {{ {inner} ..Self::default() }}")
}

fn encode_arm(fields: &[Field]) -> String {
    fields.iter().map(|f| f.encode_stmt(&format!("self.{}", f.ident()))).collect::<Vec<_>>().join(" ")
}

fn emit_struct(out: &mut String, name: &str, doc: &str, fields: &[Field]) {
    writeln!(out, "/// {doc}\n#[derive(Debug, Clone, PartialEq, Eq, Default)]\npub struct {name} {{")
        .unwrap();
    for f in fields {
        writeln!(out, "/// Field `{}`, {} on the wire{}.", f.name, f.kind, scale_note(f)).unwrap();
        writeln!(out, "pub {}: {},", f.ident(), f.rust_type()).unwrap();
    }
    out.push_str("}\n");
}

fn scale_note(f: &Field) -> String {
    f.scale.map_or(String::new(), |s| format!(", in 1/{s}"))
}

fn emit_message(out: &mut String, m: &Message, fields: &[Field], old: Option<&[Field]>) {
    let name = &m.name;
    let doc = format!("Message {} (`{}` in the text form).", m.id, m.text);
    emit_struct(out, name, &doc, fields);
    if m.same_as.is_none() {
        for f in fields.iter().filter(|f| f.kind == "struct-list") {
            let item = f.struct_name.as_deref().expect("struct name");
            emit_struct(out, item, &format!("One record of [`{name}`]."), f.fields.as_ref().unwrap());
        }
    }
    writeln!(out, "impl {name} {{\n/// Message type on the wire.\npub const TYPE: u8 = {};", m.id).unwrap();
    for f in fields {
        let all = f.bits.iter().enumerate().map(|(i, b)| (b, 1u32 << i));
        for (bit, value) in all {
            writeln!(out, "/// Bit `{bit}` of `{}`.", f.name).unwrap();
            writeln!(out, "pub const {}_{}: u8 = {value};", f.ident().to_uppercase(), bit.to_uppercase())
                .unwrap();
        }
        for (value, label) in f.values.iter().enumerate() {
            let constant = snake(label).to_uppercase();
            writeln!(out, "/// Value `{label}` of `{}`.", f.name).unwrap();
            writeln!(out, "pub const {}_{constant}: u8 = {value};", f.ident().to_uppercase()).unwrap();
        }
    }
    let new_decode = decode_arm(name, fields);
    let new_encode = encode_arm(fields);
    let (decode, encode) = match old {
        Some(old) => (
            format!(
                "match layout {{ Layout::V4_25 => {new_decode}, Layout::V4_24 => {} }}",
                decode_arm(name, old)
            ),
            format!(
                "match layout {{ Layout::V4_25 => {{ {new_encode} }} Layout::V4_24 => {{ {} }} }}",
                encode_arm(old)
            ),
        ),
        None => (new_decode, new_encode),
    };
    writeln!(
        out,
        "fn read(r: &mut Reader<'_>, layout: Layout) -> Result<Self, DecodeError> {{ let _ = (&r, layout); Ok({decode}) }}\n\
         fn write(&self, w: &mut Writer<'_>, layout: Layout) -> Result<(), EncodeError> {{ let _ = (&w, layout); {encode} Ok(()) }}\n}}\n\
         impl From<{name}> for Message {{ fn from(m: {name}) -> Self {{ Message::{name}(m) }} }}"
    )
    .unwrap();
}

fn snake(label: &str) -> String {
    let mut out = String::new();
    for (i, c) in label.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

fn main() {
    println!("cargo::rerun-if-changed=messages.toml");
    let table: Table = toml::from_str(&std::fs::read_to_string("messages.toml").expect("messages.toml"))
        .expect("valid table");
    let own = |m: &Message| m.fields.clone().expect("fields");
    let base = |m: &Message| match &m.same_as {
        Some(name) => table.message.iter().find(|b| &b.name == name).expect("same-as target"),
        None => table.message.iter().find(|b| b.id == m.id).expect("itself"),
    };
    let mut out = String::new();
    let live: Vec<&Message> = table.message.iter().filter(|m| !m.reserved).collect();
    for m in &live {
        emit_message(&mut out, m, &own(base(m)), base(m).fields_4_24.as_deref());
    }
    out.push_str("/// Every message of the protocol, decoded.\n#[derive(Debug, Clone, PartialEq, Eq)]\n#[non_exhaustive]\npub enum Message {\n");
    for m in &live {
        writeln!(out, "/// [`{0}`]\n{0}({0}),", m.name).unwrap();
    }
    out.push_str(
        "}\nimpl Message {\n/// Message type on the wire.\npub fn message_type(&self) -> u8 { match self {\n",
    );
    for m in &live {
        writeln!(out, "Message::{0}(_) => {0}::TYPE,", m.name).unwrap();
    }
    out.push_str("}}\nfn read(kind: u8, r: &mut Reader<'_>, layout: Layout) -> Result<Self, DecodeError> { Ok(match kind {\n");
    for m in &live {
        writeln!(out, "{} => Message::{1}({1}::read(r, layout)?),", m.id, m.name).unwrap();
    }
    out.push_str("_ => return Err(DecodeError::UnknownType(kind)),\n})}\nfn write(&self, w: &mut Writer<'_>, layout: Layout) -> Result<(), EncodeError> { match self {\n");
    for m in &live {
        writeln!(out, "Message::{}(m) => m.write(w, layout),", m.name).unwrap();
    }
    out.push_str(
        "}}}\n/// The message table, in the order of ids.\npub static MESSAGES: &[MessageInfo] = &[\n",
    );
    for m in &table.message {
        let (fields, old) = if m.reserved {
            (String::new(), "None".into())
        } else {
            let old =
                base(m).fields_4_24.as_ref().map_or("None".into(), |f| format!("Some(&[{}])", infos(f)));
            (infos(&own(base(m))), old)
        };
        writeln!(
            out,
            "MessageInfo {{ id: {}, name: {:?}, text: {:?}, group: Group::{}, reserved: {}, only_4_25: {}, fields: &[{fields}], fields_4_24: {old} }},",
            m.id,
            m.name,
            m.text,
            match m.group.as_str() {
                "control" => "Control",
                "server-meta" => "ServerMeta",
                "client-meta" => "ClientMeta",
                "command" => "Command",
                other => panic!("unknown group {other}"),
            },
            m.reserved,
            m.only_4_25,
        )
        .unwrap();
    }
    out.push_str("];\n");
    let path = Path::new(&std::env::var_os("OUT_DIR").expect("OUT_DIR")).join("messages.rs");
    std::fs::write(path, out).expect("write generated code");
}
