use std::path::{Path, PathBuf};

use super::*;
use crate::store::roots::RootState;

#[test]
fn each_key_file_is_good_for_its_own_thing_only() {
    let home = Home::with_edge();
    let names = home.key_names();
    assert_eq!(names.len(), 4, "{names:?}");
    for one in &names {
        for other in names.iter().filter(|other| *other != one) {
            home.exchange(one, other);
            let problem = home.open().err().map(|error| error.to_string());
            assert!(
                problem.is_some(),
                "{one} and {other} changed places unnoticed"
            );
            home.exchange(one, other);
        }
    }
    home.open().unwrap();
}

#[test]
fn a_grant_an_audit_row_and_a_certificate_are_signed_by_different_keys() {
    let home = Home::with_edge();
    let mut public = home.key_names().into_iter().map(|name| {
        let path = home.dir.join(&name);
        match read_p256(&path) {
            Ok(key) => key.subject_public_key_info(),
            Err(_) => public_half(&read_ed25519(&path).unwrap()).to_vec(),
        }
    });
    let mut seen = std::collections::BTreeSet::new();
    assert!(public.all(|key| seen.insert(key)));
    assert_eq!(seen.len(), 4);
}

#[test]
fn the_edges_certificate_is_made_anew_when_another_root_issues() {
    let home = Home::with_edge();
    let (store, authority) = home.open().unwrap();
    let now = clock::unix_now();
    let leaf = || authority.leaf(&home.data, &store, now).unwrap().certificate;
    let first = leaf();
    assert_eq!(leaf(), first, "nothing changed");
    rotate(&home.data, &store, now).unwrap();
    assert!(authority.refresh(&home.data, &store).unwrap());
    assert!(!authority.refresh(&home.data, &store).unwrap());
    assert_eq!(leaf(), first, "the next root does not issue yet");
    let before = authority.roots();
    store.use_next_root(false, now).unwrap();
    assert!(authority.refresh(&home.data, &store).unwrap());
    let after = authority.roots();
    assert_eq!(
        (before.ca(), before.other_ca()),
        (after.other_ca(), after.ca())
    );
    let second = leaf();
    assert!(is_signed_by(&first, before.ca()) && is_signed_by(&second, after.ca()));
    assert!(!is_signed_by(&second, before.ca()));
}

#[test]
fn a_retired_roots_key_is_gone() {
    let home = Home::with_edge();
    let (store, _) = home.open().unwrap();
    let now = clock::unix_now();
    let old = key_file(&home.data, &store.roots().unwrap()[0].certificate);
    rotate(&home.data, &store, now).unwrap();
    assert!(rotate(&home.data, &store, now).is_err());
    assert_eq!(
        home.key_names().len(),
        5,
        "a refused rotation leaves no key"
    );
    store.use_next_root(false, now).unwrap();
    assert!(old.exists());
    retire(&home.data, &store, false, now).unwrap();
    assert!(!old.exists());
    home.open().unwrap();
}

#[test]
fn an_edge_of_before_there_were_two_roots_keeps_its_ca() {
    let home = Home::with_edge();
    let (store, _) = home.open().unwrap();
    let ca = store.roots().unwrap()[0].certificate.clone();
    let key = key_file(&home.data, &ca);
    drop(store);
    // As such an edge left its directory; then as a stop in the middle of the change leaves it.
    for stopped in [false, true] {
        fs::rename(&key, home.dir.join("ca.key")).unwrap();
        fs::write(home.dir.join("ca.der"), &ca).unwrap();
        if !stopped {
            let connection = rusqlite::Connection::open(home.data.store()).unwrap();
            connection.execute("DELETE FROM roots", []).unwrap();
        }
        let (store, authority) = home.open().unwrap();
        assert_eq!(authority.roots().ca(), ca);
        assert_eq!(store.roots().unwrap()[0].state, RootState::Active);
        assert!(key.exists() && !home.dir.join("ca.der").exists());
        store.verify_audit().unwrap();
    }
}

/// A directory with an edge that goes away with it.
struct Home {
    dir: PathBuf,
    data: DataDir,
}

impl Home {
    fn with_edge() -> Self {
        let name = format!("edge-authority-{}", hex(&random::<8>().unwrap()));
        let dir = std::env::temp_dir().join(name);
        let data = DataDir::new(&dir);
        drop(Authority::create(&data, &["edge.example.org".into()]).unwrap());
        let home = Self { dir, data };
        home.open().unwrap();
        home
    }

    /// As an edge starts.
    fn open(&self) -> Result<(Store, Authority), Error> {
        let store = open_store(&self.data)?;
        let authority = Authority::open(&self.data, &store)?;
        authority.leaf(&self.data, &store, clock::unix_now())?;
        Ok((store, authority))
    }

    fn key_names(&self) -> Vec<String> {
        let is_key = |path: &Path| path.extension().is_some_and(|extension| extension == "key");
        let paths = fs::read_dir(&self.dir)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        let mut names: Vec<_> = paths.filter(|path| is_key(path)).map(name).collect();
        names.sort();
        names
    }

    fn exchange(&self, one: &str, other: &str) {
        let [one, other, aside] = [one, other, "aside"].map(|name| self.dir.join(name));
        fs::rename(&one, &aside).unwrap();
        fs::rename(&other, &one).unwrap();
        fs::rename(&aside, &other).unwrap();
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
