//! Text boxes over the canvas.

use drawhall_protocol::message::{
    AnnotationCreate, AnnotationDelete, AnnotationEdit, AnnotationReshape, Message,
};

use super::ids::Ids;

/// Flags of `AnnotationEdit` in dp:4.24: no aliasing or rasterizing.
const FLAGS_4_24: u8 = 0x07;

/// Where the text of an annotation is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VerticalAlignment {
    /// At the top.
    #[default]
    Top,
    /// In the middle.
    Centre,
    /// At the bottom.
    Bottom,
}

impl VerticalAlignment {
    const BITS: u8 = AnnotationEdit::FLAGS_VALIGN_CENTER | AnnotationEdit::FLAGS_VALIGN_BOTTOM;

    fn of(flags: u8) -> VerticalAlignment {
        match flags & Self::BITS {
            AnnotationEdit::FLAGS_VALIGN_CENTER => VerticalAlignment::Centre,
            AnnotationEdit::FLAGS_VALIGN_BOTTOM => VerticalAlignment::Bottom,
            _ => VerticalAlignment::Top,
        }
    }

    /// The flag of `AnnotationEdit`.
    pub fn flag(self) -> u8 {
        match self {
            VerticalAlignment::Top => 0,
            VerticalAlignment::Centre => AnnotationEdit::FLAGS_VALIGN_CENTER,
            VerticalAlignment::Bottom => AnnotationEdit::FLAGS_VALIGN_BOTTOM,
        }
    }
}

/// An annotation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotation {
    /// Id, with the user id of who made it in the low byte.
    pub id: u16,
    /// Left side in pixels.
    pub x: i32,
    /// Upper side in pixels.
    pub y: i32,
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// Background, `0xAARRGGBB`.
    pub background: u32,
    /// Only its owner and operators may change it.
    pub protected: bool,
    /// Shown without smooth edges.
    pub alias: bool,
    /// Shown as pixels also where clients could show text.
    pub rasterize: bool,
    /// Where the text is.
    pub alignment: VerticalAlignment,
    /// Text, in the HTML that clients make.
    pub text: String,
}

/// The annotations, from the bottom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations(Vec<Annotation>);

impl Annotations {
    /// These annotations, from the bottom.
    pub fn from_list(annotations: Vec<Annotation>) -> Annotations {
        Annotations(annotations)
    }

    /// The annotations, from the bottom.
    pub fn all(&self) -> &[Annotation] {
        &self.0
    }

    pub(super) fn shift(&mut self, x: i32, y: i32) {
        for annotation in &mut self.0 {
            annotation.x = annotation.x.wrapping_add(x);
            annotation.y = annotation.y.wrapping_add(y);
        }
    }

    fn get_mut(&mut self, id: u16) -> Option<&mut Annotation> {
        self.0.iter_mut().find(|annotation| annotation.id == id)
    }

    /// A message about an annotation.
    pub(super) fn apply(&mut self, message: &Message, ids: Ids) {
        match message {
            Message::AnnotationCreate(create) => {
                let AnnotationCreate { id, x, y, w: width, h: height } = *create;
                let id = ids.object(id);
                if self.get_mut(id).is_none() {
                    self.0.push(Annotation { id, x, y, width, height, ..Annotation::default() });
                }
            }
            Message::AnnotationReshape(reshape) => {
                let AnnotationReshape { id, x, y, w: width, h: height } = *reshape;
                if let Some(annotation) = self.get_mut(ids.object(id)) {
                    let changed = std::mem::take(annotation);
                    *annotation = Annotation { x, y, width, height, ..changed };
                }
            }
            Message::AnnotationEdit(edit) => {
                let flags = ids.known_flags(edit.flags, FLAGS_4_24);
                let has = |flag: u8| flags & flag != 0;
                if let Some(annotation) = self.get_mut(ids.object(edit.id)) {
                    annotation.background = edit.bg;
                    annotation.protected = has(AnnotationEdit::FLAGS_PROTECT);
                    annotation.alias = has(AnnotationEdit::FLAGS_ALIAS);
                    annotation.rasterize = has(AnnotationEdit::FLAGS_RASTERIZE);
                    annotation.alignment = VerticalAlignment::of(flags);
                    edit.text.clone_into(&mut annotation.text);
                }
            }
            Message::AnnotationDelete(AnnotationDelete { id }) => {
                let id = ids.object(*id);
                self.0.retain(|annotation| annotation.id != id);
            }
            _ => {}
        }
    }
}
