//! Serves the admin page: its files are compiled in, compressed, and have names with content hashes.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::LazyLock;

use actix_web::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, HeaderValue,
    IF_NONE_MATCH, VARY,
};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use crate::text::hex;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("page/", $name)))),*]
    };
}

const FILES: &[(&str, &str)] = files![
    "accounts.js",
    "actions.js",
    "alarm.js",
    "api.js",
    "app.js",
    "ban-api.js",
    "bans.js",
    "charts.js",
    "checks.js",
    "docs.js",
    "dom.js",
    "extbans.js",
    "first-admin.js",
    "history.js",
    "icon.svg",
    "invitation.js",
    "invitations.js",
    "keep-out.js",
    "lists.js",
    "live-chat.js",
    "live-users.js",
    "live.js",
    "locks.js",
    "more.js",
    "now.js",
    "operator.js",
    "palette.js",
    "people-filters.js",
    "people.js",
    "person-history.js",
    "person.js",
    "persons.js",
    "picture.js",
    "redraw.js",
    "replies.js",
    "report-count.js",
    "reports.js",
    "restrictions.js",
    "rights.js",
    "screens.css",
    "screens.js",
    "selection.js",
    "sentences.js",
    "server.js",
    "session-chat.js",
    "session-people.js",
    "session-settings.js",
    "session.js",
    "sessions.js",
    "settings.js",
    "sheets.js",
    "style.css",
    "texts.js",
    "times.js",
    "toasts.js",
    "undo.js",
];
/// Documents by path, which load the files.
const DOCUMENTS: [(&str, &str); 2] =
    [("/", include_str!("page/index.html")), (OPERATOR_PAGE, include_str!("page/operator.html"))];
/// The page for links of operators. All that it loads but the API is below it, so that a proxy can serve it alone.
const OPERATOR_PAGE: &str = "/operator";
/// Placeholder in documents for the import map.
const IMPORT_MAP_PLACEHOLDER: &str = "{import-map}";

struct Asset {
    content_type: &'static str,
    plain: Bytes,
    gzip: Bytes,
    /// The name has a content hash: cache forever.
    is_immutable: bool,
    etag: String,
}

struct Page {
    assets: HashMap<String, Asset>,
    /// Content security policy.
    policy: String,
}

static PAGE: LazyLock<Page> = LazyLock::new(Page::build);

fn content_type_of(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    }
}

impl Asset {
    fn new(name: &str, text: String, is_immutable: bool) -> Asset {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory does not fail; if it did, the file would be sent uncompressed.
        let gzip = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).unwrap_or_default();
        let etag = format!("\"{}\"", hash_of(&text));
        Asset {
            content_type: content_type_of(name),
            plain: text.into(),
            gzip: gzip.into(),
            is_immutable,
            etag,
        }
    }
}

/// Short content hash of a file.
fn hash_of(text: &str) -> String {
    hex(&Sha256::digest(text)[..8])
}

impl Page {
    fn build() -> Page {
        let named: Vec<(String, String, &str)> = FILES
            .iter()
            .map(|(name, text)| {
                let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
                let (plain, hashed) =
                    (format!("assets/{name}"), format!("assets/{stem}.{}.{extension}", hash_of(text)));
                (plain, hashed, *text)
            })
            .collect();
        // Modules import each other without hashes; the import map maps the names.
        let imports: serde_json::Map<String, serde_json::Value> = named
            .iter()
            .filter(|(plain, ..)| plain.ends_with(".js"))
            .map(|(plain, hashed, _)| (format!("./{plain}"), format!("./{hashed}").into()))
            .collect();
        let map = serde_json::json!({"imports": imports}).to_string();
        let digest = BASE64.encode(Sha256::digest(&map));
        let mut assets: HashMap<String, Asset> = named
            .iter()
            .map(|(_, hashed, text)| (format!("/{hashed}"), Asset::new(hashed, (*text).into(), true)))
            .collect();
        for (path, document) in DOCUMENTS {
            let mut document = document.replace(IMPORT_MAP_PLACEHOLDER, &map);
            for (plain, hashed, _) in &named {
                document = document.replace(&format!("\"{plain}\""), &format!("\"{hashed}\""));
            }
            assets.insert(path.into(), Asset::new("index.html", document, false));
        }
        let policy = format!(
            "default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; img-src 'self' data:; \
             connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        );
        Page { assets, policy }
    }
}

/// Handles a request for a file of the page.
pub(super) fn respond(request: &HttpRequest) -> HttpResponse {
    let header =
        |name| request.headers().get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
    let path = if request.path() == "/index.html" { "/" } else { request.path() };
    let of_operators = path.strip_prefix(OPERATOR_PAGE).filter(|file| file.starts_with("/assets/"));
    let path = of_operators.unwrap_or(path);
    let Some(asset) = PAGE.assets.get(path) else {
        return HttpResponse::NotFound().content_type("text/plain").body("There is no such page\n");
    };
    let mut response = HttpResponse::Ok();
    let caching = if asset.is_immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    response.insert_header((CACHE_CONTROL, caching)).insert_header((ETAG, asset.etag.as_str()));
    response
        .insert_header((CONTENT_SECURITY_POLICY, PAGE.policy.as_str()))
        .insert_header((VARY, "accept-encoding"));
    if header(IF_NONE_MATCH).split(',').any(|tag| tag.trim() == asset.etag) {
        response.status(actix_web::http::StatusCode::NOT_MODIFIED);
        return response.finish();
    }
    response.content_type(asset.content_type);
    let accepts_gzip = header(ACCEPT_ENCODING).split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim() == "gzip" && !weight.trim().trim_start_matches("q=").trim().eq("0")
    });
    if accepts_gzip && !asset.gzip.is_empty() {
        response.insert_header((CONTENT_ENCODING, "gzip")).body(asset.gzip.clone())
    } else {
        response.body(asset.plain.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_refer_to_existing_files() {
        for (path, _) in DOCUMENTS {
            let index = std::str::from_utf8(&PAGE.assets[path].plain).unwrap();
            assert!(!index.contains(IMPORT_MAP_PLACEHOLDER));
            let mut count = 0;
            assert!(!index.contains("\"/"), "a reverse proxy may serve the page below a path");
            for part in index.replace("\"./assets/", "\"assets/").split("\"assets/").skip(1) {
                let name = format!("/assets/{}", part.split('"').next().unwrap());
                // The import map maps plain names to these.
                if name.matches('.').count() == 2 {
                    assert!(PAGE.assets.contains_key(&name), "{name}");
                    count += 1;
                }
            }
            assert!(count >= FILES.len(), "{count}: {index}");
        }
    }

    #[test]
    fn urls_are_relative() {
        for (name, text) in FILES {
            for absolute in ["`/api", "\"/api", "\"/assets", "url(/"] {
                assert!(!text.contains(absolute), "{name} has {absolute}");
            }
        }
    }

    #[test]
    fn modules_import_existing_modules() {
        for (name, text) in FILES.iter().filter(|(name, _)| name.ends_with(".js")) {
            for import in text.split("from \"./").skip(1) {
                let module = import.split('"').next().unwrap();
                assert!(FILES.iter().any(|(known, _)| *known == module), "{name} imports {module}");
            }
        }
    }
}
