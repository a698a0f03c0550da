//! Tests of `cli`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::CommandFactory as _;

use super::values::crypt_key;
use super::*;

#[test]
fn a_key_for_ban_lists_is_32_bytes_however_it_is_pasted() {
    let text = BASE64.encode([7; 32]);
    for good in [&text, text.trim_end_matches('='), &format!(" {text}\n"), &format!("\"{text}\"")] {
        assert_eq!(crypt_key(good), Ok([7; 32]), "{good}");
    }
    assert!(
        crypt_key("").is_err()
            && crypt_key(&text[..40]).is_err()
            && crypt_key(&(text.clone() + "AAAA")).is_err()
    );
}

#[test]
fn every_option_can_be_shown() {
    let Some(Command::Config(serve)) = parse(&[
        "config",
        "-l",
        "::1",
        "-c",
        "c",
        "-s",
        "s",
        "-t",
        "t",
        "--record",
        "r",
        "--trace-input",
        "t",
        "--sync",
        "1",
        "--announce-port",
        "5",
        "--report-url",
        "http://x/",
        "--extauth",
        "http://x/",
        "--local-host",
        "h",
        "--crypt-key",
        &BASE64.encode([0; 32]),
        "--options",
        "o",
        "--websocket-listen",
        "::1",
        "--websocket-allowed-origin",
        "https://x",
        "--ssl-cert",
        "c",
        "--ssl-key",
        "k",
        "--acme-email",
        "me@example.org",
        "--acme-ca",
        "c",
        "--data",
        "d",
        "--profile",
        "public",
        "--web-admin-auth",
        "a:b",
        "--web-admin-access",
        "all",
        "--web-admin-allowed-origin",
        "https://o",
        "--web-admin-listen",
        "::1",
        "--web-admin-host",
        "h",
        "--web-admin-url",
        "https://x/",
        "--proxy-header",
        "x-real-ip,proxy-protocol",
        "--log-level",
        "debug",
        "--gui",
        "--canvas-renderer",
        "r",
        "--cluster-listen",
        "192.0.2.1:27752",
        "--ffmpeg",
        "f",
        "--remote",
        "http://x/",
    ])
    .unwrap()
    .command
    else {
        panic!("no config")
    };
    let shown: Vec<&str> = serve.serve.values().into_iter().map(|(name, _)| name).collect();
    let command = Cli::command();
    let names = command.get_arguments().filter_map(clap::Arg::get_long);
    let excluded =
        ["version", "generate-crypt-key", "database", "cluster", "extauth-provider", "no-gui", "acme"];
    for name in names.filter(|n| !excluded.contains(n)) {
        assert!(shown.contains(&name), "{name}");
    }
}

#[test]
fn servers_are_linked_at_an_address_that_others_reach() {
    for good in ["192.0.2.1:27752", "[2001:db8::1]:27752", "127.0.0.1:0"] {
        assert!(parse(&["--cluster-listen", good]).is_ok(), "{good}");
    }
    for bad in ["0.0.0.0:27752", "[::]:27752", "192.0.2.1", "db.example.org:27752", ""] {
        assert!(parse(&["--cluster-listen", bad]).is_err(), "{bad}");
    }
}

fn parse(args: &[&str]) -> Result<Cli, String> {
    Cli::try_parse_from([&["drawhall"], args].concat()).map_err(|e| e.to_string())
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_address_of_the_page_is_one_to_which_paths_can_be_appended() {
    for good in ["https://draw.example.org", "https://draw.example.org/admin/", "http://192.0.2.1:27780/"] {
        assert!(parse(&["--web-admin-url", good]).is_ok(), "{good}");
    }
    for bad in
        ["draw.example.org", "ftp://draw.example.org", "https://x/?a", "https://x/#a", "https://a:b@x/"]
    {
        assert!(parse(&["--web-admin-url", bad]).is_err(), "{bad}");
    }
}

#[test]
fn without_anything_it_serves_port_27750_on_all_interfaces() {
    let cli = parse(&[]).unwrap();
    assert!(cli.command.is_none());
    assert_eq!((cli.serve.port, cli.serve.listen), (27750, None));
}

#[test]
fn serve_is_a_subcommand_with_the_same_options() {
    let Some(Command::Serve(serve)) = parse(&["serve", "-p", "5", "-l", "::1"]).unwrap().command else {
        panic!("no serve");
    };
    assert_eq!((serve.port, serve.listen), (5, "::1".parse().ok()));
}

#[test]
fn wrong_values_are_named_with_their_option() {
    for (args, words) in [
        (["--port", "none"], "'none' for '--port"),
        (["--port", "65536"], "'65536' for '--port"),
        (["--listen", "here"], "'here' for '--listen"),
        (["--crypt-key", "AAAA"], "3 bytes instead of 32"),
        (["--websocket-allowed-origin", "web.example.org"], "'web.example.org' is no origin"),
        (
            ["--websocket-allowed-origin", "https://x.org,https://y.org/page"],
            "'https://y.org/page' is no origin",
        ),
        (["--web-admin-allowed-origin", "rubbish"], "'rubbish' is no origin"),
        (["--acme", "draw.example.org,*.example.org"], "no wildcard"),
        (["--acme", "192.0.2.1"], "not an address"),
        (["--acme", "localhost"], "expected a host name"),
        (["--acme-email", "somebody"], "expected an e-mail address"),
        (["--proxy-header", "x-client"], "expected one of x-forwarded-for"),
    ] {
        let error = parse(&args).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_certificate_comes_from_files_or_from_an_authority() {
    let names = |cli: Cli| items(&cli.serve.acme).cloned().collect::<Vec<String>>();
    let cli = parse(&["--acme", "Draw.Example.org.,b.example.org", "--secure"]).unwrap();
    assert_eq!(names(cli), ["draw.example.org", "b.example.org"]);
    let files = ["--ssl-cert", "c", "--ssl-key", "k"];
    assert!(parse(&[&files[..], &["--secure"]].concat()).is_ok());
    for wrong in [
        &["--secure"][..],
        &["--secure", "--ssl-cert", "c"],
        &["--secure", "--ssl-key", "k"],
        &["--acme", "draw.example.org", "--ssl-cert", "c", "--ssl-key", "k"],
        &["--acme", "draw.example.org", "--in-memory"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn version_names_server_and_protocol() {
    for flag in ["-v", "--version"] {
        assert!(parse(&[flag]).unwrap_err().contains("(protocol 25.1)"));
    }
}
