//! Accounts of an auth server elsewhere, and being that server.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::elsewhere::{Elsewhere, Reply};
use common::{Client, SID, TestServer};
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use drawhall::db::{BanKind, BanRow, Database};
use drawhall::tools::account;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

/// Path of auth servers.
const AUTH: &str = "/auth/";

fn key_pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap()
}

fn config(more: &str) -> String {
    let key = BASE64.encode(key_pair().public_key());
    format!("extauth=true\nextauthkey={key}\n{more}\n[users]\nown:plain;pw:HOST\n")
}

fn server(url: &str, config: &str) -> TestServer {
    let source = RuleSource { extauth: Some(url.to_owned()), ..RuleSource::default() };
    TestServer::start_with(config, ServeOptions { source, ..ServeOptions::default() })
}

/// A token as another implementation makes it.
fn token(payload: &Value, avatar: Option<&[u8]>) -> String {
    let payload = BASE64.encode(payload.to_string());
    let signed = match avatar {
        Some(avatar) => format!("2.{payload}.{}", BASE64.encode(avatar)),
        None => format!("1.{payload}"),
    };
    let signature = BASE64.encode(key_pair().sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn ident(client: &mut Client, name: &str, kwargs: Value) -> Value {
    client.command("ident", json!([name]), kwargs);
    client.reply(|v| v["type"] == "result" || v["type"] == "error")
}

fn connect(server: &TestServer) -> (Client, Value) {
    let mut client = server.connect();
    let greeting = client.greeting();
    (client, greeting)
}

fn answers(status: &'static str) -> Elsewhere {
    Elsewhere::start(move |_| Reply::of(200, json!({"status": status})))
}

#[test]
fn an_account_elsewhere_logs_in_with_a_token() {
    let auth = answers("auth");
    let server =
        server(&auth.url(AUTH), &config("extauthgroup=artists\nextauthmod=true\nextauthbanexempt=false"));
    let (mut client, greeting) = connect(&server);
    assert_eq!(greeting["methods"]["extauth"], json!({"actions": ["join", "host"], "url": auth.url(AUTH)}));
    let needed = ident(&mut client, "alice", json!({}));
    assert_eq!((&needed["state"], &needed["extauthurl"]), (&json!("needExtAuth"), &json!(auth.url(AUTH))));
    assert_eq!((&needed["group"], &needed["avatar"]), (&json!("artists"), &json!(true)));
    let asked = auth.asked();
    assert_eq!((asked.len(), asked[0].method.as_str(), asked[0].path.as_str()), (1, "POST", AUTH));
    assert_eq!(asked[0].header("content-type"), Some("application/json"));
    assert_eq!(asked[0].body, json!({"username": "alice", "group": "artists"}));
    let payload = json!({"username": "alice", "flags": ["MOD", "BANEXEMPT", "other"], "nonce": needed["nonce"],
        "group": "artists", "uid": 1234, "iat": 1});
    let done = ident(&mut client, "alice", json!({"extauth": token(&payload, Some(b"picture"))}));
    assert_eq!(
        (&done["state"], &done["guest"], &done["ident"]),
        (&json!("identOk"), &json!(false), &json!("alice"))
    );
    let flags = done["flags"].as_array().unwrap();
    assert!(
        flags.contains(&json!("MOD"))
            && flags.contains(&json!("other"))
            && !flags.contains(&json!("BANEXEMPT"))
    );
    client.ask_to_host();
    assert_eq!(client.reply(|v| v["state"] == "host")["join"]["authId"], "127.0.0.1:1234");
    client.send(129, 1, &[0; 16]);
    client.command("init-complete", json!([]), json!({}));
    // The avatar comes with the join.
    let join = client.until(|m| m.kind == 32);
    assert!(join.payload.ends_with(b"picture"), "{join:?}");
}

#[test]
fn a_token_counts_once_and_for_what_was_asked_only() {
    let auth = answers("auth");
    let server = server(&auth.url(AUTH), &config(""));
    let refused = |change: &dyn Fn(&mut Value), signed: &dyn Fn(&Value) -> String| {
        let (mut client, _) = connect(&server);
        let needed = ident(&mut client, "alice", json!({}));
        let mut payload = json!({"username": "alice", "nonce": needed["nonce"], "uid": "x"});
        change(&mut payload);
        ident(&mut client, "alice", json!({"extauth": signed(&payload)}))["code"].clone()
    };
    let plain = |payload: &Value| token(payload, None);
    assert_eq!(refused(&|_| {}, &plain), Value::Null);
    assert_eq!(refused(&|p| p["nonce"] = json!("1"), &plain), "extAuthError");
    assert_eq!(refused(&|p| p["group"] = json!("other"), &plain), "extAuthError");
    assert_eq!(refused(&|p| p["username"] = json!(""), &plain), "extAuthError");
    assert_eq!(refused(&|_| {}, &|p| token(p, None).replace("1.", "3.")), "extAuthError");
    assert_eq!(refused(&|_| {}, &|p| token(p, None) + "A"), "extAuthError");
    // Without having been asked for.
    let (mut client, _) = connect(&server);
    let payload = json!({"username": "alice", "nonce": "0"});
    assert_eq!(ident(&mut client, "alice", json!({"extauth": plain(&payload)}))["code"], "extAuthError");
    let (mut client, _) = connect(&server);
    assert_eq!(ident(&mut client, "own", json!({"extauth": "x"}))["code"], "extAuthError");
}

#[test]
fn a_token_is_new_and_names_somebody_who_may_come() {
    let auth = answers("auth");
    let server = server(&auth.url(AUTH), &config("forbiddenNameRegex=evil"));
    let now = jiff::Timestamp::now().as_second();
    let answer = |change: Value| {
        let (mut client, _) = connect(&server);
        let needed = ident(&mut client, "alice", json!({}));
        let mut payload = json!({"username": "alice", "nonce": needed["nonce"], "uid": "x"});
        payload.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = ident(&mut client, "alice", json!({"extauth": token(&payload, None)}));
        answer["code"].as_str().or(answer["state"].as_str()).unwrap().to_owned()
    };
    for fresh in
        [json!(now), json!(now * 1000), json!(now - 60), json!(now + 3600), json!(null), json!("x"), json!(1)]
    {
        assert_eq!(answer(json!({"iat": fresh})), "identOk", "{fresh}");
    }
    for old in [json!(now - 600), json!((now - 600) * 1000), json!(now as f64 - 600.5)] {
        assert_eq!(answer(json!({"iat": old})), "extAuthError", "{old}");
    }
    assert_eq!(answer(json!({"iat": now, "exp": now - 600})), "extAuthError");
    assert_eq!(answer(json!({"username": "ali\u{200b}ce"})), "badUsername");
    assert_eq!(answer(json!({"username": "x".repeat(23)})), "badUsername");
    assert_eq!(answer(json!({"username": "Evil one"})), "forbiddenUsername");
    assert_eq!(answer(json!({"username": "own"})), "extAuthError", "an account of this server");
    assert_eq!(answer(json!({"username": "OWN"})), "nameInuse");
    assert_eq!(answer(json!({"username": "Alice two"})), "identOk", "another name than was given");
}

#[test]
fn the_auth_server_decides_what_becomes_of_a_name() {
    for (status, state, code) in [
        ("guest", "identOk", Value::Null),
        ("outgroup", "", json!("extauthOutgroup")),
        ("banned", "", json!("extauthLocked")),
        ("strange", "", json!("extauth")),
    ] {
        let auth = answers(status);
        let server = server(&auth.url(AUTH), &config(""));
        let (mut client, _) = connect(&server);
        let answer = ident(&mut client, "alice", json!({}));
        assert_eq!((answer["state"].as_str().unwrap_or(""), &answer["code"]), (state, &code), "{status}");
    }
}

#[test]
fn an_answer_without_a_status_is_no_outage() {
    for answer in
        [json!({}), json!([]), json!([{"status": "guest"}]), json!({"status": null}), json!({"status": 5})]
    {
        let body = answer.to_string();
        let auth = Elsewhere::start(move |_| Reply::of(200, &body));
        let server = server(&auth.url(AUTH), &config("extauthfallback=true"));
        let (mut client, _) = connect(&server);
        let refused = ident(&mut client, "alice", json!({}));
        assert_eq!(
            (&refused["code"], &refused["message"]),
            (&json!("extauth"), &json!("Unexpected ext-auth response: ")),
            "{answer}"
        );
    }
    let long = Elsewhere::start(|_| Reply::of(200, json!({"status": "x".repeat(100_000)})));
    let server = server(&long.url(AUTH), &config(""));
    let (mut client, _) = connect(&server);
    let refused = ident(&mut client, "alice", json!({}));
    assert_eq!(refused["message"].as_str().unwrap().len(), "Unexpected ext-auth response: ".len() + 100);
}

#[test]
fn an_auth_server_that_is_down_slow_or_wrong_is_no_answer() {
    let down = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let slow = Elsewhere::start(|_| Reply {
        wait: Duration::from_secs(30),
        ..Reply::of(200, json!({"status": "auth"}))
    });
    let wrong = Elsewhere::start(|_| Reply::of(200, "<html>"));
    let broken = Elsewhere::start(|_| Reply::of(500, "{}"));
    let moved = Elsewhere::start(|_| Reply::redirect(301, "https://127.0.0.1:1/auth/"));
    let huge = Elsewhere::start(|_| Reply::of(200, json!({"status": "x".repeat(2 << 20)})));
    for url in [
        format!("http://{down}/"),
        slow.url(AUTH),
        wrong.url(AUTH),
        broken.url(AUTH),
        moved.url(AUTH),
        huge.url(AUTH),
    ] {
        let lenient = server(&url, &config("extauthfallback=true"));
        let (mut client, _) = connect(&lenient);
        assert_eq!(ident(&mut client, "alice", json!({}))["guest"], true, "{url}");
        let (mut client, _) = connect(&lenient);
        let mismatch = ident(&mut client, "alice", json!({"intent": "extauth"}));
        assert_eq!(
            (&mismatch["state"], &mismatch["extauthfallback"]),
            (&json!("intentMismatch"), &json!(true))
        );
        // Accounts of its own log in all the same.
        let (mut client, _) = connect(&lenient);
        client.command("ident", json!(["own", "pw"]), json!({}));
        assert_eq!(client.reply(|v| v["type"] == "result")["guest"], false);
    }
    let strict = server(&format!("http://{down}/"), &config("extauthfallback=false"));
    let (mut client, _) = connect(&strict);
    assert_eq!(ident(&mut client, "alice", json!({}))["code"], "noExtAuth");
}

#[test]
fn without_guests_a_token_is_asked_for_at_once_and_banned_accounts_are_stopped() {
    let auth = answers("guest");
    let server = server(&auth.url(AUTH), &format!("{}[userbans]\n7\n", config("allowGuests=false")));
    let (mut client, _) = connect(&server);
    let needed = ident(&mut client, "alice", json!({}));
    assert_eq!(needed["state"], "needExtAuth");
    assert!(auth.asked().is_empty());
    let payload = json!({"username": "alice", "nonce": needed["nonce"], "uid": 7, "flags": ["HOST"]});
    assert_eq!(ident(&mut client, "alice", json!({"extauth": token(&payload, None)}))["state"], "identOk");
    client.ask_to_host();
    assert!(!client.rest_until(|v| v["state"] == "host"), "the account is banned");
}

#[test]
fn tokens_keys_and_avatars_need_no_padding() {
    let auth = answers("auth");
    let bare =
        |text: &str| text.split('.').map(|part| part.trim_end_matches('=')).collect::<Vec<_>>().join(".");
    let key = BASE64.encode(key_pair().public_key());
    for key in [bare(&key), key.clone(), format!("{key}==")] {
        let config = format!("extauth=true\nextauthkey={key}\n");
        let server = server(&auth.url(AUTH), &config);
        for avatar in [None, Some(&b"picture!"[..])] {
            let (mut client, _) = connect(&server);
            let needed = ident(&mut client, "alice", json!({}));
            let payload = json!({"username": "alice", "nonce": needed["nonce"], "uid": 5, "x": "xx"});
            // The signature is over what stands there, with or without padding.
            let signed = token(&payload, avatar);
            let (signed, _) = signed.rsplit_once('.').unwrap();
            let signed = bare(signed);
            let signature = BASE64.encode(key_pair().sign(signed.as_bytes()));
            let text = format!("{signed}.{}", bare(&signature));
            assert_eq!(ident(&mut client, "alice", json!({"extauth": text}))["state"], "identOk", "{text}");
            client.ask_to_host();
            client.send(129, 1, &[0; 16]);
            client.command("init-complete", json!([]), json!({}));
            let join = client.until(|m| m.kind == 32);
            assert!(join.payload.ends_with(avatar.unwrap_or(b"alice")), "{join:?}");
        }
    }
}

#[test]
fn a_banned_account_of_elsewhere_is_told_until_when_and_why() {
    let auth = answers("auth");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    let database = Database::open(&path).unwrap();
    let key = BASE64.encode(key_pair().public_key());
    database.set_settings(&[("extauth", "true"), ("extauthkey", &key)]).unwrap();
    for (uid, expires, reason) in [("7", "2099-01-01 00:00:00", "Because"), ("8", "9999-12-31 23:59:59", "")]
    {
        let (subject, expires, reason) = (uid.to_owned(), expires.to_owned(), reason.to_owned());
        let ban = BanRow { subject, expires, reason, reaction: "normal".into(), ..BanRow::default() };
        database.add_ban(BanKind::User, ban, 0).unwrap();
    }
    let source = RuleSource { database: Some(path), extauth: Some(auth.url(AUTH)), ..RuleSource::default() };
    let server = TestServer::start_with("", ServeOptions { source, ..ServeOptions::default() });
    for (uid, text) in
        [(7, "Banned from this server until 2099-01-01: Because"), (8, "Permanently banned from this server")]
    {
        let (mut client, _) = connect(&server);
        let needed = ident(&mut client, "alice", json!({}));
        let payload = json!({"username": "alice", "nonce": needed["nonce"], "uid": uid});
        ident(&mut client, "alice", json!({"extauth": token(&payload, None)}));
        client.ask_to_host();
        assert_eq!(client.rest().pop().unwrap().payload[1..], *text.as_bytes());
    }
}

/// Sends a request as a client does and returns the answer.
fn post(address: SocketAddr, body: &Value) -> Value {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let body = body.to_string();
    let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_default()
}

#[test]
fn servers_share_the_accounts_of_one_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.db");
    let database = Database::open(&path).unwrap();
    account::add(&database, "alice", &["MOD".into(), "artists".into()], "secret").unwrap();
    account::add(&database, "bob", &[], "pw").unwrap();
    account::set(&database, "bob", account::Change { locked: Some(true), ..Default::default() }).unwrap();
    let key = drawhall::auth_server::public_text(&drawhall::auth_server::signing_key(&database).unwrap());
    let source = RuleSource { database: Some(path), ..RuleSource::default() };
    let provider = Some("127.0.0.1:0".parse().unwrap());
    let first = TestServer::start_with(
        "",
        ServeOptions { source, extauth_provider: provider, ..ServeOptions::default() },
    );
    let address = first.provider.unwrap();
    let second = server(
        &format!("http://{address}/"),
        &format!("extauth=true\nextauthkey={key}\nextauthgroup=artists\n"),
    );
    let (mut client, _) = connect(&second);
    let needed = ident(&mut client, "alice", json!({}));
    let question = |password: &str, group: &str| json!({"username": "alice", "password": password, "group": group, "nonce": needed["nonce"], "avatar": true, "s": SID});
    assert_eq!(post(address, &question("wrong", "artists"))["status"], "badpass");
    assert_eq!(post(address, &question("secret", "others"))["status"], "outgroup");
    let answer = post(address, &question("secret", "artists"));
    assert_eq!(answer["status"], "auth");
    let done = ident(&mut client, "alice", json!({"extauth": answer["token"]}));
    assert!(done["flags"].as_array().unwrap().contains(&json!("MOD")), "{done}");
    // Used once.
    let (mut again, _) = connect(&second);
    ident(&mut again, "alice", json!({}));
    assert_eq!(ident(&mut again, "alice", json!({"extauth": answer["token"]}))["code"], "extAuthError");
    let (mut guest, _) = connect(&second);
    assert_eq!(ident(&mut guest, "nobody", json!({}))["guest"], true);
    // A name that looks like an account's is no guest's; who has the account spells it as it is.
    for name in ["ALICE", "ａlice"] {
        let (mut similar, _) = connect(&second);
        assert_eq!(ident(&mut similar, name, json!({}))["state"], "needExtAuth", "{name}");
        assert_eq!(post(address, &json!({"username": name, "password": "secret"}))["status"], "badpass");
    }
    let (mut locked, _) = connect(&second);
    assert_eq!(ident(&mut locked, "bob", json!({}))["code"], "extauthLocked");
    assert_eq!(post(address, &json!([1])), json!({"message": "this is no JSON object with a username"}));
}
