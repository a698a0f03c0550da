//! `--gui`: the admin page in a browser.

/// Port of the admin page if none is given.
pub(crate) const PORT: u16 = 27780;

/// Whether there is a desktop to show something on.
fn has_desktop() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(any(target_os = "macos", windows)) || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY")
}

/// Opens a page in the browser; without a desktop, or when that fails, it says where the page is.
pub(crate) fn show(url: &str) {
    if has_desktop() && open::that_detached(url).is_ok() {
        return;
    }
    crate::output::outln!("The admin page is at {url}");
}
