//! People over the admin API: who was here, by person; search; notes; and how fast that is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::administered::Administered;
use common::client::{Client, system_id};
use common::eventually;
use serde_json::{Value, json};

impl Administered {
    /// The first names of the people that a search finds.
    fn found(&self, search: &str) -> Vec<Vec<String>> {
        let found = self.get(&format!("/api/people?search={search}"));
        let names = |person: &Value| serde_json::from_value(person["names"].clone()).unwrap();
        found["people"].as_array().unwrap().iter().map(names).collect()
    }

    fn join(&self, name: &str, device: &str, session: &str) -> Client {
        let mut client = self.server.connect();
        client.ident(name);
        client.command("join", json!([session]), json!({"s": device}));
        client.reply(|v| v["state"] == "join");
        client
    }
}

#[test]
fn people_are_found_by_all_their_names_also_when_they_have_left() {
    let host = Administered::start();
    let mut a = host.server.connect();
    let session = a.host_running("A");
    a.command("sessionconf", json!([]), json!({"title": "Pixel art"}));
    a.reply(|v| v["config"]["title"] == "Pixel art");
    let troll = system_id("troll");
    let first = host.join("PixelKing", &troll, &session);
    first.close();
    let second = host.join("pixel_king_", &troll, &session);
    let _other = host.join("PixeIKing", &system_id("other"), &session);
    let _innocent = host.join("Marmalade", &system_id("innocent"), &session);
    eventually("all have been recorded", || host.found("pixelking").len() == 2 && host.found("").len() == 4);
    let names = host.found("pixelking");
    assert!(names.contains(&vec!["PixeIKing".to_owned()]), "{names:?}");
    assert!(
        names
            .iter()
            .any(|names| names.contains(&"PixelKing".into()) && names.contains(&"pixel_king_".into()))
    );
    assert_eq!(host.found("Pixel%20art"), Vec::<Vec<String>>::new(), "titles of sessions do not match");
    assert_eq!(host.found("127.0.0").len(), 4);

    let new =
        |since: &str| host.get(&format!("/api/people?since={since}"))["people"].as_array().unwrap().len();
    assert_eq!((new("2020-01-01T00:00:00Z"), new("2999-01-01T00:00:00Z")), (4, 0));
    assert_eq!(host.ask("GET", "/api/people?since=yesterday", None).status, 400);

    second.close();
    let path = format!("/api/people/device:{troll}");
    eventually("the troll has left", || host.get(&path)["connected"] == json!([]));
    let person = host.get(&path);
    assert_eq!(person["visits"][0]["title"], "Pixel art");
    assert_eq!(person["visits"].as_array().unwrap().len(), 2);
    let others: Vec<_> =
        person["sharedAddresses"].as_array().unwrap().iter().map(|o| o["name"].clone()).collect();
    assert!(others.contains(&json!("Marmalade")), "an address is shared, and that is said: {others:?}");

    let note = host.ask("POST", &format!("{path}/notes"), Some(json!({"note": " third time "})));
    assert_eq!(
        (note.status, &note.json["note"], &note.json["author"]),
        (200, &json!("third time"), &json!("127.0.0.1"))
    );
    assert_eq!(host.get(&path)["notes"][0]["id"], note.json["id"]);
    let removed = host.ask("DELETE", &format!("{path}/notes/{}", note.json["id"]), None);
    assert_eq!(removed.status, 200);

    let ban = json!({"devices": [troll], "seconds": 3600});
    eventually("that the troll has left is recorded", || {
        let preview = host.ask("POST", "/api/bans/preview", Some(ban.clone())).json;
        preview["connected"] == json!([])
            && preview["recent"][0]["names"] == json!(["pixel_king_", "PixelKing"])
    });
    let made = host.ask("POST", "/api/bans", Some(ban)).json;
    let bans = host.get("/api/bans?contains=PIXELK1NG");
    assert_eq!(bans["bans"][0]["names"], json!(["pixel_king_", "PixelKing"]), "by any name they had");
    let person = host.get(&path);
    assert_eq!((&person["banned"]["id"], &person["bans"][0]["inForce"]), (&made["ban"]["id"], &json!(true)));

    let export = host.get(&format!("{path}/export"));
    assert_eq!((&export["id"], &export["complete"]), (&json!(format!("device:{troll}")), &json!(true)));
    assert_eq!(export["visits"], person["visits"]);
    assert_eq!((export["bans"].as_array().unwrap().len(), export["notes"].as_array().unwrap().len()), (1, 0));

    assert_eq!(host.ask("DELETE", &path, None).status, 200);
    assert_eq!(host.ask("GET", &path, None).status, 404, "erased");
    assert_eq!(host.ask("GET", &format!("{path}/export"), None).status, 404, "erased");
}

#[test]
fn nobody_is_recorded_when_people_days_is_zero() {
    let host = Administered::start();
    let set = host.ask("PUT", "/api/server", Some(json!({"peopleDays": 0})));
    assert_eq!(set.status, 200, "{}", set.json);
    let mut a = host.server.connect();
    let session = a.host_running("A");
    let b = host.join("B", &system_id("B"), &session);
    b.close();
    eventually("B has left", || host.get("/api/users").as_array().unwrap().len() == 1);
    assert_eq!(host.ask("PUT", "/api/server", Some(json!({"peopleDays": 30}))).status, 200);
    let _c = host.join("C", &system_id("C"), &session);
    eventually("C was recorded", || host.found("C") == [["C"]]);
    assert_eq!(host.found("B"), Vec::<Vec<String>>::new());
}
