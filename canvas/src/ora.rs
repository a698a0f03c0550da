//! OpenRaster pictures: a zip archive with a list of layers (`stack.xml`) and a PNG for each.
//!
//! Source: the OpenRaster specification; docs/spec/storage.md#pictures-as-templates.

use std::io::{Cursor, Read as _};

use drawhall_protocol::blend;
use drawhall_protocol::message::LayerAttributes;
use drawhall_protocol::text::parse_colour;
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;
use zip::ZipArchive;

use crate::image::{Annotation, MAX_ANNOTATIONS, MAX_LAYERS};
use crate::import::ImportError;
use crate::layer::CanvasSize;
use crate::picture::MAX_SIDE;

/// Content of the file `mimetype`.
const MIME_TYPE: &[u8] = b"image/openraster";
/// Maximum size of the list of layers in bytes.
const MAX_LIST: u64 = 1 << 20;
/// Maximum size of a layer's PNG in bytes.
const MAX_FILE: u64 = 64 << 20;
/// Maximum depth of groups.
const MAX_DEPTH: usize = 32;
/// Maximum length of a title in bytes.
const MAX_TITLE: usize = 200;
/// Maximum length of the text of an annotation in bytes: what fits into a message.
const MAX_TEXT: usize = 65_000;
/// Blend mode for normal layers that keep the alpha below them.
const RECOLOUR: u8 = 10;

/// A layer or group of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) title: String,
    pub(crate) opacity: u8,
    pub(crate) blend: u8,
    /// Flags of `LayerAttributes`.
    pub(crate) flags: u8,
    /// File of its pixels; empty in a group.
    pub(crate) file: String,
    pub(crate) x: i32,
    pub(crate) y: i32,
    /// Entries of a group, from the bottom.
    pub(crate) children: Option<Vec<Entry>>,
}

/// The list of layers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stack {
    pub(crate) size: CanvasSize,
    /// Dots per inch, horizontal and vertical.
    pub(crate) resolution: Option<(i32, i32)>,
    /// File with the tile of the background.
    pub(crate) background: Option<String>,
    /// Entries from the bottom.
    pub(crate) entries: Vec<Entry>,
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) warnings: Vec<String>,
}

/// An OpenRaster archive.
pub(crate) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
}

impl<'a> Archive<'a> {
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Archive<'a>, ImportError> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| unreadable(&error))?;
        let mut archive = Archive { zip };
        let kind = archive.file("mimetype", 100)?;
        if kind.trim_ascii() == MIME_TYPE { Ok(archive) } else { Err(ImportError::NoPicture) }
    }

    /// Reads a file of the archive.
    pub(crate) fn file(&mut self, name: &str, max: u64) -> Result<Vec<u8>, ImportError> {
        let missing = |error| ImportError::Archive(format!("{name}: {error}"));
        let file = self.zip.by_name(name).map_err(|error| missing(error.to_string()))?;
        let mut bytes = Vec::new();
        file.take(max + 1).read_to_end(&mut bytes).map_err(|error| missing(error.to_string()))?;
        if bytes.len() as u64 > max {
            return Err(missing(format!("larger than {max} bytes")));
        }
        Ok(bytes)
    }

    /// Reads the PNG of a layer.
    pub(crate) fn png(&mut self, name: &str) -> Result<Vec<u8>, ImportError> {
        self.file(name, MAX_FILE)
    }

    /// Reads the list of layers.
    pub(crate) fn stack(&mut self) -> Result<Stack, ImportError> {
        let bytes = self.file("stack.xml", MAX_LIST)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| in_list(&error))?;
        parse(text.trim_start_matches('\u{feff}'))
    }
}

fn unreadable(error: &impl ToString) -> ImportError {
    ImportError::Archive(error.to_string())
}

fn in_list(error: &impl ToString) -> ImportError {
    ImportError::Archive(format!("stack.xml: {}", error.to_string()))
}

/// The list while it is read.
#[derive(Default)]
struct Parser {
    size: Option<CanvasSize>,
    resolution: Option<(i32, i32)>,
    background: Option<String>,
    /// Open groups with their entries from the top; the first is the picture itself.
    open: Vec<(Entry, Vec<Entry>)>,
    done: Option<Vec<Entry>>,
    count: usize,
    annotations: Vec<Annotation>,
    /// Whether text belongs to the last annotation.
    is_in_annotation: bool,
    warnings: Vec<String>,
}

fn parse(text: &str) -> Result<Stack, ImportError> {
    let mut reader = Reader::from_str(text);
    let mut parser = Parser::default();
    loop {
        match reader.read_event().map_err(|error| in_list(&error))? {
            Event::Start(element) => parser.start(&element)?,
            Event::Empty(element) => {
                parser.start(&element)?;
                parser.end(element.local_name().into_inner());
            }
            Event::End(element) => parser.end(element.local_name().into_inner()),
            Event::Text(text) => parser.text(&text),
            Event::CData(text) => parser.text(&text),
            Event::GeneralRef(name) => parser.reference(&name)?,
            Event::Eof => return parser.finish(),
            _ => {}
        }
    }
}

impl Parser {
    fn start(&mut self, element: &BytesStart<'_>) -> Result<(), ImportError> {
        match element.local_name().into_inner() {
            "image" if self.size.is_none() => {
                let attributes = Attributes::of(element)?;
                let side = |name| attributes.number::<u32>(name).filter(|side| (1..=MAX_SIDE).contains(side));
                let (width, height) = side("w").zip(side("h")).ok_or(ImportError::CanvasSize)?;
                self.size = Some(CanvasSize { width, height });
                let dots = |name| attributes.number::<i32>(name).filter(|dots| *dots > 0);
                self.resolution = dots("xres").zip(dots("yres"));
            }
            // The first stack is the picture itself.
            "stack" if self.open.is_empty() && self.done.is_none() => self.open.push(Default::default()),
            "stack" if !self.open.is_empty() => {
                if self.open.len() > MAX_DEPTH {
                    return Err(in_list(&format!("groups are nested more than {MAX_DEPTH} deep")));
                }
                let attributes = Attributes::of(element)?;
                let mut group = self.entry(&attributes)?;
                if attributes.is("isolation", "isolate") {
                    group.flags |= LayerAttributes::FLAGS_ISOLATED;
                }
                self.open.push((group, Vec::new()));
            }
            // What Drawpile adds, in the namespace `drawpile`.
            "a" if self.size.is_some() => self.annotation(&Attributes::of(element)?)?,
            "layer" if !self.open.is_empty() => self.layer(&Attributes::of(element)?)?,
            _ => {}
        }
        Ok(())
    }

    fn annotation(&mut self, attributes: &Attributes) -> Result<(), ImportError> {
        if self.annotations.len() == MAX_ANNOTATIONS {
            return Err(in_list(&format!("there are more than {MAX_ANNOTATIONS} annotations")));
        }
        let side = |name| attributes.number(name).filter(|side| *side > 0).unwrap_or(100);
        self.annotations.push(Annotation {
            x: attributes.number("x").unwrap_or_default(),
            y: attributes.number("y").unwrap_or_default(),
            width: side("w"),
            height: side("h"),
            background: attributes.get("bg").and_then(parse_colour).unwrap_or_default(),
            text: String::new(),
        });
        self.is_in_annotation = true;
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if let Some(annotation) = self.annotations.last_mut().filter(|_| self.is_in_annotation) {
            annotation.text.push_str(text);
        }
    }

    /// A reference such as `&amp;`; others than those of XML itself are refused.
    fn reference(&mut self, name: &BytesRef<'_>) -> Result<(), ImportError> {
        let character = name.resolve_char_ref().map_err(|error| in_list(&error))?;
        match character {
            Some(character) => self.text(character.encode_utf8(&mut [0; 4])),
            None => {
                let text = resolve_xml_entity(name);
                self.text(text.ok_or_else(|| in_list(&"unknown entity"))?);
            }
        }
        Ok(())
    }

    fn end(&mut self, name: &str) {
        if name == "a" {
            self.is_in_annotation = false;
        }
        if name != "stack" {
            return;
        }
        let Some((group, mut entries)) = self.open.pop() else { return };
        entries.reverse();
        match self.open.last_mut() {
            Some((_, above)) => above.push(Entry { children: Some(entries), ..group }),
            None => self.done = Some(entries),
        }
    }

    fn layer(&mut self, attributes: &Attributes) -> Result<(), ImportError> {
        if let Some(file) = attributes.get("background-tile") {
            self.background = Some(file.to_owned());
            return Ok(());
        }
        let mut layer = self.entry(attributes)?;
        layer.file = attributes.get("src").unwrap_or_default().to_owned();
        layer.x = attributes.number("x").unwrap_or_default();
        layer.y = attributes.number("y").unwrap_or_default();
        if let Some((_, entries)) = self.open.last_mut() {
            entries.push(layer);
        }
        Ok(())
    }

    /// What layers and groups have in common.
    fn entry(&mut self, attributes: &Attributes) -> Result<Entry, ImportError> {
        self.count += 1;
        if self.count > MAX_LAYERS {
            return Err(ImportError::TooManyLayers);
        }
        let title = attributes.get("name").unwrap_or_default();
        let title: String = title.chars().filter(|c| !c.is_control()).collect();
        let title = title[..title.floor_char_boundary(MAX_TITLE)].to_owned();
        let opacity: f64 = attributes.number("opacity").filter(|o| (0.0..=1.0).contains(o)).unwrap_or(1.0);
        let mut blend = attributes.get("composite-op").map_or(blend::NORMAL, blend::id);
        if blend == blend::NORMAL && attributes.is("alpha-preserve", "true") {
            blend = RECOLOUR;
        }
        let flags = if attributes.is("censored", "true") { LayerAttributes::FLAGS_CENSOR } else { 0 };
        let mut opacity = (opacity * 255.0).round() as u8;
        if attributes.is("visibility", "hidden") {
            // Each user hides layers for himself; what hides one for everybody is its opacity.
            self.warnings.push(format!("layer '{title}' is hidden: its opacity is 0 instead of {opacity}"));
            opacity = 0;
        }
        Ok(Entry { title, opacity, blend, flags, ..Entry::default() })
    }

    fn finish(self) -> Result<Stack, ImportError> {
        let Parser { size, resolution, background, done, mut annotations, mut warnings, .. } = self;
        let count = annotations.len();
        annotations.retain(|annotation| annotation.text.len() <= MAX_TEXT);
        if annotations.len() < count {
            warnings.push(format!("{} annotations are too long", count - annotations.len()));
        }
        let size = size.ok_or(ImportError::CanvasSize)?;
        let entries = done.ok_or_else(|| in_list(&"it has no layers"))?;
        Ok(Stack { size, resolution, background, entries, annotations, warnings })
    }
}

/// Attributes of an element, by their names without namespace.
struct Attributes(Vec<(String, String)>);

impl Attributes {
    fn of(element: &BytesStart<'_>) -> Result<Attributes, ImportError> {
        let read = element.attributes().map(|attribute| {
            let attribute = attribute.map_err(|error| in_list(&error))?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            let value = value.map_err(|error| in_list(&error))?.into_owned();
            Ok((attribute.key.local_name().into_inner().to_owned(), value))
        });
        read.collect::<Result<_, _>>().map(Attributes)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.get(name).is_some_and(|found| found.eq_ignore_ascii_case(value))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"<?xml version='1.0' encoding='UTF-8'?><image w="800" h="600" xres="72" yres="96""#;

    fn list(layers: &str) -> Result<Stack, ImportError> {
        parse(&format!("{HEAD} xmlns:drawpile=\"http://drawpile.net/\"><stack>{layers}</stack></image>"))
    }

    fn titles(entries: &[Entry]) -> Vec<String> {
        entries.iter().map(|entry| entry.title.clone()).collect()
    }

    #[test]
    fn layers_are_listed_from_the_top_and_taken_from_the_bottom() {
        let stack = list(
            r#"<layer name="top" src="data/1.png" x="-3" y="7" opacity="0.5" composite-op="svg:multiply"/>
               <stack name="group" isolation="isolate"><layer name="b"/><layer name="a"/></stack>
               <layer name="bottom" alpha-preserve="true" drawpile:censored="true"/>"#,
        )
        .unwrap();
        assert_eq!((stack.size, stack.resolution), (CanvasSize { width: 800, height: 600 }, Some((72, 96))));
        assert_eq!(titles(&stack.entries), ["bottom", "group", "top"]);
        let [bottom, group, top] = &stack.entries[..] else { panic!("three entries") };
        assert_eq!(titles(group.children.as_ref().unwrap()), ["a", "b"]);
        assert_eq!(group.flags, LayerAttributes::FLAGS_ISOLATED);
        assert_eq!((bottom.blend, bottom.flags), (RECOLOUR, LayerAttributes::FLAGS_CENSOR));
        assert_eq!((top.blend, top.opacity, top.x, top.y, top.file.as_str()), (2, 128, -3, 7, "data/1.png"));
    }

    #[test]
    fn a_background_tile_is_no_layer() {
        let stack =
            list(r#"<layer name="a"/><layer mypaint:background-tile="data/bg.png" src="x"/>"#).unwrap();
        assert_eq!((stack.background.as_deref(), stack.entries.len()), (Some("data/bg.png"), 1));
    }

    #[test]
    fn a_hidden_layer_has_no_opacity_and_is_told() {
        let stack = list(r#"<layer name="a &amp; b" opacity="0.2" visibility="hidden"/>"#).unwrap();
        assert_eq!(stack.entries[0].opacity, 0);
        assert_eq!(stack.warnings, ["layer 'a & b' is hidden: its opacity is 0 instead of 51"]);
    }

    #[test]
    fn odd_values_are_defaults() {
        let stack = list(r#"<layer opacity="7" composite-op="x:y" x="a" y="99999999999"/>"#).unwrap();
        let expected = Entry { opacity: 255, blend: blend::NORMAL, ..Entry::default() };
        assert_eq!(stack.entries, [expected]);
    }

    #[test]
    fn annotations_keep_place_size_colour_and_text() {
        let text = "<drawpile:annotations><drawpile:a x='-5' y='6' w='70' h='80' bg='#80ff0000'>\
            <![CDATA[<p>Tea]]> &amp; cake&#33;</drawpile:a><drawpile:a>b</drawpile:a></drawpile:annotations>";
        for stack in [format!("<stack><layer/></stack>{text}"), format!("<stack>{text}<layer/></stack>")] {
            let stack = parse(&format!("{HEAD}>{stack}</image>")).unwrap();
            let first = Annotation {
                x: -5,
                y: 6,
                width: 70,
                height: 80,
                background: 0x80ff_0000,
                text: "<p>Tea & cake!".into(),
            };
            let second = Annotation { width: 100, height: 100, text: "b".into(), ..Annotation::default() };
            assert_eq!((stack.annotations, stack.entries.len()), (vec![first, second], 1));
        }
        let long = format!("<stack/><drawpile:a>{}</drawpile:a>", "x".repeat(MAX_TEXT + 1));
        let stack = parse(&format!("{HEAD}>{long}</image>")).unwrap();
        assert_eq!(
            (stack.annotations.len(), stack.warnings),
            (0, vec!["1 annotations are too long".to_owned()])
        );
        let many = "<drawpile:a/>".repeat(MAX_ANNOTATIONS + 1);
        assert!(parse(&format!("{HEAD}><stack/>{many}</image>")).is_err());
    }

    #[test]
    fn hostile_lists_are_refused() {
        let nested = "<stack>".repeat(MAX_DEPTH + 2);
        assert!(list(&nested).unwrap_err().to_string().contains("nested"));
        assert!(matches!(list(&"<layer/>".repeat(MAX_LAYERS + 1)), Err(ImportError::TooManyLayers)));
        for bad in
            ["", "<image w='0' h='5'><stack/></image>", "<image w='5' h='40000'><stack/></image>", "<stack/>"]
        {
            assert!(matches!(parse(bad), Err(ImportError::CanvasSize)), "{bad}");
        }
        for bad in [
            "<image w='5' h='5'/>",
            "<image w='5' h='5'><stack></image>",
            "<image w='5' h='5'><stack><layer name='&bomb;'/></stack></image>",
            "<!DOCTYPE x [<!ENTITY a 'b'>]><image w='5' h='5'><stack><layer name='&a;'/></stack></image>",
            "<image w='5' h='5'><stack><layer name='a' name='b'/></stack></image>",
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains("stack.xml: "), "{bad}: {error}");
        }
    }
}
