//! `drawhall address`: where others reach a server, also as a QR code.

use drawhall::text;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use crate::Failure;
use crate::addresses::Addresses;
use crate::cli::AddressArgs;
use crate::data_paths::DataPaths;
use crate::output::out;
use crate::serve::server_options;
use crate::start_summary::{HEADING, write_rows};

/// Prints the addresses of a server with these options. It need not run.
///
/// # Errors
/// When the options cannot be used.
pub(crate) fn run(options: &AddressArgs) -> Result<(), Failure> {
    let paths = DataPaths::selected(&options.serve)?;
    let addresses = Addresses::of_options(&server_options(&options.serve, &paths)?)
        .ok_or("--port: it is off, and there is no --websocket-port: nobody can connect")?;
    let mut printed = format!("{HEADING}\n");
    write_rows(&mut printed, &addresses.reaches())?;
    if options.qr {
        let link = addresses.link();
        printed.push_str(&format!("\n{}\n\n{}\n", qr_code(&link)?, text::shown(&link)));
    }
    out!("{printed}");
    Ok(())
}

/// A QR code in block characters, light on dark, as most terminals are: cameras read it on a light one as well.
fn qr_code(link: &str) -> Result<String, Failure> {
    let code = QrCode::new(link).map_err(|error| format!("there is no QR code for {link}: {error}"))?;
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}
