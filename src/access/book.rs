//! Users and tokens, as they are kept in `accounts.json`, and what may be done with them. Pure: secrets come hashed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::password::{self, Hash};
use super::session::Secret;
use crate::model::access::{Role, Scope};

/// Users and tokens at most, each.
const MOST: usize = 200;

/// Somebody who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// `user anna`, `token prometheus`.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// For which tenants.
    pub scope: Scope,
    /// The user who is logged in; none: a program with a token.
    pub user: Option<String>,
}

/// What somebody may do, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// What.
    pub role: Role,
    /// For which tenants.
    #[serde(default)]
    pub tenants: Scope,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Book {
    users: BTreeMap<String, User>,
    tokens: BTreeMap<String, Token>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    #[serde(flatten)]
    grant: Grant,
    password: Hash,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Token {
    #[serde(flatten)]
    grant: Grant,
    sha256: Secret,
}

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not as it must be.
    #[error("{0}")]
    Bad(String),
    /// There is one of that name.
    #[error("there is one of this name already; choose another name, or delete that one first")]
    Taken,
    /// There is none.
    #[error("there is none of this name")]
    Unknown,
    /// It gives or takes more than who asks has.
    #[error("it is beyond your own tenants; ask an administrator of all tenants")]
    Beyond,
    /// Nobody would be left to make users.
    #[error("this is the last administrator of all tenants; make another one first")]
    Last,
    /// There are very many.
    #[error("there are {MOST} already; delete what nobody needs")]
    Full,
}

impl Book {
    /// Whether nobody has ever been made: the box waits for its first administrator.
    pub fn is_new(&self) -> bool {
        !self.users.values().any(|user| user.grant.is_full())
    }

    /// Somebody who is logged in.
    pub fn user(&self, name: &str) -> Option<Who> {
        let grant = &self.users.get(name)?.grant;
        let shown = format!("user {name}");
        Some(Who { name: shown, role: grant.role, scope: grant.tenants.clone(), user: Some(name.to_owned()) })
    }

    /// A program with a token.
    pub fn token(&self, secret: &Secret) -> Option<Who> {
        let (name, token) = self.tokens.iter().find(|(_, token)| token.sha256 == *secret)?;
        Some(Who { name: format!("token {name}"), role: token.grant.role, scope: token.grant.tenants.clone(), user: None })
    }

    /// What is kept of a user's password.
    pub fn password(&self, name: &str) -> Option<Hash> {
        self.users.get(name).map(|user| user.password.clone())
    }

    /// The users that `scope` may know of.
    pub fn users(&self, scope: &Scope) -> BTreeMap<String, Grant> {
        let known = self.users.iter().filter(|(_, user)| scope.includes(&user.grant.tenants));
        known.map(|(name, user)| (name.clone(), user.grant.clone())).collect()
    }

    /// The tokens that `scope` may know of.
    pub fn tokens(&self, scope: &Scope) -> BTreeMap<String, Grant> {
        let known = self.tokens.iter().filter(|(_, token)| scope.includes(&token.grant.tenants));
        known.map(|(name, token)| (name.clone(), token.grant.clone())).collect()
    }

    /// Whether there could be a user like that; asked before the password is hashed, which is dear.
    ///
    /// # Errors
    /// Why not.
    pub fn may_add(&self, by: &Scope, name: &str, grant: &Grant, password: &str) -> Result<(), Refusal> {
        check_name(name)?;
        password::check(name, password).map_err(Refusal::Bad)?;
        check_room(by, grant, self.users.contains_key(name), self.users.len())
    }

    /// Adds a user.
    ///
    /// # Errors
    /// As [`Book::may_add`].
    pub fn add_user(&mut self, by: &Scope, name: &str, grant: Grant, password: Hash) -> Result<(), Refusal> {
        check_room(by, &grant, self.users.contains_key(name), self.users.len())?;
        self.users.insert(name.to_owned(), User { grant, password });
        Ok(())
    }

    /// Adds a token.
    ///
    /// # Errors
    /// Why not.
    pub fn add_token(&mut self, by: &Scope, name: &str, grant: Grant, sha256: Secret) -> Result<(), Refusal> {
        check_name(name)?;
        check_room(by, &grant, self.tokens.contains_key(name), self.tokens.len())?;
        self.tokens.insert(name.to_owned(), Token { grant, sha256 });
        Ok(())
    }

    /// A user has a new password.
    ///
    /// # Errors
    /// There is no such user.
    pub fn set_password(&mut self, name: &str, password: Hash) -> Result<(), Refusal> {
        self.users.get_mut(name).ok_or(Refusal::Unknown)?.password = password;
        Ok(())
    }

    /// Removes a user.
    ///
    /// # Errors
    /// Why not.
    pub fn remove_user(&mut self, by: &Scope, name: &str) -> Result<(), Refusal> {
        let user = self.users.get(name).filter(|user| by.includes(&user.grant.tenants)).ok_or(Refusal::Unknown)?;
        if user.grant.is_full() && self.users.values().filter(|user| user.grant.is_full()).count() == 1 {
            return Err(Refusal::Last);
        }
        self.users.remove(name);
        Ok(())
    }

    /// Removes a token.
    ///
    /// # Errors
    /// There is none that `by` may know of.
    pub fn remove_token(&mut self, by: &Scope, name: &str) -> Result<(), Refusal> {
        self.tokens.get(name).filter(|token| by.includes(&token.grant.tenants)).ok_or(Refusal::Unknown)?;
        self.tokens.remove(name);
        Ok(())
    }
}

impl Grant {
    /// Administrator of all tenants.
    pub fn full() -> Grant {
        Grant { role: Role::Admin, tenants: Scope::default() }
    }

    fn is_full(&self) -> bool {
        *self == Grant::full()
    }
}

/// Names stand in paths and log lines.
fn check_name(name: &str) -> Result<(), Refusal> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte));
    match is_plain && (1..=64).contains(&name.len()) && !name.starts_with('.') {
        true => Ok(()),
        false => Err(Refusal::Bad("a name has 1 to 64 letters, digits and -_.@, and begins with no dot".into())),
    }
}

fn check_room(by: &Scope, grant: &Grant, is_taken: bool, count: usize) -> Result<(), Refusal> {
    if !by.includes(&grant.tenants) {
        return Err(Refusal::Beyond);
    }
    if is_taken {
        return Err(Refusal::Taken);
    }
    if count >= MOST { Err(Refusal::Full) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::session::digest;
    use super::*;
    use crate::model::TenantId;

    fn grant(role: Role, tenants: &[&str]) -> Grant {
        Grant { role, tenants: Scope(Some(tenants.iter().map(|id| TenantId((*id).into())).collect())) }
    }

    fn hash() -> Hash {
        Hash::new("correct horse battery", [1; 16]).unwrap()
    }

    #[test]
    fn who_is_of_some_tenants_makes_and_sees_only_their_users() {
        let (all, mut book) = (Scope::default(), Book::default());
        assert!(book.is_new());
        book.add_user(&all, "root", Grant::full(), hash()).unwrap();
        assert!(!book.is_new());
        let own = grant(Role::Admin, &["101"]);
        book.add_user(&all, "anna", own.clone(), hash()).unwrap();
        book.add_user(&own.tenants, "ben", grant(Role::Viewer, &["101"]), hash()).unwrap();
        assert_eq!(book.add_user(&own.tenants, "eve", grant(Role::Viewer, &["102"]), hash()), Err(Refusal::Beyond));
        assert_eq!(book.add_token(&own.tenants, "eve", Grant::full(), digest("x")), Err(Refusal::Beyond));
        assert_eq!(book.users(&own.tenants).into_keys().collect::<Vec<_>>(), ["anna", "ben"]);
        assert_eq!(book.remove_user(&own.tenants, "root"), Err(Refusal::Unknown));
        book.remove_user(&own.tenants, "ben").unwrap();
        assert_eq!(book.user("ben"), None);
        assert_eq!(book.remove_user(&all, "root"), Err(Refusal::Last));
    }

    #[test]
    fn a_token_is_known_by_its_hash_and_the_book_by_its_text() {
        let mut book = Book::default();
        book.add_token(&Scope::default(), "prometheus", grant(Role::Viewer, &["101"]), digest("secret")).unwrap();
        let who = book.token(&digest("secret")).unwrap();
        assert_eq!((who.name.as_str(), who.role, who.user), ("token prometheus", Role::Viewer, None));
        assert_eq!(book.token(&digest("Secret")), None);
        let text = serde_json::to_string(&book).unwrap();
        assert!(!text.contains("\"secret\""), "{text}");
        assert_eq!(serde_json::from_str::<Book>(&text).unwrap(), book);
        assert_eq!(book.add_token(&Scope::default(), "prometheus", Grant::full(), digest("y")), Err(Refusal::Taken));
        book.remove_token(&Scope::default(), "prometheus").unwrap();
        assert_eq!(book.token(&digest("secret")), None);
    }

    #[test]
    fn a_name_is_no_path_and_a_password_no_name() {
        let book = Book::default();
        for name in ["", "../x", ".hidden", "a b", "a\nb", &"x".repeat(65)] {
            let refused = book.may_add(&Scope::default(), name, &Grant::full(), "correct horse battery");
            assert!(matches!(refused, Err(Refusal::Bad(_))), "{name:?}");
        }
        assert!(book.may_add(&Scope::default(), "anna", &Grant::full(), "short").is_err());
        book.may_add(&Scope::default(), "anna", &Grant::full(), "correct horse battery").unwrap();
    }
}
