//! Endpoints `invitations` and `invitation`: links that make one account of a role each.
//!
//! The token is behind the `#` of the link, which browsers send to nobody; the page puts it into the request. The
//! database has its digest only.

use std::sync::Arc;

use actix_web::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::AdminState;
use super::endpoint::{Api, Call, Done, Json, Nothing};
use super::error::{ApiError, bad, not_found};
use super::login::{WhoIs, WithCookie};
use super::request::audit_sentence;
use super::roles::Role;
use super::value::{Number, Text, parsed};
use crate::db::invitations::{Invitation, UsedInvitation};
use crate::db::{Account, Database, time_text};
use crate::log::Topic;
use crate::rules::login::is_valid_name;
use crate::rules::time::{DAY_MS, Timestamp};
use crate::text::hex;

/// Days that an invitation is valid unless something else is asked for.
const DEFAULT_DAYS: i64 = 7;
/// Maximum length of the name of whoever is invited, in characters.
const MAX_NAME: usize = 100;

pub(super) fn endpoints(api: &mut Api) {
    api.get("invitations", "Invitations by link; newest first.", AdminState::list_invitations);
    api.post(
        "invitations",
        "Makes an invitation: a token that makes one account of a role.",
        AdminState::invite_somebody,
    )
    .locked_by("accounts");
    api.delete("invitations/{invitation}", "Withdraws an invitation.", AdminState::withdraw_invitation)
        .locked_by("accounts");
    api.post(
        "invitation",
        "What the token of an invitation is for; 410 if it was used or is over.",
        AdminState::look_at_invitation,
    )
    .is_for_login();
    api.post(
        "invitation/accept",
        "Makes the account of an invitation; sets the cookie of a login. 410 if it was used or is over.",
        AdminState::accept_invitation,
    )
    .locked_by("accounts")
    .is_for_login();
}

/// An invitation.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Invitation")]
struct InvitationAnswer {
    /// Id.
    id: i64,
    role: Option<Role>,
    /// Whom it is for.
    name: String,
    /// Who invites.
    author: String,
    /// When it was made, UTC.
    created: String,
    /// When it ends, UTC.
    expires: String,
    /// Name of the account that it has made; empty if it was not used.
    used_by: String,
    /// For the link, behind `#/invitation/`. Only in the answer that makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// The link, with the public address of the page (`--web-admin-url`). Only in the answer that makes it, and only where
    /// there is such an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

/// Invitations.
#[derive(Debug, Serialize, JsonSchema)]
struct InvitationList {
    invitations: Vec<InvitationAnswer>,
}

/// Whom to invite.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["role"]))]
struct NewInvitation {
    #[schemars(with = "Role")]
    role: Text,
    /// Whom it is for, at most 100 characters.
    name: Text,
    /// Days that it is valid; the default is 7.
    days: Number<1, 30>,
}

/// The path of an invitation.
#[derive(Debug, Deserialize, JsonSchema)]
struct InvitationPath {
    /// Id of the invitation.
    #[serde(deserialize_with = "parsed")]
    invitation: i64,
}

/// The token of an invitation.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["token"]))]
struct GivenToken {
    /// The part of the link behind `invitation/`.
    token: Text,
}

/// The token of an invitation, and the account to make.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["token", "username", "password"]))]
struct Acceptance {
    /// The part of the link behind `invitation/`.
    token: Text,
    /// User name.
    #[schemars(with = "String", length(min = 1, max = 22))]
    username: Text,
    /// Password.
    #[schemars(with = "String", length(min = 1))]
    password: Text,
}

/// What a token is for.
#[derive(Debug, Serialize, JsonSchema)]
struct Invited {
    role: Option<Role>,
    /// Whom it is for.
    name: String,
    /// Who invites.
    author: String,
}

/// The role that an invitation gives.
fn role_of(invitation: &Invitation) -> Option<Role> {
    let gives = |role: &Role| invitation.flags.iter().any(|flag| flag == role.flag());
    Role::ALL.into_iter().rev().find(gives)
}

fn digest(token: &str) -> String {
    hex(&Sha256::digest(token))
}

fn gone() -> ApiError {
    ApiError::new(StatusCode::GONE, "The invitation was used, or it is over; ask for another one")
}

impl InvitationAnswer {
    fn new(invitation: Invitation, token: Option<String>) -> InvitationAnswer {
        let role = role_of(&invitation);
        let Invitation { id, name, author, created, expires, used_by, .. } = invitation;
        InvitationAnswer { id, role, name, author, created, expires, used_by, token, link: None }
    }
}

impl AdminState {
    async fn list_invitations(self: Arc<Self>, _: Call) -> Result<Json<InvitationList>, ApiError> {
        let invitations = self.query_db(Database::invitations).await?;
        let invitations = invitations.into_iter().map(|one| InvitationAnswer::new(one, None)).collect();
        Ok(Json(InvitationList { invitations }))
    }

    async fn invite_somebody(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, NewInvitation>,
    ) -> Result<Json<InvitationAnswer>, ApiError> {
        let NewInvitation { role, name, days } = call.body;
        let role = Role::parse(&role).ok_or_else(|| bad("role: reader, moderator or administrator"))?;
        let name = name.at_most("name", MAX_NAME)?;
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(ApiError::internal)?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        let now = Timestamp::now().utc_ms;
        let invitation = Invitation {
            flags: vec![role.flag().to_owned()],
            name,
            author: call.who.author().to_owned(),
            created: time_text(now),
            expires: time_text(now + days.or("days", DEFAULT_DAYS)? * DAY_MS),
            ..Invitation::default()
        };
        let digest = digest(&token);
        let added = self.query_db(move |db| db.add_invitation(&invitation, &digest)).await?;
        let too_many = || ApiError::new(StatusCode::CONFLICT, "There are too many invitations");
        let added = added.ok_or_else(too_many)?;
        let text = format!("{} invited {} as {}", added.author, shown_name(&added.name), role.name());
        audit_sentence(Topic::Status, &text);
        let rules = self.rules();
        let page = rules.shared.page_url.as_deref().map(|page| page.trim_end_matches('/'));
        let link = page.map(|page| format!("{page}/#/invitation/{token}"));
        Ok(Json(InvitationAnswer { link, ..InvitationAnswer::new(added, Some(token)) }))
    }

    async fn withdraw_invitation(
        self: Arc<Self>,
        call: Call<InvitationPath>,
    ) -> Result<Json<Done>, ApiError> {
        let id = call.path.invitation;
        if !self.query_db(move |db| db.remove_invitation(id)).await? {
            return Err(not_found());
        }
        Ok(Done::deleted(id))
    }

    async fn look_at_invitation(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, GivenToken>,
    ) -> Result<Json<Invited>, ApiError> {
        let attempt = self.access.begin_attempt(call.who.source).await?;
        let digest = digest(&call.body.token);
        let now = Timestamp::now().utc_ms;
        let found = self.query_db(move |db| db.valid_invitation(&digest, now)).await?.ok_or_else(gone)?;
        attempt.refund();
        Ok(Json(Invited { role: role_of(&found), name: found.name, author: found.author }))
    }

    async fn accept_invitation(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, Acceptance>,
    ) -> Result<WithCookie<WhoIs>, ApiError> {
        let Acceptance { token, username, password } = call.body;
        let (name, digest) = (username.0, digest(&token));
        let attempt = self.access.begin_attempt(call.who.source).await?;
        if !is_valid_name(&name) {
            return Err(bad(if name.is_empty() { "Username required" } else { "Invalid username" }));
        }
        // One after another, and checked before the hash, which takes long: an invitation is good for one of them.
        let accepting = self.accepting.lock().await;
        let (asked, wanted, now) = (digest.clone(), name.clone(), Timestamp::now().utc_ms);
        let taken = |name: &str| bad(format!("There is an account '{name}' already"));
        let checked = self.query_db(move |db| {
            let is_valid = db.valid_invitation(&asked, now)?.is_some();
            Ok((is_valid, is_valid && db.has_account_like(&wanted)?))
        });
        match checked.await? {
            (false, _) => return Err(gone()),
            (true, true) => return Err(taken(&name)),
            (true, false) => {}
        }
        let hash = self.hash_password(password.0).await?;
        let account = Account { id: 0, name: name.clone(), hash, locked: false, flags: Vec::new() };
        let used = self.query_db(move |db| db.use_invitation(&digest, &account, now)).await?;
        let made = match used {
            UsedInvitation::Made(made) => made,
            UsedInvitation::Invalid => return Err(gone()),
            UsedInvitation::NameTaken => return Err(taken(&name)),
        };
        drop(accepting);
        // Failures count: with a valid token nobody should try many names.
        attempt.refund();
        self.account_changed(made.id).await?;
        let source = call.who.source.ip();
        audit_sentence(Topic::Status, &format!("{name} accepted an invitation, from {source}"));
        self.log_in_new_account(name, &call.http).await
    }
}

fn shown_name(name: &str) -> &str {
    if name.is_empty() { "somebody" } else { name }
}
