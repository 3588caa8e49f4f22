//! Accounts and audit log on a real disk.

use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const PASSWORD: &str = "correct horse battery";

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn begun(dir: &Path) -> (Access, String) {
    let access = Access::open(dir).unwrap();
    let code = access.first_use().unwrap();
    let session = access.begin(Now::read(), HERE, &code.to_lowercase().replace('-', " "), "anna", PASSWORD).await.unwrap();
    (access, session)
}

#[test]
fn the_first_administrator_is_made_once_by_the_code_and_outlasts_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let access = Access::open(dir.path()).unwrap();
        let code = access.first_use().unwrap();
        assert_eq!(access.begin(Now::read(), HERE, "AAAA-AAAA-AAAA", "anna", PASSWORD).await, Err(Denied::Wrong));
        let bad = access.begin(Now::read(), HERE, &code, "anna", "short").await;
        assert!(matches!(bad, Err(Denied::Refused(Refusal::Bad(_)))), "{bad:?}");
        let session = access.begin(Now::read(), HERE, &code, "anna", PASSWORD).await.unwrap();
        assert_eq!(access.who(Now::read(), &Credential::Session(session)).unwrap().name, "user anna");
        assert_eq!(access.begin(Now::read(), HERE, &code, "eve", PASSWORD).await, Err(Denied::InUse));
        drop(access);
        let access = Access::open(dir.path()).unwrap();
        assert_eq!(access.first_use(), None);
        assert_eq!(access.login(Now::read(), HERE, "anna", "wrong wrong wrong").await, Err(Denied::Wrong));
        assert_eq!(access.login(Now::read(), HERE, "nobody", PASSWORD).await, Err(Denied::Wrong));
        access.login(Now::read(), HERE, "anna", PASSWORD).await.unwrap();
        assert_eq!(access.refused()["wrong-password"], 2);
    });
    use std::os::unix::fs::PermissionsExt;
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
}

#[test]
fn who_is_removed_is_out_at_once_and_who_guesses_waits() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let (access, _) = begun(dir.path()).await;
        let all = Scope::default();
        let viewer = Grant { role: crate::model::access::Role::Viewer, tenants: all.clone() };
        access.add_user(&all, "ben", viewer.clone(), "another long one").await.unwrap();
        let session = Credential::Session(access.login(Now::read(), HERE, "ben", "another long one").await.unwrap());
        let token = Credential::Token(access.add_token(&all, "desk", viewer).await.unwrap());
        assert!(access.who(Now::read(), &session).is_some() && access.who(Now::read(), &token).is_some());
        access.remove_user(&all, "ben").await.unwrap();
        access.remove_token(&all, "desk").await.unwrap();
        assert!(access.who(Now::read(), &session).is_none() && access.who(Now::read(), &token).is_none());
        let now = Now::read();
        for _ in 0..6 {
            assert_eq!(access.login(now, HERE, "anna", "wrong wrong wrong").await, Err(Denied::Wrong));
        }
        assert!(matches!(access.login(now, HERE, "anna", PASSWORD).await, Err(Denied::Wait(_))));
        access.login(now, IpAddr::from([10, 0, 0, 9]), "anna", PASSWORD).await.unwrap();
        let did: Vec<String> = access.audit(0, 100).await.unwrap().into_iter().map(|(entry, _)| entry.did).collect();
        assert_eq!(did, ["first-use", "login", "login-throttled", "login"]);
        assert_eq!(access.audit(u64::MAX, 100).await.unwrap(), []);
    });
}

#[test]
fn a_new_password_ends_the_sessions_of_the_old() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let (access, session) = begun(dir.path()).await;
        let wrong = access.set_password(Now::read(), HERE, "anna", "wrong wrong wrong", "a wholly new one").await;
        assert_eq!(wrong, Err(Denied::Wrong));
        access.set_password(Now::read(), HERE, "anna", PASSWORD, "a wholly new one").await.unwrap();
        assert!(access.who(Now::read(), &Credential::Session(session)).is_none());
        assert_eq!(access.login(Now::read(), HERE, "anna", PASSWORD).await, Err(Denied::Wrong));
        access.login(Now::read(), HERE, "anna", "a wholly new one").await.unwrap();
    });
}

#[test]
fn damaged_accounts_are_set_aside_and_the_box_waits_for_its_first_administrator() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(ACCOUNTS), "{torn").unwrap();
    assert!(Access::open(dir.path()).unwrap().first_use().is_some());
    assert!(fs::read_dir(dir.path()).unwrap().any(|e| e.unwrap().file_name().to_string_lossy().contains("set-aside")));
}

#[test]
fn the_log_goes_on_behind_a_torn_line_and_a_changed_one_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit-000000000001.jsonl");
    let write = |n: u32| {
        let access = Access::open(dir.path()).unwrap();
        for _ in 0..n {
            block_on(access.note(deed("login", "anna", HERE))).unwrap();
        }
    };
    assert_eq!(verify(dir.path(), None).unwrap().lines, 0);
    write(3);
    let noted = verify(dir.path(), Some(2)).unwrap();
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, format!("{text}{{\"no\":4,\"ti")).unwrap();
    assert!(verify(dir.path(), None).unwrap_err().to_string().contains("jsonl:4: it is no whole line"));
    write(2);
    let verified = verify(dir.path(), Some(2)).unwrap();
    assert_eq!((verified.lines, &verified.asked), (5, &noted.asked));
    fs::write(&log, fs::read_to_string(&log).unwrap().replacen("anna", "anne", 1)).unwrap();
    assert!(verify(dir.path(), None).unwrap_err().to_string().contains("jsonl:1: its text is not the one"));
}
