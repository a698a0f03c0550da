//! Which layers a command names, read from fixed places of its payload.

use drawhall_protocol::message::{
    DefaultLayer, DrawDabsClassic, DrawDabsMyPaint, DrawDabsMyPaintBlend, DrawDabsPixel, DrawDabsPixelSquare,
    FillRect, KeyFrameLayerAttributes, KeyFrameSet, LayerACL, LayerAttributes, LayerRetitle, LayerTreeCreate,
    LayerTreeDelete, LayerTreeMove, Layout, MoveRect, MoveRectZstd, PenUp, PutImage, PutImageZstd, PutTile,
    PutTileZstd, TransformRegion, TransformRegionZstd,
};

/// The user who owns a layer: ids are made of the creator's user id, in the low byte, or the high one of older ids.
pub(super) fn owner(layer: u32, layout: Layout) -> u8 {
    (if layout == Layout::V4_24 { layer >> 8 } else { layer } & 0xFF) as u8
}

/// The layer that a `LayerTreeCreate` creates.
pub(super) fn created(payload: &[u8], layout: Layout) -> Option<u32> {
    let width = if layout == Layout::V4_24 { 2 } else { 3 };
    payload.get(..width).map(|bytes| bytes.iter().fold(0, |id, byte| id << 8 | u32::from(*byte)))
}

/// Calls `named` with each layer that a message names. Types that are not known name none.
pub(super) fn layers(kind: u8, payload: &[u8], layout: Layout, mut named: impl FnMut(u32)) {
    let is_older = layout == Layout::V4_24;
    let width = if is_older { 2 } else { 3 };
    // Behind a byte that older messages do not have.
    let second = usize::from(!is_older);
    let mut at = |offset: usize| {
        if let Some(bytes) = payload.get(offset..offset + width) {
            named(bytes.iter().fold(0, |id, byte| id << 8 | u32::from(*byte)));
        }
    };
    match kind {
        DrawDabsClassic::TYPE
        | DrawDabsPixel::TYPE
        | DrawDabsPixelSquare::TYPE
        | DrawDabsMyPaint::TYPE
        | DrawDabsMyPaintBlend::TYPE
        | PutTile::TYPE
        | PutTileZstd::TYPE => at(second),
        PenUp::TYPE if is_older => {}
        LayerAttributes::TYPE
        | LayerRetitle::TYPE
        | PutImage::TYPE
        | PutImageZstd::TYPE
        | FillRect::TYPE
        | PenUp::TYPE
        | LayerACL::TYPE
        | DefaultLayer::TYPE => at(0),
        MoveRect::TYPE
        | MoveRectZstd::TYPE
        | TransformRegion::TYPE
        | TransformRegionZstd::TYPE
        | LayerTreeDelete::TYPE => [0, width].into_iter().for_each(at),
        LayerTreeCreate::TYPE | LayerTreeMove::TYPE => [0, width, 2 * width].into_iter().for_each(at),
        KeyFrameSet::TYPE => at(4),
        // Pairs of a layer and its flags; newer ones have the flags in the upper byte.
        KeyFrameLayerAttributes::TYPE if is_older => (4..payload.len()).step_by(4).for_each(at),
        KeyFrameLayerAttributes::TYPE => (5..payload.len()).step_by(4).for_each(at),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::message::Message;

    use super::*;

    fn named(message: Message, layout: Layout) -> Vec<u32> {
        let frame = message.to_frame(1, layout).unwrap();
        let mut found = Vec::new();
        layers(frame.header().kind, frame.payload(), layout, |layer| found.push(layer));
        found
    }

    #[test]
    fn layers_are_found_in_both_layouts() {
        for layout in [Layout::V4_24, Layout::V4_25] {
            let dab = drawhall_protocol::message::PixelDab { x: 0, y: 0, size: 1, opacity: 1 };
            let dabs = DrawDabsPixel { layer: 0x0102, dabs: vec![dab], ..DrawDabsPixel::default() };
            assert_eq!(named(dabs.into(), layout), [0x0102]);
            let fill = FillRect { layer: 0x0103, ..FillRect::default() };
            assert_eq!(named(fill.into(), layout), [0x0103]);
            let tile = PutTile { layer: 0x0104, ..PutTile::default() };
            assert_eq!(named(tile.into(), layout), [0x0104]);
            let moved = MoveRect { layer: 1, source: 2, ..MoveRect::default() };
            assert_eq!(named(moved.into(), layout), [1, 2]);
            let created = LayerTreeCreate { id: 7, source: 8, target: 9, ..LayerTreeCreate::default() };
            let frame = Message::from(created.clone()).to_frame(1, layout).unwrap();
            assert_eq!(super::created(frame.payload(), layout), Some(7));
            assert_eq!(named(created.into(), layout), [7, 8, 9]);
            let deleted = LayerTreeDelete { id: 7, merge_to: 9 };
            assert_eq!(named(deleted.into(), layout), [7, 9]);
            let frame = KeyFrameSet { source_id: 5, ..KeyFrameSet::default() };
            assert_eq!(named(frame.into(), layout), [5]);
        }
        assert_eq!([owner(0x0203, Layout::V4_25), owner(0x0203, Layout::V4_24)], [3, 2]);
    }
}
