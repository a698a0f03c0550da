use drawhall_protocol::reply::SessionDescription;
use proptest::prelude::*;
use serde_json::{Value, json};

mod table;

use super::*;
use crate::config::ini;
use crate::rules::login::AccountCheck;
use crate::rules::login::NameAnswer;
use crate::rules::session::Refusal;

pub(super) const SID: &str = "0123456789abcdef0123456789abcdef";

pub(super) struct Login {
    pub(super) machine: LoginMachine,
    source: LoginSource,
    pub(super) effects: Vec<LoginEffect>,
}

/// The answer to where the session is.
fn found_session(id: Option<&str>) -> LoginInput {
    LoginInput::SessionFound(id.map(|id| (id.to_owned(), ProtocolVersion::current())))
}

pub(super) fn rules(config: &str) -> Arc<Rules> {
    let (rules, errors) = Rules::new(ini::parse(config.as_bytes()), None, "Example.org".into());
    assert!(errors.is_empty(), "{errors:?}");
    Arc::new(rules)
}

impl Login {
    fn new(config: &str) -> Login {
        Self::from("192.0.2.7", config)
    }

    fn from(address: &str, config: &str) -> Login {
        let address = address.parse().unwrap();
        let arrival = Arrival {
            conn: 1,
            address,
            browser: false,
            encrypted: false,
            must_encrypt: false,
            proxied: false,
            rng_seed: 0,
            utc_ms: 1_795_241_572_000,
        };
        Self::arrived(arrival, config)
    }

    fn arrived(arrival: Arrival, config: &str) -> Login {
        Self::with_rules(arrival, rules(config))
    }

    fn with_rules(arrival: Arrival, rules: Arc<Rules>) -> Login {
        let (machine, greeting) = LoginMachine::new(rules, &arrival);
        Login { machine, source: LoginSource::new(&arrival), effects: vec![greeting] }
    }

    /// Gives the machine an input; its effects replace those of the input before.
    fn give(&mut self, input: LoginInput) {
        let mut cx = self.source.cx();
        self.machine.handle(input, &mut cx);
        self.effects = cx.effects;
    }

    /// The session to join was found, or there is none.
    fn session_found(&mut self, id: Option<&str>) {
        self.give(found_session(id));
    }

    pub(super) fn command(&mut self, cmd: &str, args: Value, kwargs: Value) -> &mut Self {
        let raw = json!({"cmd": cmd, "args": args, "kwargs": kwargs});
        self.give(LoginInput::Command(RawCommand::parse(raw.to_string().as_bytes())));
        self
    }

    pub(super) fn ident(&mut self, name: &str) -> &mut Self {
        self.command("ident", json!([name]), json!({}))
    }

    pub(super) fn account(&mut self, check: AccountCheck) -> &mut Self {
        self.give(LoginInput::Account(check));
        self
    }

    fn replies(&self) -> Vec<Value> {
        let replies = self.effects.iter().filter_map(|e| match e {
            LoginEffect::Send(reply) => Some(serde_json::to_value(reply).unwrap()),
            _ => None,
        });
        replies.collect()
    }

    /// Code of the error, and whether the connection ends.
    fn error(&self) -> (String, bool) {
        let code = self.replies().iter().find_map(|r| r["code"].as_str().map(str::to_owned));
        (code.unwrap_or_default(), self.ends())
    }

    fn ends(&self) -> bool {
        self.effects.iter().any(|e| matches!(e, LoginEffect::Disconnect { .. }))
    }

    fn state_of_result(&self) -> String {
        let result = self.replies().into_iter().find(|r| r["type"] == "result");
        result.map_or(String::new(), |r| r["state"].as_str().unwrap_or_default().to_owned())
    }

    fn goodbye(&self) -> Option<&str> {
        self.effects.iter().find_map(|e| match e {
            LoginEffect::Disconnect { message, .. } => Some(message.as_str()),
            _ => None,
        })
    }

    fn enters_lobby(&self) -> Option<(bool, bool, bool)> {
        self.effects.iter().find_map(|e| match e {
            LoginEffect::EnterLobby { moderator, list_now, list_changes } => {
                Some((*moderator, *list_now, *list_changes))
            }
            _ => None,
        })
    }
}

fn fails(code: &str) -> (String, bool) {
    (code.to_owned(), true)
}

pub(super) fn info() -> Value {
    json!({"app_version": "2.3.1-beta", "protocol_version": "dp:4.25.1", "os": "linux", "s": SID, "m": "x"})
}

pub(super) fn ok(flags: &[&str]) -> AccountCheck {
    let flags = flags.iter().map(|f| (*f).to_owned()).collect();
    AccountCheck::Ok { auth_id: "internal:n".into(), flags }
}

const ACCOUNTS: &str = "[users]\nn:plain;p:\n";

#[test]
fn the_greeting_says_what_is_possible() {
    let greeting = |config: &str| Login::new(config).replies().remove(0);
    let plain = greeting("");
    assert_eq!(plain["flags"], json!(["MULTI", "AVATAR", "MBANIMPEX", "LOOKUP", "CINFO"]));
    assert_eq!(plain["methods"], json!({"guest": {"actions": ["join", "host"]}}));
    assert_eq!((&plain["version"], plain.get("info")), (&json!(4), None));
    let other = greeting(
        "sessionCountLimit=1\npersistence=true\nallowGuests=false\ncustomAvatars=false\nruleText= be nice \n\
         loginInfoUrl=https://example.org\n[users]\nn:plain;p:\n",
    );
    assert_eq!(other["flags"], json!(["PERSIST", "NOGUEST", "MBANIMPEX", "LOOKUP", "CINFO"]));
    assert_eq!(other["methods"], json!({"auth": {"actions": ["join", "host"]}}));
    assert_eq!((&other["rules"], &other["info"]), (&json!("be nice"), &json!("https://example.org")));
    let joins = greeting("allowGuestHosts=false");
    assert_eq!(joins["methods"]["guest"]["actions"], json!(["join"]));
}

#[test]
fn unexpected_commands_end_the_connection() {
    for command in ["host", "join", "startTls", "report", "", "kick-user"] {
        let mut login = Login::new("");
        login.command(command, json!([]), json!({}));
        assert_eq!((login.goodbye(), login.machine.state()), (Some("invalid message"), LoginState::Ignore));
        login.ident("x");
        assert!(login.effects.is_empty(), "nothing is answered any more");
    }
    let mut login = Login::new("");
    login.ident("x").ident("y");
    assert_eq!(login.goodbye(), Some("invalid message"));
}

#[test]
fn names_must_be_valid_and_not_forbidden() {
    let mut login = Login::new("");
    assert_eq!(login.ident("").error(), fails("badUsername"));
    assert_eq!(Login::new("").ident("a\"b").error(), fails("badUsername"));
    assert_eq!(Login::new("").command("ident", json!([]), json!({})).error(), fails("syntax"));
    assert_eq!(Login::new("").command("ident", json!([1, 2, 3]), json!({})).error(), fails("syntax"));
    assert_eq!(Login::new("forbiddenNameRegex=evil").ident("Evil").error(), fails("forbiddenUsername"));
    assert_eq!(
        Login::new("").command("ident", json!(["x"]), json!({"intent": "?"})).error(),
        fails("identError")
    );
}

#[test]
fn guests_log_in_whatever_password_they_give() {
    let mut login = Login::new("");
    login.command("ident", json!(["x", "password"]), json!({"intent": "guest"}));
    let result = &login.replies()[0];
    assert_eq!(
        (&result["state"], &result["guest"], &result["ident"]),
        (&json!("identOk"), &json!(true), &json!("x"))
    );
    assert_eq!(result["flags"], json!(["HOST", "WEB", "WEBSESSION", "WEBHOST"]));
    assert_eq!(login.enters_lobby(), Some((false, true, true)));
}

#[test]
fn the_users_intent_must_fit_and_is_asked_again() {
    let mut login = Login::new("");
    login.command("ident", json!(["x"]), json!({"intent": "auth"}));
    let mismatch = &login.replies()[0];
    assert_eq!((&mismatch["intent"], &mismatch["method"]), (&json!("auth"), &json!("guest")));
    assert_eq!(login.ident("x").state_of_result(), "identOk");
    let mut login = Login::new(ACCOUNTS);
    login.command("ident", json!(["n", "p"]), json!({"intent": "guest"}));
    assert_eq!(login.account(ok(&[])).state_of_result(), "intentMismatch");
}

#[test]
fn accounts_need_their_password_and_may_try_ten_times() {
    let mut login = Login::new(ACCOUNTS);
    login.ident("n");
    assert!(login.machine.is_waiting());
    assert_eq!(login.account(AccountCheck::BadPassword).state_of_result(), "needPassword");
    for attempt in 1..=10 {
        login.command("ident", json!(["n", "wrong"]), json!({}));
        let expected = ("badPassword".to_owned(), attempt == 10);
        assert_eq!(login.account(AccountCheck::BadPassword).error(), expected);
    }
    let mut login = Login::new(ACCOUNTS);
    assert_eq!(login.ident("n").account(AccountCheck::Locked).error(), fails("bannedName"));
    let mut login = Login::new(ACCOUNTS);
    login.command("ident", json!(["n", "p"]), json!({"extauth": "token"}));
    assert_eq!(login.account(ok(&[])).error(), fails("extAuthError"));
}

#[test]
fn without_guests_an_unknown_name_is_a_wrong_password() {
    let config = format!("allowGuests=false\n{ACCOUNTS}");
    let mut login = Login::new(&config);
    assert_eq!(login.ident("x").account(AccountCheck::NotFound).state_of_result(), "needPassword");
    login.command("ident", json!(["x", "p"]), json!({}));
    assert_eq!(login.account(AccountCheck::NotFound).error(), ("badPassword".into(), false));
}

#[test]
fn account_flags_and_settings_decide_the_rights() {
    let config = format!("allowGuestHosts=false\nallowGuestWeb=false\n{ACCOUNTS}");
    let mut login = Login::new(&config);
    login.ident("n").account(ok(&["MOD", "CUSTOM"]));
    assert_eq!(login.replies()[0]["flags"], json!(["MOD", "CUSTOM", "WEBSESSION", "WEBHOST", "PERSIST"]));
    assert_eq!(login.enters_lobby(), Some((true, true, true)));
    assert!(login.machine.client().moderator && !login.machine.client().ghost);
}

#[test]
fn ghosts_must_be_permitted_and_moderators() {
    let permitted = format!("enableGhosts=true\n{ACCOUNTS}");
    let refused = |config: &str, flags: &[&str]| Login::new(config).ident("n").account(ok(flags)).error();
    assert_eq!(refused(ACCOUNTS, &["MOD", "GHOST"]), fails("ghostsNotAllowed"));
    assert_eq!(refused(&permitted, &["GHOST"]), fails("ghostWithoutMod"));
    let mut login = Login::new(&permitted);
    login.ident("n").account(ok(&["MOD", "GHOST"]));
    assert!(login.machine.client().ghost);
    login.command("host", json!([]), json!({"protocol": "dp:4.25.1", "user_id": 1, "s": SID}));
    assert_eq!(login.error(), fails("ghostHost"));
}

#[test]
fn client_info_is_checked_once_and_must_stay_the_same() {
    let mut login = Login::new("");
    login.command("cinfo", json!(["h", info()]), json!({}));
    assert_eq!(login.replies()[0]["cinfo"], json!({"browser": false}));
    assert_eq!(login.command("cinfo", json!(["h", info()]), json!({})).error(), fails("cinfoAlreadyDone"));
    assert_eq!(Login::new("").command("cinfo", json!(["h"]), json!({})).error(), fails("syntax"));
    let with = |key: &str, value: &str| {
        let mut changed = info();
        changed[key] = value.into();
        changed
    };
    for version in ["two", "2.3", "2..1", "", "x2.3.1"] {
        let mut login = Login::new("");
        login.command("cinfo", json!(["h", with("app_version", version)]), json!({}));
        assert_eq!(login.error(), fails("badversion"), "{version}");
    }
    for sid in ["", "short", &format!("{SID}/x"), &format!("{SID}g")] {
        let mut login = Login::new("");
        login.command("cinfo", json!(["h", with("s", sid)]), json!({}));
        assert_eq!(login.goodbye(), Some("invalid message"), "{sid}");
    }
    let mut login = Login::new("");
    login.command("cinfo", json!(["h", with("s", &format!("{SID}/{SID}"))]), json!({}));
    assert_eq!(login.machine.client().identity.sid, SID, "the first of two counts");
    let mut login = Login::new("");
    login.command("cinfo", json!(["h", info()]), json!({})).ident("x");
    login.command("host", json!([]), with("os", "other"));
    assert_eq!(login.goodbye(), Some("invalid message"));
}

#[test]
fn the_host_name_must_match_where_that_is_required() {
    let mut login = Login::new("");
    login.command("cinfo", json!(["elsewhere", info()]), json!({}));
    assert!(!login.ends(), "only logged");
    let mut login = Login::new("requireMatchingHost=true");
    assert_eq!(login.ident("x").error(), fails("clientInfoUnsupported"));
    let mut login = Login::new("requireMatchingHost=true");
    login.command("cinfo", json!(["elsewhere", info()]), json!({}));
    assert_eq!(login.error(), fails("mismatchedHostName"));
    let mut login = Login::new("requireMatchingHost=true");
    login.command("cinfo", json!(["EXAMPLE.ORG", info()]), json!({}));
    assert_eq!((login.ends(), login.machine.state()), (false, LoginState::WaitForIdent));
}

fn found() -> LookupAnswer {
    let description = SessionDescription { id: "id".into(), ..SessionDescription::default() };
    LookupAnswer::Found(Box::new(description))
}

#[test]
fn look_ups_are_mandatory_where_the_server_says_so() {
    for config in ["mandatoryLookup=true", "minimumProtocolVersion=dp:4.24.0"] {
        assert_eq!(Login::new(config).ident("x").error(), fails("clientLookupUnsupported"));
    }
    assert_eq!(Login::new("minimumProtocolVersion=dp:4.20.1").ident("x").state_of_result(), "identOk");
    let empty = |config: &str| Login::new(config).command("lookup", json!([""]), json!({})).error();
    assert_eq!(empty("mandatoryLookup=true"), fails("lookupRequired"));
    assert_eq!(empty(""), (String::new(), false));
}

#[test]
fn a_look_up_pins_the_client_to_what_it_looked_up() {
    let mut login = Login::new("");
    login.command("lookup", json!(["alias:secret"]), json!({}));
    let asked = matches!(&login.effects[0], LoginEffect::LookUp { session, invite, .. } if session == "alias" && invite == "secret");
    assert!(asked);
    login.give(LoginInput::LookedUp(found()));
    assert_eq!(login.replies()[0]["session"]["id"], json!("id"));
    assert_eq!(login.command("lookup", json!([]), json!({})).error(), fails("lookupAlreadyDone"));

    let looked_up = || {
        let mut login = Login::new("");
        login.command("lookup", json!(["alias:secret"]), json!({}));
        login.give(LoginInput::LookedUp(found()));
        login.ident("x");
        assert_eq!(login.enters_lobby(), Some((false, false, true)), "no list after a look-up");
        login
    };
    let mut login = looked_up();
    login.command("host", json!([]), json!({"protocol": "dp:4.25.1", "user_id": 1, "s": SID}));
    assert_eq!(login.error(), fails("lookupHostMismatch"));
    let mut login = looked_up();
    login.command("join", json!(["other"]), json!({"s": SID}));
    login.session_found(Some("other"));
    assert_eq!(login.error(), fails("lookupMismatch"));
    let mut login = looked_up();
    login.command("join", json!(["alias"]), json!({"s": SID}));
    login.session_found(Some("id"));
    assert!(matches!(&login.effects[0], LoginEffect::Join(request) if request.invite == "secret"));
}

#[test]
fn a_look_up_that_finds_nothing_ends_the_connection() {
    let mut login = Login::new("");
    login.command("lookup", json!(["x"]), json!({}));
    login.give(LoginInput::LookedUp(LookupAnswer::NotFound));
    assert_eq!(login.error(), fails("lookupFailed"));
    let mut login = Login::new("");
    login.command("lookup", json!(["x:y"]), json!({}));
    login.give(LoginInput::LookedUp(LookupAnswer::Refused(Refusal::error("inviteNotFound", "no"))));
    assert_eq!(login.error(), fails("inviteNotFound"));
    assert_eq!(Login::new("").command("lookup", json!([1, 2]), json!({})).error(), fails("syntax"));
}

#[test]
fn hosting_is_checked_in_order() {
    let host = |config: &str, changes: Value| {
        let mut login = Login::new(config);
        login.ident("x");
        let mut kwargs = json!({"protocol": "dp:4.25.1", "user_id": 1, "s": SID});
        for (key, value) in changes.as_object().unwrap() {
            kwargs[key] = value.clone();
        }
        login.command("host", json!([]), kwargs);
        login
    };
    let code = |config: &str, changes: Value| host(config, changes).error();
    assert_eq!(code("allowGuestHosts=false", json!({})), fails("unauthorizedHost"));
    assert_eq!(code("", json!({"protocol": "nonsense", "user_id": 0})), fails("syntax"));
    assert_eq!(code("", json!({"user_id": 255})), fails("syntax"));
    assert_eq!(code("", json!({"alias": "bad alias"})), fails("badAlias"));
    assert_eq!(host("", json!({"s": ""})).goodbye(), Some("invalid message"));
    assert!(!host("", json!({"s": "", "protocol": "dp:4.21.2"})).ends(), "old clients have no system id");
    let started = host("", json!({"alias": "good"}));
    let asked = matches!(&started.effects.last(), Some(LoginEffect::Host { protocol, .. }) if *protocol == ProtocolVersion::current());
    assert!(asked);
    let minimum = "minimumProtocolVersion=dp:4.23.0";
    let refused = |protocol: &str| {
        let mut login = Login::new(minimum);
        login.ident("x").command("host", json!([]), json!({"protocol": protocol, "user_id": 1, "s": SID}));
        login.error()
    };
    assert_eq!(refused("dp:4.21.2"), fails("protoverold"));
    assert_eq!(refused("xy:4.25.1"), fails("protoverns"));
}

#[test]
fn the_server_may_refuse_to_host() {
    for (refusal, code) in [
        (HostRefusal::Full, "closed"),
        (HostRefusal::IdInUse, "idInUse"),
        (HostRefusal::BadProtocol, "badProtocol"),
        (HostRefusal::TooManyOfAddress, "tooManySessions"),
        (HostRefusal::NoSpace, "noSpace"),
        (HostRefusal::Draining, "closed"),
    ] {
        let mut login = Login::new("");
        login.ident("x").command("host", json!([]), json!({"protocol": "dp:4.25.1", "user_id": 1, "s": SID}));
        login.give(LoginInput::HostRefused(refusal));
        assert_eq!(login.error(), fails(code));
    }
}

#[test]
fn joining_needs_a_session_and_ends_after_ten_wrong_passwords() {
    let mut login = Login::new("");
    login.ident("x");
    assert_eq!(login.command("join", json!([]), json!({})).error(), fails("syntax"));
    let mut login = Login::new("");
    login.ident("x").command("join", json!(["id"]), json!({}));
    login.session_found(None);
    assert_eq!(login.error(), fails("notFound"));
    let mut login = Login::new("");
    login.ident("x");
    for attempt in 1..=10 {
        login.command("join", json!(["id"]), json!({"s": SID, "password": "wrong"}));
        login.session_found(Some("id"));
        login.give(LoginInput::Refused(Refusal::BadPassword));
        assert_eq!(login.error(), ("badPassword".into(), attempt == 10));
    }
}

#[test]
fn a_banned_address_or_system_is_stopped_when_it_hosts_or_joins() {
    let host = json!({"protocol": "dp:4.25.1", "user_id": 1, "s": SID});
    let mut login = Login::from("192.0.2.7", "[ipbans]\n192.0.2.0/24\n");
    assert_eq!(login.ident("x").state_of_result(), "identOk");
    login.command("host", json!([]), host.clone());
    assert_eq!(login.goodbye(), Some("Permanently banned from this server"));
    for (reaction, goodbye) in
        [("neterror", Some("Network error: no route to host")), ("hang", None), ("garbage", None)]
    {
        let mut login = Login::new(&format!("[systembans]\n{SID}:{reaction}\n"));
        login.ident("x").command("host", json!([]), host.clone());
        assert_eq!((login.goodbye(), login.machine.state()), (goodbye, LoginState::Ignore), "{reaction}");
    }
    let mut login = Login::new(&format!("[systembans]\n{SID}:timer\n"));
    login.ident("x").command("host", json!([]), host);
    assert!(matches!(login.effects[..], [.., LoginEffect::CutAfter(1000..5000), LoginEffect::Host { .. }]));
}

#[test]
fn a_ban_strikes_after_all_reasons_that_the_session_has() {
    let mut login = Login::new("[ipbans]\n192.0.2.7\n");
    login.ident("x").command("join", json!(["id"]), json!({"s": SID}));
    login.session_found(Some("id"));
    assert!(matches!(&login.effects[0], LoginEffect::Join(request) if request.server_ban));
    login.give(LoginInput::Refused(Refusal::ServerBan));
    assert_eq!(login.goodbye(), Some("Permanently banned from this server"));
}

#[test]
fn names_of_no_account_are_not_logged_with_a_failed_login() {
    let logged = |login: &Login| {
        let texts = login.effects.iter().filter_map(|e| match e {
            LoginEffect::Log(_, _, text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect::<String>()
    };
    let mut login = Login::new("allowGuests=false\n[users]\nn:plain;p:\n");
    login.command("ident", json!(["hunter2", "x"]), json!({})).account(AccountCheck::NotFound);
    assert!(logged(&login).contains("attempt 1/10") && !logged(&login).contains("hunter2"));
    login.command("ident", json!(["n", "x"]), json!({})).account(AccountCheck::BadPassword);
    assert!(logged(&login).contains("account n (attempt 2/10)"));
    login.ident("hunter2 ").account(AccountCheck::NotFound);
    assert!(logged(&login).contains("invalid username") && !logged(&login).contains("hunter2"));
}

#[test]
fn exempt_accounts_are_not_subject_to_address_bans() {
    let config = format!("[ipbans]\n192.0.2.7\n{ACCOUNTS}");
    for flags in [["MOD"], ["BANEXEMPT"]] {
        let mut login = Login::new(&config);
        login.ident("n").account(ok(&flags));
        login.command("host", json!([]), json!({"protocol": "dp:4.25.1", "user_id": 1, "s": SID}));
        assert_eq!(login.goodbye(), None);
    }
}

fn any_command() -> impl Strategy<Value = Value> {
    let word =
        prop::sample::select(vec!["cinfo", "lookup", "ident", "host", "join", "report", "startTls", "x"]);
    let value = prop_oneof![
        Just(json!("x")),
        Just(json!("")),
        Just(json!(SID)),
        Just(json!("dp:4.25.1")),
        Just(json!(1)),
        Just(json!(null)),
        Just(info()),
    ];
    let keys = prop::sample::select(vec!["s", "protocol", "user_id", "alias", "password", "intent"]);
    (word, prop::collection::vec(value.clone(), 0..3), prop::collection::btree_map(keys, value, 0..5))
        .prop_map(|(cmd, args, kwargs)| json!({"cmd": cmd, "args": args, "kwargs": kwargs}))
}

proptest! {
    /// Whatever is sent, nobody hosts or joins before having logged in, and a machine that ignores stays silent.
    #[test]
    fn no_sequence_of_commands_gets_past_the_login(
        commands in prop::collection::vec(any_command(), 1..12),
        config in prop::sample::select(vec!["", "mandatoryLookup=true", "allowGuests=false\n[users]\nn:plain;p:\n"]),
    ) {
        let mut login = Login::new(config);
        let mut logged_in = false;
        for command in commands {
            let before = login.machine.state();
            login.give(LoginInput::Command(RawCommand::parse(command.to_string().as_bytes())));
            while login.machine.is_waiting() {
                prop_assert!(before != LoginState::Ignore);
                let answer = match login.effects.last() {
                    Some(LoginEffect::CheckAccount { .. }) => LoginInput::Account(AccountCheck::NotFound),
                    Some(LoginEffect::LookUp { .. }) => LoginInput::LookedUp(LookupAnswer::NotFound),
                    Some(LoginEffect::FindSession { .. }) => found_session(Some("id")),
                    Some(LoginEffect::Join(_)) => LoginInput::Refused(Refusal::BadPassword),
                    Some(LoginEffect::Host { .. }) => LoginInput::HostRefused(HostRefusal::Full),
                    other => return Err(TestCaseError::fail(format!("waits for nothing: {other:?}"))),
                };
                login.give(answer);
                let enters = login.effects.iter().any(|e| matches!(e, LoginEffect::Join(_)));
                prop_assert!(!enters || logged_in);
            }
            logged_in |= login.enters_lobby().is_some();
            prop_assert!(!logged_in || !config.contains("allowGuests"), "no guest where there are none");
            if before == LoginState::Ignore {
                prop_assert!(login.effects.is_empty());
            }
        }
    }
}

/// What somebody does who tries to get in, and what others answer, rightly or not.
#[derive(Debug, Clone)]
enum Attempt {
    Command(Value),
    Answer(usize),
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let names = prop::sample::select(vec!["n", "guest", "x"]);
    let ident = (names, any::<bool>(), prop::sample::select(vec!["", "guest", "auth", "extauth"])).prop_map(
        |(name, password, intent)| {
            let args = if password { json!([name, "p"]) } else { json!([name]) };
            json!({"cmd": "ident", "args": args, "kwargs": {"intent": intent}})
        },
    );
    let s = prop::sample::select(vec![SID, BANNED, "", "x"]);
    let host = (s.clone(), prop::sample::select(vec!["dp:4.25.1", "dp:4.20.1", "xy:4.25.1", "x"])).prop_map(
        |(s, protocol)| json!({"cmd": "host", "kwargs": {"protocol": protocol, "user_id": 1, "s": s}}),
    );
    let join = s.prop_map(|s| json!({"cmd": "join", "args": ["id"], "kwargs": {"s": s, "password": "p"}}));
    let other = prop::sample::select(vec![
        json!({"cmd": "startTls"}),
        json!({"cmd": "lookup"}),
        json!({"cmd": "lookup", "args": ["id"]}),
        json!({"cmd": "lookup", "args": [""]}),
        json!({"cmd": "cinfo", "args": ["Example.org", info()]}),
        json!({"cmd": "ident", "args": ["n"], "kwargs": {"extauth": "1.e30=.AAAA"}}),
    ]);
    prop_oneof![
        4 => ident.prop_map(Attempt::Command),
        2 => host.prop_map(Attempt::Command),
        3 => join.prop_map(Attempt::Command),
        3 => other.prop_map(Attempt::Command),
        8 => (0usize..7).prop_map(Attempt::Answer),
    ]
}

/// A system id that is banned.
const BANNED: &str = "0000000000000000000000000000dead";

impl Login {
    /// Answers what the machine waits for; the accounts that were confirmed are noted with their flags.
    fn answer(&mut self, which: usize, confirmed: &mut Vec<Vec<String>>) {
        let checks = [
            AccountCheck::NotFound,
            AccountCheck::Locked,
            AccountCheck::BadPassword,
            ok(&[]),
            ok(&["MOD", "HOST"]),
            ok(&["HOST", "BANEXEMPT"]),
            ok(&["MOD", "GHOST"]),
        ];
        let waits_for = self.effects.iter().rev().find(|e| !matches!(e, LoginEffect::Log(..)));
        let answer = match waits_for {
            Some(LoginEffect::CheckAccount { .. }) => {
                if let AccountCheck::Ok { flags, .. } = &checks[which] {
                    confirmed.push(flags.clone());
                }
                LoginInput::Account(checks[which].clone())
            }
            Some(LoginEffect::QueryExtAuth { .. }) => LoginInput::ExtAuth(match which {
                0 => NameAnswer::Account,
                1 => NameAnswer::Guest,
                2 => NameAnswer::OutGroup,
                3 => NameAnswer::Banned,
                4 => NameAnswer::Other("x".into()),
                _ => NameAnswer::Unavailable,
            }),
            Some(LoginEffect::LookUp { .. }) if which < 5 => {
                let session = SessionDescription { id: "id".into(), ..SessionDescription::default() };
                LoginInput::LookedUp(LookupAnswer::Found(Box::new(session)))
            }
            Some(LoginEffect::LookUp { .. }) => LoginInput::LookedUp(LookupAnswer::NotFound),
            Some(LoginEffect::FindSession { .. }) => found_session((which < 6).then_some("id")),
            Some(LoginEffect::Join(_)) => LoginInput::Refused(Refusal::BadPassword),
            Some(LoginEffect::Host { .. }) => LoginInput::HostRefused(HostRefusal::Full),
            other => panic!("it waits for nothing: {other:?}"),
        };
        self.give(answer);
    }
}

/// Who gets in, and whether it may.
fn check_entry(effect: &LoginEffect, before: &Entered, config: &str) -> Result<(), TestCaseError> {
    let (client, hosts) = match effect {
        LoginEffect::Host { client, .. } => (&**client, true),
        LoginEffect::Join(request) => (&request.client, false),
        _ => return Ok(()),
    };
    let has = |flag: &str| before.confirmed.iter().any(|flags| flags.iter().any(|f| f == flag));
    prop_assert!(!client.identity.name.is_empty(), "nobody without a name");
    prop_assert!(!config.contains("allowGuests=false") || !client.identity.auth_id.is_empty(), "no guests");
    prop_assert!(
        client.identity.auth_id.is_empty() || !before.confirmed.is_empty(),
        "accounts were confirmed"
    );
    prop_assert!(!client.moderator || has("MOD"), "a moderator has the flag");
    prop_assert!(!client.ghost || config.contains("enableGhosts"), "no ghosts");
    prop_assert!(client.encrypted || !config.contains("TLS"), "nothing in clear");
    let looked_up = before.looked_up || !config.contains("mandatoryLookup");
    prop_assert!(hosts || looked_up, "only what was looked up is joined");
    if hosts {
        prop_assert!(!config.contains("allowGuestHosts=false") || has("HOST"), "who may host");
        prop_assert!(!client.ghost && !before.looked_up);
        prop_assert!(!config.contains("systembans") || client.identity.sid != BANNED, "nobody who is banned");
        prop_assert!(!config.contains("ipbans") || has("BANEXEMPT") || has("MOD"), "nobody from there");
    }
    if let LoginEffect::Join(request) = effect {
        let banned = config.contains("systembans") && client.identity.sid == BANNED;
        prop_assert!(!banned || request.server_ban, "the session is told of the ban");
    }
    Ok(())
}

/// Few of these sequences get far, so there are more than the usual 256; `PROPTEST_CASES` sets another number.
fn many() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2048);
    ProptestConfig { cases, ..ProptestConfig::default() }
}

#[derive(Default)]
struct Entered {
    /// Flags of the accounts that were confirmed.
    confirmed: Vec<Vec<String>>,
    looked_up: bool,
}

proptest! {
    #![proptest_config(many())]

    /// No sequence of inputs, and no answers of others, let anybody host or join who has no right to.
    #[test]
    fn nobody_gets_in_without_a_right(
        attempts in prop::collection::vec(attempt(), 1..40),
        config in prop::sample::select(vec![
            "",
            "mandatoryLookup=true\n",
            "allowGuests=false\n",
            "allowGuestHosts=false\nenableGhosts=true\n",
            "allowGuests=false\nallowGuestHosts=false\n",
            "minimumProtocolVersion=dp:4.24.0\n",
            "extauth=true\nallowGuestHosts=false\n",
            "# TLS\nallowGuestHosts=false\n",
            "[systembans]\n0000000000000000000000000000dead\n",
            "[ipbans]\n192.0.2.0/24\n",
        ]),
        rng_seed: u64,
    ) {
        let must_encrypt = config.contains("TLS");
        let address = "192.0.2.7".parse().unwrap();
        let arrival = Arrival { conn: 1, address, browser: false, encrypted: false, must_encrypt, proxied: false, rng_seed, utc_ms: 0 };
        let mut rules = Arc::unwrap_or_clone(rules(&format!("{config}[users]\nn:plain;p:\n")));
        rules.extauth_url = Some("https://auth.example.org/".into());
        let mut login = Login::with_rules(arrival, Arc::new(rules));
        let mut entered = Entered::default();
        for attempt in attempts {
            let waits = login.machine.is_waiting();
            match attempt {
                Attempt::Command(command) if !waits => {
                    login.give(LoginInput::Command(RawCommand::parse(command.to_string().as_bytes())));
                }
                Attempt::Answer(which) if waits => login.answer(which, &mut entered.confirmed),
                _ => continue,
            }
            for effect in &login.effects {
                check_entry(effect, &entered, config)?;
            }
            let found = login.replies().iter().any(|r| r["session"]["id"] == "id");
            entered.looked_up |= found;
        }
    }
}
