//! Archives that mean harm or are broken, interruptions, and disks that are too small.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use walproof::restore::{Options, RestoreError};

use crate::made::{Made, NAME, SYSTEM, control, file, member, tar};

/// Every path below a directory, links not followed.
fn below(dir: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            out.push(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            if path.symlink_metadata().unwrap().is_dir() {
                open.push(path);
            }
        }
    }
    out.sort();
    out
}

fn quick() -> Options {
    Options { sync: false, ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "untouched").unwrap();
    let victim = outside.join("victim").to_str().unwrap().to_owned();
    let long = vec![b'n'; 300];
    let deep = "d/".repeat(2500);
    let parts = [tar(&[
        member(b"/", b'5', 0, b"", b""),
        file("../outside/victim", b"x"),
        file("base/../../outside/victim", b"x"),
        file(&victim, b"an absolute name becomes a relative one"),
        member(b"base/link", b'2', 0, outside.to_str().unwrap().as_bytes(), b""),
        file("base/link/victim", b"x"),
        member(b"up", b'2', 0, b"..", b""),
        file("up/outside/victim", b"x"),
        member(b"hard", b'1', 0, victim.as_bytes(), b""),
        file("hard", b"x"),
        member(b"device", b'3', 0, b"", b""),
        member(b"pipe", b'6', 0, b"", b""),
        member(&long, b'0', 1, b"", b"x"),
        member(deep.as_bytes(), b'5', 0, b"", b""),
        file(".walproof-restore/attempt.json", b"x"),
        file("postmaster.pid", b"1"),
        file("standby.signal", b""),
        file("base/5/1", b"fine"),
    ])];
    let into = dir.path().join("data");
    let restored = Made::new(&parts, None, 1000).restore(&into, &quick()).await.unwrap();
    assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "untouched");
    assert_eq!(below(&outside), ["victim"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    let files = below(&into);
    assert!(files.iter().all(|path| !into.join(path).is_symlink()), "{files:?}");
    for there in ["base/5/1", "base/link/victim", "up/outside/victim", "hard", &victim[1..]] {
        assert!(into.join(there).is_file(), "{there}");
    }
    for gone in ["device", "pipe", "postmaster.pid", "standby.signal", ".walproof-restore", &deep[..40]] {
        assert!(!into.join(gone).exists(), "{gone}");
    }
    let reasons: Vec<&str> = restored.left_out.iter().map(|left| left.why.as_str()).collect();
    assert_eq!(restored.left_out_count as usize, reasons.len());
    for why in ["climbs out", "symbolic link", "hard link", "neither a file", "too long", "taken"] {
        assert!(reasons.iter().any(|reason| reason.contains(why)), "{why}: {reasons:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_list_names_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("data");
    let parts = [tar(&[
        member(b"/base", b'5', 0, b"", b""),
        member(b"/stray", b'5', 0, b"", b""),
        file("/base/1", b"1"),
        file("/base/2", b"not listed"),
        file("/backup_label", b"a stale one"),
        file("/global/pg_control", b"a stale one"),
    ])];
    let made = Made::new(&parts, Some(&["/", "/base", "/base/1"]), 1000);
    made.restore(&into, &quick()).await.unwrap();
    assert!(into.join("base/1").exists() && !into.join("base/2").exists() && !into.join("stray").exists());
    assert_eq!(fs::read(into.join("backup_label")).unwrap(), b"label");
    assert_eq!(fs::read(into.join("global/pg_control")).unwrap(), control(SYSTEM));
    // A file that is in no tar is a defect, and no server starts on the rest.
    let into = dir.path().join("less");
    let made = Made::new(&parts, Some(&["/base/1", "/base/3"]), 1000);
    let error = made.restore(&into, &quick()).await.unwrap_err();
    assert!(error.is_defect() && error.to_string().contains("base/3"), "{error}");
    assert!(!into.join("global/pg_control").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_and_leaves_nothing_that_starts() {
    let dir = tempfile::tempdir().unwrap();
    let good = tar(&[file("/base/1", &[7; 5000])]);
    let claims = tar(&[member(b"/base/1", b'0', 8_000_000_000, b"", b"short")]);
    let flipped: Vec<u8> = good.iter().enumerate().map(|(at, byte)| if at == 3 { byte ^ 1 } else { *byte }).collect();
    let cases = [
        ("cut", good[..3000].to_vec(), "inside a member"),
        ("endless", claims, "inside a member"),
        ("no end", good[..good.len() - 1024].to_vec(), "end mark"),
        ("flipped", flipped, "checksum"),
        ("empty", Vec::new(), "the object is empty"),
    ];
    for (name, part, says) in cases {
        let into = dir.path().join(name);
        let error = Made::new(&[part], None, 5000).restore(&into, &quick()).await.unwrap_err();
        assert!(error.is_defect(), "{name}: {error}");
        assert!(error.to_string().contains("part_001.tar") && error.to_string().contains(says), "{name}: {error}");
        assert!(!into.join("global/pg_control").exists(), "{name}");
    }
    // A pg_control of another cluster, and a broken one.
    for (name, bytes) in [("other", control(1)), ("broken", vec![1; 8192])] {
        let made = Made::new(std::slice::from_ref(&good), None, 5000);
        made.put(&format!("{NAME}/tar_partitions/pg_control.tar"), tar(&[file("/global/pg_control", &bytes)]));
        let result = made.restore(&dir.path().join(name), &quick()).await;
        // An unknown version is taken as it is, everything else is a defect.
        match name {
            "other" => assert!(result.unwrap_err().is_defect()),
            _ => assert!(result.unwrap().notes.iter().any(|note| note.contains("not known"))),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_far_larger_than_it_says_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let zeros = vec![0; 40 << 20];
    let members: Vec<Vec<u8>> = (0..30).map(|number| file(&format!("/base/{number}"), &zeros)).collect();
    let plain = tar(&members);
    let packed = zstd::encode_all(&plain[..], 1).unwrap();
    let made = Made::new(&[], None, 1000);
    made.put(&format!("{NAME}/tar_partitions/part_001.tar.zst"), packed);
    let error = made.restore(&dir.path().join("data"), &quick()).await.unwrap_err();
    assert!(error.is_defect() && error.to_string().contains("far beyond the size it states"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_restore_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("data");
    let part = |number: u8| tar(&[file(&format!("/base/{number}"), &[number; 100_000])]);
    let parts = [part(1), part(2), part(3)];
    let made = Made::new(&parts, Some(&["/base/1", "/base/2", "/base/3"]), 300_000);
    let key = format!("{NAME}/tar_partitions/part_003.tar");
    // The third tar cannot be read to its end: the restore fails behind the first two.
    made.put(&key, parts[2][..50_000].to_vec());
    let one = Options { parallel: 1, ..quick() };
    assert!(made.restore(&into, &one).await.unwrap_err().is_defect());
    assert!(into.join("base/2").exists() && into.join(".walproof-restore").exists());
    // Another object is another backup: what is there cannot be trusted to belong to it.
    made.put(&key, parts[2].clone());
    let error = made.restore(&into, &one).await.unwrap_err();
    assert!(matches!(error, RestoreError::Target(_)) && error.to_string().contains("have changed"), "{error}");
    made.put(&key, parts[2][..50_000].to_vec());
    assert!(made.restore(&into, &one).await.unwrap_err().is_defect());
    let error = made.restore(&into, &Options { resume: false, ..quick() }).await.unwrap_err();
    assert!(error.to_string().contains("unfinished restore"), "{error}");
    // With the same objects it goes on behind the tars that were unpacked.
    let into = dir.path().join("killed");
    let (archive, source) = made.archive().await;
    let _ = (archive, source);
    made.put(&key, parts[2].clone());
    let stopped = crate::made::context();
    stopped.cancel.set();
    let (archive, source) = made.archive().await;
    let request = walproof::restore::Request { backup: NAME.to_owned(), ..Default::default() };
    let plan = walproof::restore::Plan::of(&archive, &request).unwrap();
    let error = walproof::restore::restore(&source, &plan, &into, &one, &stopped).await.unwrap_err();
    assert!(matches!(error, RestoreError::Stopped), "{error}");
    let again = made.restore(&into, &one).await.unwrap();
    assert_eq!((again.parts, again.parts_resumed), (5, 0));
    for number in 1..=3u8 {
        assert_eq!(fs::read(into.join(format!("base/{number}"))).unwrap(), [number; 100_000]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_that_are_too_small_and_places_that_are_taken_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let parts = [tar(&[file("/base/1", b"1")])];
    let into = dir.path().join("data");
    let error = Made::new(&parts, None, 1 << 60).restore(&into, &quick()).await.unwrap_err();
    assert!(!error.is_defect(), "{error}");
    let text = error.to_string();
    assert!(text.contains("1 EiB of files and 16 MiB of WAL") && text.contains("free"), "{text}");
    assert!(below(&into).is_empty());
    fs::write(into.join("mine"), "x").unwrap();
    let error = Made::new(&parts, None, 10).restore(&into, &quick()).await.unwrap_err();
    assert!(error.to_string().contains("is not empty"), "{error}");
    assert_eq!(below(&into), ["mine"]);
    // A target that is a link to an empty directory is what whoever restores wants.
    let real = dir.path().join("real");
    fs::create_dir(&real).unwrap();
    symlink(&real, dir.path().join("alias")).unwrap();
    Made::new(&parts, None, 10).restore(&dir.path().join("alias"), &quick()).await.unwrap();
    assert!(real.join("base/1").exists());
}
