//! Blend modes: ids on the wire and names in the text form. Source: docs/spec/wire.md#blend-modes.

/// The default for an unknown name: `svg:src-over`.
pub const NORMAL: u8 = 1;
/// The name of unknown ids.
pub const UNKNOWN_NAME: &str = "-dp-unknown";

/// Names of the ids 0 to 90, by id.
const NAMES: [&str; 91] = [
    "svg:dst-out",
    "svg:src-over",
    "svg:multiply",
    "krita:divide",
    "svg:color-burn",
    "svg:color-dodge",
    "svg:darken",
    "svg:lighten",
    "krita:subtract",
    "svg:plus",
    "svg:src-atop",
    "svg:dst-over",
    "-dp-cerase",
    "svg:screen",
    "-dp-normal-and-eraser",
    "krita:luminosity_sai",
    "svg:overlay",
    "svg:hard-light",
    "svg:soft-light",
    "krita:linear_burn",
    "krita:linear light",
    "svg:hue",
    "svg:saturation",
    "svg:luminosity",
    "svg:color",
    "-dp-compare-density-soft",
    "-dp-compare-density",
    "krita:vivid_light",
    "krita:pin_light",
    "svg:difference",
    "krita:darker color",
    "krita:lighter color",
    "krita:shade_sai",
    "krita:shade_shine_sai",
    "krita:burn_sai",
    "krita:dodge_sai",
    "krita:burn_dodge_sai",
    "krita:hard_mix_sai",
    "krita:difference_sai",
    "-dp-marker",
    "-dp-marker-wash",
    "-dp-greater",
    "-dp-greater-wash",
    "-dp-pigment",
    "-dp-light-to-alpha",
    "-dp-dark-to-alpha",
    "-dp-multiply-alpha",
    "-dp-divide-alpha",
    "-dp-burn-alpha",
    "-dp-dodge-alpha",
    "-dp-darken-alpha",
    "-dp-lighten-alpha",
    "-dp-subtract-alpha",
    "-dp-add-alpha",
    "-dp-screen-alpha",
    "-dp-luminosity-shine-sai-alpha",
    "-dp-overlay-alpha",
    "-dp-hard-light-alpha",
    "-dp-soft-light-alpha",
    "-dp-linear-burn-alpha",
    "-dp-linear-light-alpha",
    "-dp-hue-alpha",
    "-dp-saturation-alpha",
    "-dp-luminosity-alpha",
    "-dp-color-alpha",
    "-dp-vivid-light-alpha",
    "-dp-pin-light-alpha",
    "-dp-difference-alpha",
    "-dp-darker-color-alpha",
    "-dp-lighter-color-alpha",
    "-dp-shade-sai-alpha",
    "-dp-shade-shine-sai-alpha",
    "-dp-burn-sai-alpha",
    "-dp-dodge-sai-alpha",
    "-dp-burn-dodge-sai-alpha",
    "-dp-hard-mix-sai-alpha",
    "-dp-difference-sai-alpha",
    "-dp-marker-alpha",
    "-dp-marker-alpha-wash",
    "krita:greater",
    "-dp-greater-alpha-wash",
    "mypaint:spectral-wgm",
    "-dp-pigment-and-eraser",
    "-dp-erase-preserve",
    "-dp-behind-preserve",
    "-dp-cerase-preserve",
    "-dp-light-to-alpha-preserve",
    "-dp-dark-to-alpha-preserve",
    "-dp-oklab-normal",
    "-dp-oklab-recolor",
    "-dp-oklab-normal-and-eraser",
];
const REPLACE: (u8, &str) = (255, "-dp-replace");

/// The name of an id, [`UNKNOWN_NAME`] if it is unknown.
pub fn name(id: u8) -> &'static str {
    match id {
        id if id == REPLACE.0 => REPLACE.1,
        id => NAMES.get(usize::from(id)).copied().unwrap_or(UNKNOWN_NAME),
    }
}

/// The id of a name, [`NORMAL`] if it is unknown.
pub fn id(name: &str) -> u8 {
    if name == REPLACE.1 {
        return REPLACE.0;
    }
    NAMES.iter().position(|n| *n == name).map_or(NORMAL, |at| at as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_convert_both_ways() {
        for mode in (0..=90).chain([255]) {
            assert_eq!(id(name(mode)), mode);
        }
        assert_eq!(
            (name(90), name(2), name(255)),
            ("-dp-oklab-normal-and-eraser", "svg:multiply", "-dp-replace")
        );
        assert_eq!((name(91), id("nonsense")), (UNKNOWN_NAME, NORMAL));
    }
}
