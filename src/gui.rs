//! `--gui`: opens the admin page in a browser.

/// Default port of the admin page.
pub(crate) const PORT: u16 = 27780;

/// Whether a graphical desktop is available.
fn has_desktop() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(any(target_os = "macos", windows)) || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY")
}

/// Opens a page in the browser. Without a desktop, or if that fails, prints its address.
pub(crate) fn show(url: &str) {
    if has_desktop() && open::that_detached(url).is_ok() {
        return;
    }
    crate::output::outln!("The admin page is at {url}");
}
