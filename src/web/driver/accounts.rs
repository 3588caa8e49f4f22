//! `/api/v1/access`: the first use, logging in and out, users, tokens, and the audit log (docs/access.md).

use axum::extract::{Extension, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use serde_json::json;

use super::answers::{denied, note, problem};
use super::gate::{COOKIES, Caller, Known};
use crate::access::book::Grant;
use crate::access::driver::{Credential, Denied};
use crate::access::{Access, session};
use crate::clock::Now;
use crate::model::access::{Role, Scope};

/// Lines of the audit log in one answer.
const USUAL: usize = 100;
const MOST: usize = 1_000;

/// What the handlers know.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) access: Access,
    /// Whether the page is encrypted.
    pub(super) tls: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct First {
    code: String,
    name: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    name: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    old: String,
    new: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    name: String,
    password: String,
    role: Role,
    #[serde(default)]
    tenants: Scope,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    name: String,
    role: Role,
    #[serde(default)]
    tenants: Scope,
}

/// Which lines of the log.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lines {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

/// Who asks, as far as is known: what the page asks first.
pub(super) async fn me(State(desk): State<Desk>, Extension(caller): Extension<Caller>) -> Response {
    let first_use = desk.access.first_use().is_some();
    match caller.who {
        None => Json(json!({"firstUse": first_use, "name": null, "role": null, "tenants": null})).into_response(),
        Some(who) => {
            Json(json!({"firstUse": first_use, "name": who.name, "role": who.role, "tenants": who.scope, "user": who.user}))
                .into_response()
        }
    }
}

pub(super) async fn first(State(desk): State<Desk>, Extension(caller): Extension<Caller>, Json(first): Json<First>) -> Response {
    let begun = desk.access.begin(Now::read(), caller.from, &first.code, &first.name, &first.password).await;
    desk.welcome(begun, &first.name)
}

pub(super) async fn login(State(desk): State<Desk>, Extension(caller): Extension<Caller>, Json(login): Json<Login>) -> Response {
    let opened = desk.access.login(Now::read(), caller.from, &login.name, &login.password).await;
    desk.welcome(opened, &login.name)
}

impl Desk {
    fn welcome(&self, session: Result<String, Denied>, name: &str) -> Response {
        match session {
            Ok(secret) => {
                let cookie = self.cookie(&secret, session::LONGEST.as_secs());
                ([(header::SET_COOKIE, cookie)], Json(json!({"name": name}))).into_response()
            }
            Err(why) => denied(why),
        }
    }

    /// RFC 6265bis: for no script, no other site, and over TLS for nothing else.
    fn cookie(&self, secret: &str, seconds: u64) -> String {
        let (name, secure) = if self.tls { (COOKIES[0], "; Secure") } else { (COOKIES[1], "") };
        format!("{name}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
    }
}

pub(super) async fn logout(State(desk): State<Desk>, known: Known) -> Response {
    if let Credential::Session(secret) = &known.credential {
        desk.access.logout(secret);
    }
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, desk.cookie("", 0))]).into_response()
}

pub(super) async fn set_password(State(desk): State<Desk>, known: Known, Json(new): Json<NewPassword>) -> Response {
    let Some(user) = &known.who.user else {
        return problem(StatusCode::CONFLICT, "a token has no password; make another token instead");
    };
    match desk.access.set_password(Now::read(), known.from, user, &new.old, &new.new).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(Denied::Wrong) => problem(StatusCode::FORBIDDEN, "the old password is wrong"),
        Err(why) => denied(why),
    }
}

pub(super) async fn users(State(desk): State<Desk>, known: Known) -> Response {
    Json(json!({"users": desk.access.users(&known.who.scope)})).into_response()
}

pub(super) async fn tokens(State(desk): State<Desk>, known: Known) -> Response {
    Json(json!({"tokens": desk.access.tokens(&known.who.scope)})).into_response()
}

pub(super) async fn add_user(State(desk): State<Desk>, known: Known, Json(new): Json<NewUser>) -> Response {
    let grant = Grant { role: new.role, tenants: new.tenants };
    if let Err(answer) = note(&desk.access, &known, "add-user", &new.name, &shown(&grant)).await {
        return answer;
    }
    match desk.access.add_user(&known.who.scope, &new.name, grant.clone(), &new.password).await {
        Ok(()) => {
            (StatusCode::CREATED, Json(json!({"name": new.name, "role": grant.role, "tenants": grant.tenants}))).into_response()
        }
        Err(why) => denied(why),
    }
}

pub(super) async fn add_token(State(desk): State<Desk>, known: Known, Json(new): Json<NewToken>) -> Response {
    let grant = Grant { role: new.role, tenants: new.tenants };
    if let Err(answer) = note(&desk.access, &known, "add-token", &new.name, &shown(&grant)).await {
        return answer;
    }
    match desk.access.add_token(&known.who.scope, &new.name, grant.clone()).await {
        Ok(token) => {
            let said = json!({"name": new.name, "role": grant.role, "tenants": grant.tenants, "token": token});
            (StatusCode::CREATED, Json(said)).into_response()
        }
        Err(why) => denied(why),
    }
}

pub(super) async fn remove_user(State(desk): State<Desk>, known: Known, Path(name): Path<String>) -> Response {
    if let Err(answer) = note(&desk.access, &known, "remove-user", &name, "").await {
        return answer;
    }
    let removed = desk.access.remove_user(&known.who.scope, &name).await;
    removed.map_or_else(denied, |()| StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn remove_token(State(desk): State<Desk>, known: Known, Path(name): Path<String>) -> Response {
    if let Err(answer) = note(&desk.access, &known, "remove-token", &name, "").await {
        return answer;
    }
    let removed = desk.access.remove_token(&known.who.scope, &name).await;
    removed.map_or_else(denied, |()| StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn audit(State(desk): State<Desk>, known: Known, Query(lines): Query<Lines>) -> Response {
    if !known.who.scope.is_all() {
        return problem(StatusCode::FORBIDDEN, "the log tells of all tenants; ask an administrator of all of them");
    }
    let limit = lines.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return problem(StatusCode::BAD_REQUEST, &format!("limit is to be from 1 to {MOST}"));
    }
    match desk.access.audit(lines.after, limit).await {
        Ok(entries) => {
            let entries: Vec<_> = entries
                .into_iter()
                .filter_map(|(entry, hash)| {
                    let mut line = serde_json::to_value(entry).ok()?;
                    line["hash"] = hash.into();
                    Some(line)
                })
                .collect();
            Json(json!({"entries": entries})).into_response()
        }
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &format!("the audit log cannot be read: {error}")),
    }
}

fn shown(grant: &Grant) -> String {
    serde_json::to_string(grant).unwrap_or_default() // an enum and strings: cannot fail
}

/// Programs on the box itself may read the metrics without a token.
pub(super) fn may_see_metrics(caller: &Caller) -> bool {
    caller.from.is_loopback() || caller.who.as_ref().is_some_and(|who| who.scope.is_all())
}
