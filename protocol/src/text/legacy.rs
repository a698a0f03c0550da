//! The text form before 2.2: `<user id> <name> key=value ...`, or a block of such lines between `{` and `}`.
//!
//! Lines are converted to messages of [`VERSION`], with its ids (16 bits, user id in the high byte). Source:
//! docs/spec/wire.md#text-form-before-22.

use std::str::FromStr;

use super::json::parse_colour;
use super::{LineError, split_word};
use crate::frame::Frame;
use crate::message::{self as m, Layout, Message};
use crate::qt_base64;
use crate::version::ProtocolVersion;

/// The version that messages are converted to, as arguments of [`ProtocolVersion::dp`].
pub const VERSION: (u32, u32, u32) = (4, 24, 0);

/// Whether text recordings of this version have the form before 2.2.
pub fn is_legacy(version: &ProtocolVersion) -> bool {
    version.partial_cmp(&ProtocolVersion::dp(4, 22, 0)).is_some_and(|o| o.is_lt())
}

/// Result of parsing a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Legacy {
    /// A message of [`VERSION`].
    Message(Frame),
    /// A message type that no longer exists, by name.
    Skipped(String),
}

/// Whether a message line opens a block.
pub fn opens_block(line: &str) -> bool {
    line.trim_end().ends_with('{')
}

/// Parses a message: its first line and, if that opens a block, the lines up to the closing one.
///
/// # Errors
/// When a line is invalid, or the message cannot be converted.
pub fn parse(line: &str, block: &[String]) -> Result<Legacy, LineError> {
    let line = line.trim();
    let head = if opens_block(line) { line[..line.len() - 1].trim_end() } else { line };
    let (user, rest) = split_word(head);
    let (name, arguments) = split_word(rest);
    if name.is_empty() {
        return Err(LineError::Incomplete);
    }
    let user = number::<u8>(user).ok_or_else(|| LineError::BadUser(user.to_owned()))?;
    let mut args = Arguments::default();
    for word in arguments.split_whitespace() {
        args.add(word)?;
    }
    for line in block {
        if !args.add_dab(line) {
            args.add(line.trim())?;
        }
    }
    if matches!(name, "layerorder" | "layervisibility" | "moveregion" | "marker") {
        return Ok(Legacy::Skipped(name.to_owned()));
    }
    let message = message(name, &args)?;
    message.to_frame(user, Layout::V4_24).map(Legacy::Message).map_err(|e| LineError::Legacy(e.to_string()))
}

fn number<T: TryFrom<i64>>(text: &str) -> Option<T> {
    let value = match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok()?,
        None => i64::from_str(text).ok()?,
    };
    T::try_from(value).ok()
}

#[derive(Default)]
struct Arguments {
    members: Vec<(String, String)>,
    dabs: Vec<Vec<f64>>,
}

impl Arguments {
    /// Adds `key=value`; a repeated key appends a line to its value.
    fn add(&mut self, text: &str) -> Result<(), LineError> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| LineError::Legacy(format!("expected key=value instead of '{text}'")))?;
        match self.members.iter_mut().find(|(k, _)| k == key) {
            Some((_, earlier)) => {
                earlier.push('\n');
                earlier.push_str(value);
            }
            None => self.members.push((key.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    /// Adds a line of numbers. Returns `false` if it is something else.
    fn add_dab(&mut self, line: &str) -> bool {
        let numbers: Option<Vec<f64>> = line.split_whitespace().map(|n| n.parse().ok()).collect();
        match numbers {
            Some(numbers) if !numbers.is_empty() => {
                self.dabs.push(numbers);
                true
            }
            _ => false,
        }
    }

    fn text(&self, key: &str) -> &str {
        self.members.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v)
    }

    fn int<T: TryFrom<i64> + Default>(&self, key: &str) -> Result<T, LineError> {
        match self.text(key) {
            "" => Ok(T::default()),
            text => number(text).ok_or_else(|| bad(key, text)),
        }
    }

    fn boolean(&self, key: &str) -> bool {
        self.text(key) == "true"
    }

    fn colour(&self, key: &str) -> Result<u32, LineError> {
        match self.text(key) {
            "" => Ok(0),
            text => parse_colour(text).ok_or_else(|| bad(key, text)),
        }
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        qt_base64::decode(self.text(key))
    }

    fn list(&self, key: &str) -> Result<Vec<u8>, LineError> {
        let words = self.text(key).split(',').filter(|w| !w.is_empty());
        words.map(|w| number(w).ok_or_else(|| bad(key, w))).collect()
    }

    fn flags(&self, names: &[(&str, u8)]) -> Result<u8, LineError> {
        let words = self.text("flags").split(',').filter(|w| !w.is_empty());
        words.into_iter().try_fold(0, |bits, word| {
            let bit = names.iter().find(|(name, _)| *name == word).ok_or_else(|| bad("flags", word))?;
            Ok(bits | bit.1)
        })
    }

    /// The records of a dab message; each must have `width` numbers.
    fn records(&self, width: usize) -> Result<Vec<&[f64]>, LineError> {
        let whole = |dab: &Vec<f64>| dab.len() == width;
        if self.dabs.is_empty() || !self.dabs.iter().all(whole) {
            return Err(LineError::Legacy(format!("expected lines of {width} numbers")));
        }
        Ok(self.dabs.iter().map(Vec::as_slice).collect())
    }
}

fn bad(key: &str, value: &str) -> LineError {
    LineError::BadField { field: key.to_owned(), reason: format!("cannot read '{value}'") }
}

fn tier(name: &str) -> Result<u8, LineError> {
    match name {
        "op" => Ok(0),
        "trusted" => Ok(1),
        "auth" => Ok(2),
        "" | "guest" => Ok(3),
        other => Err(bad("tier", other)),
    }
}

fn message(name: &str, a: &Arguments) -> Result<Message, LineError> {
    Ok(match name {
        "join" => {
            let flags = a.flags(&[("auth", m::Join::FLAGS_AUTH), ("mod", m::Join::FLAGS_MOD)])?;
            m::Join { flags, name: a.text("name").to_owned(), avatar: a.bytes("avatar") }.into()
        }
        "leave" => m::Leave {}.into(),
        "owner" => m::SessionOwner { users: a.list("users")? }.into(),
        "trusted" => m::TrustedUsers { users: a.list("users")? }.into(),
        "useracl" => m::UserACL { users: a.list("users")? }.into(),
        "chat" => {
            let all = a.flags(&[("bypass", 0x80), ("shout", 1), ("action", 2), ("pin", 4)])?;
            let message = a.text("message").to_owned();
            m::Chat { tflags: all >> 7, oflags: all & 0x7f, message }.into()
        }
        "pm" => {
            let oflags = a.flags(&[("shout", 1), ("action", 2)])?;
            m::PrivateChat { target: a.int("target")?, oflags, message: a.text("message").to_owned() }.into()
        }
        "interval" => m::Interval { msecs: a.int("msecs")? }.into(),
        "laser" => m::LaserTrail { color: a.colour("color")?, persistence: a.int("persistence")? }.into(),
        "movepointer" => m::MovePointer { x: a.int("x")?, y: a.int("y")? }.into(),
        "penup" => m::PenUp::default().into(),
        "undopoint" => m::UndoPoint {}.into(),
        "undo" => m::Undo { override_user: a.int("override")?, redo: false }.into(),
        "redo" => m::Undo { override_user: a.int("override")?, redo: true }.into(),
        "softreset" => m::SoftReset {}.into(),
        "resize" => m::CanvasResize {
            top: a.int("top")?,
            right: a.int("right")?,
            bottom: a.int("bottom")?,
            left: a.int("left")?,
        }
        .into(),
        "background" => m::CanvasBackground { image: image_or_colour(a)? }.into(),
        "featureaccess" => feature_access(a)?,
        _ => return layer_message(name, a),
    })
}

fn feature_access(a: &Arguments) -> Result<Message, LineError> {
    const FEATURES: [&str; 9] = [
        "putimage",
        "regionmove",
        "resize",
        "background",
        "editlayers",
        "ownlayers",
        "createannotation",
        "laser",
        "undo",
    ];
    let feature_tiers = FEATURES.iter().map(|f| tier(a.text(f))).collect::<Result<_, _>>()?;
    Ok(m::FeatureAccessLevels { feature_tiers }.into())
}

fn layer_message(name: &str, a: &Arguments) -> Result<Message, LineError> {
    Ok(match name {
        "layeracl" => {
            let lock = if a.boolean("locked") { 0x80 } else { 0 };
            let flags = lock | tier(a.text("tier"))?;
            m::LayerACL { id: a.int("id")?, flags, exclusive: a.list("exclusive")? }.into()
        }
        "defaultlayer" => m::DefaultLayer { id: a.int("id")? }.into(),
        "newlayer" => {
            let words: Vec<_> = a.text("flags").split(',').collect();
            let source = if words.contains(&"copy") { a.int("source")? } else { 0 };
            let target = if words.contains(&"insert") { a.int("source")? } else { 0 };
            let title = a.text("title").to_owned();
            m::LayerTreeCreate { id: a.int("id")?, source, target, fill: a.colour("fill")?, flags: 0, title }
                .into()
        }
        "layerattr" => m::LayerAttributes {
            id: a.int("layer")?,
            sublayer: a.int("sublayer")?,
            flags: a.flags(&[("censor", 1), ("fixed", 2)])?,
            opacity: percent(a.text("opacity"))?,
            blend: a.int("blend")?,
        }
        .into(),
        "retitlelayer" => m::LayerRetitle { id: a.int("id")?, title: a.text("title").to_owned() }.into(),
        "deletelayer" if a.boolean("merge") => {
            return Err(LineError::Legacy(
                "deletelayer merge=true: the layer below is not known from the file".into(),
            ));
        }
        "deletelayer" => m::LayerTreeDelete { id: a.int("id")?, merge_to: 0 }.into(),
        _ => return paint_message(name, a),
    })
}

fn percent(text: &str) -> Result<u8, LineError> {
    let value: f64 = if text.is_empty() { 0.0 } else { text.parse().map_err(|_| bad("opacity", text))? };
    Ok((value.clamp(0.0, 100.0) / 100.0 * 255.0).round() as u8)
}

fn image_or_colour(a: &Arguments) -> Result<Vec<u8>, LineError> {
    match a.text("color") {
        "" => Ok(a.bytes("img")),
        _ => Ok(a.colour("color")?.to_be_bytes().to_vec()),
    }
}

fn paint_message(name: &str, a: &Arguments) -> Result<Message, LineError> {
    Ok(match name {
        "putimage" => m::PutImage {
            layer: a.int("layer")?,
            mode: a.int("mode")?,
            x: a.int("x")?,
            y: a.int("y")?,
            w: a.int("w")?,
            h: a.int("h")?,
            image: a.bytes("img"),
        }
        .into(),
        "fillrect" => m::FillRect {
            layer: a.int("layer")?,
            mode: a.int("blend")?,
            x: a.int("x")?,
            y: a.int("y")?,
            w: a.int("w")?,
            h: a.int("h")?,
            color: a.colour("color")?,
        }
        .into(),
        "puttile" => m::PutTile {
            user: 0,
            layer: a.int("layer")?,
            sublayer: a.int("sublayer")?,
            col: a.int("col")?,
            row: a.int("row")?,
            repeat: a.int("repeat")?,
            image: image_or_colour(a)?,
        }
        .into(),
        "newannotation" => {
            let (id, x, y) = (a.int("id")?, a.int("x")?, a.int("y")?);
            m::AnnotationCreate { id, x, y, w: a.int("w")?, h: a.int("h")? }.into()
        }
        "reshapeannotation" => {
            let (id, x, y) = (a.int("id")?, a.int("x")?, a.int("y")?);
            m::AnnotationReshape { id, x, y, w: a.int("w")?, h: a.int("h")? }.into()
        }
        "editannotation" => {
            let valign = match a.text("valign") {
                "" => 0,
                "center" => m::AnnotationEdit::FLAGS_VALIGN_CENTER,
                "bottom" => m::AnnotationEdit::FLAGS_VALIGN_BOTTOM,
                other => return Err(bad("valign", other)),
            };
            m::AnnotationEdit {
                id: a.int("id")?,
                bg: a.colour("bg")?,
                flags: valign | a.flags(&[("protect", m::AnnotationEdit::FLAGS_PROTECT)])?,
                border: a.int("border")?,
                text: a.text("text").to_owned(),
            }
            .into()
        }
        "deleteannotation" => m::AnnotationDelete { id: a.int("id")? }.into(),
        "classicdabs" | "pixeldabs" | "squarepixeldabs" => return dabs(name, a),
        other => return Err(LineError::UnknownName(other.to_owned())),
    })
}

/// Positions are in pixels, relative to the previous dab; sizes of classic dabs are in pixels.
fn dabs(name: &str, a: &Arguments) -> Result<Message, LineError> {
    let coordinate = |key: &str, scale: f64| -> Result<i32, LineError> {
        match a.text(key) {
            "" => Ok(0),
            text => Ok((text.parse::<f64>().map_err(|_| bad(key, text))? * scale).round() as i32),
        }
    };
    let (layer, color, mode) = (a.int("layer")?, a.colour("color")?, a.int("mode")?);
    if name == "classicdabs" {
        let records = a.records(5)?;
        let dabs = records.iter().map(|d| m::ClassicDab {
            x: (d[0] * 4.0).round() as i8,
            y: (d[1] * 4.0).round() as i8,
            size: (d[2] * 256.0).round() as u32,
            hardness: d[3] as u8,
            opacity: d[4] as u8,
        });
        let (x, y) = (coordinate("x", 4.0)?, coordinate("y", 4.0)?);
        return Ok(m::DrawDabsClassic { flags: 0, layer, x, y, color, mode, dabs: dabs.collect() }.into());
    }
    let dabs = a
        .records(4)?
        .iter()
        .map(|d| m::PixelDab { x: d[0] as i8, y: d[1] as i8, size: d[2] as u16, opacity: d[3] as u8 })
        .collect();
    let (x, y) = (coordinate("x", 1.0)?, coordinate("y", 1.0)?);
    Ok(match name {
        "pixeldabs" => m::DrawDabsPixel { flags: 0, layer, x, y, color, mode, dabs }.into(),
        _ => m::DrawDabsPixelSquare { flags: 0, layer, x, y, color, mode, dabs }.into(),
    })
}
