use super::*;
use serde_json::json;

fn head(kind: Kind) -> Head {
    let archive = ArchiveId::new("s3://b/pg/main", None);
    Head::new(RunId::from(7), "main", archive, "2026-11-20T23:10:00Z".parse().unwrap(), kind)
}

fn stored(kind: Kind) -> Vec<u8> {
    encode("k", &head(kind), &json!({"numbers": [1, 2, 3]})).unwrap()
}

#[test]
fn what_is_written_is_read() {
    for kind in Kind::ALL {
        let bytes = stored(*kind);
        assert_eq!(bytes.starts_with(&ZSTD_MAGIC), kind.is_compressed());
        let record = Record::decode("k", *kind, bytes).unwrap();
        assert_eq!(record.head, head(*kind));
        assert_eq!(record.body::<Value>().unwrap(), json!({"numbers": [1, 2, 3]}));
        let wrong = record.body::<super::super::RunSummary>().unwrap_err();
        assert!(matches!(wrong, StateError::Damaged { .. }), "{wrong}");
    }
}

#[test]
fn a_kind_in_the_wrong_place_is_damage() {
    let error = Record::decode("k", Kind::Restore, stored(Kind::Run)).unwrap_err().to_string();
    assert_eq!(error, "the state record k is damaged: it is of kind run among those of kind restore");
}

#[test]
fn a_newer_schema_names_the_version_that_is_needed() {
    let text = br#"{"schema":"walproof.state/12","written_by":"9.4.1","anything":[{}]}"#;
    let error = Record::decode("v1/main/run/x", Kind::Run, text.to_vec()).unwrap_err();
    assert!(!error.is_about_one_record());
    let own = env!("CARGO_PKG_VERSION");
    assert_eq!(
        error.to_string(),
        format!(
            "the state record v1/main/run/x has schema walproof.state/12, which walproof {own} does not know; \
             walproof 9.4.1 wrote it: use that version or a newer one"
        )
    );
}

#[test]
fn an_older_schema_is_migrated_step_by_step() {
    let first: Migration = |document| {
        let body = document.get_mut("body").ok_or("no body")?;
        let numbers = body.as_object_mut().and_then(|body| body.remove("numbers")).ok_or("no numbers")?;
        body["sum"] = numbers.as_array().into_iter().flatten().filter_map(Value::as_u64).sum::<u64>().into();
        Ok(())
    };
    let second: Migration = |document| {
        document["body"]["doubled"] = (document["body"]["sum"].as_u64().ok_or("no sum")? * 2).into();
        Ok(())
    };
    let migrations = [first, second];
    let record = Record::decode_as("k", Kind::Proofs, stored(Kind::Proofs), 3, &migrations).unwrap();
    assert_eq!(record.body::<Value>().unwrap(), json!({"sum": 6, "doubled": 12}));
    // Steps that were made already are not made again.
    let text = br#"{"schema":"walproof.state/2","run_id":"0000000000000007","cluster":"main","url":"s3://b","as_of":"2026-11-20T23:10:00Z","kind":"run","written_by":"0.2.0","body":{"sum":4}}"#;
    let record = Record::decode_as("k", Kind::Run, text.to_vec(), 3, &migrations).unwrap();
    assert_eq!(record.body::<Value>().unwrap(), json!({"sum": 4, "doubled": 8}));
    let wrong = text.to_vec();
    let wrong = String::from_utf8(wrong).unwrap().replace("state/2", "state/1");
    let error = Record::decode_as("k", Kind::Run, wrong.into_bytes(), 3, &migrations).unwrap_err().to_string();
    assert_eq!(error, "the state record k is damaged: no numbers");
}

#[test]
fn every_schema_has_its_steps() {
    assert_eq!(MIGRATIONS.len() as u32 + 1, SCHEMA_VERSION);
}

#[test]
fn strange_documents_are_damage() {
    let whole = String::from_utf8(stored(Kind::Run)).unwrap();
    for (from, to) in [
        ("walproof.state/1", "walproof.state/0"),
        ("walproof.state/1", "walproof.state/01"),
        ("walproof.state/1", "walproof.state/+1"),
        ("walproof.state/1", "walproof.report/1"),
        ("walproof.state/1", "walproof.state/99999999999"),
        ("walproof.state/1", "\\u001b[31m"),
        ("\"cluster\"", "\"clutter\""),
        ("2026-11-20T23:10:00Z", "yesterday"),
        ("0000000000000007", "7"),
        ("\"run\"", "\"other\""),
        ("{\"schema\"", "{\"schema\":\"walproof.state/1\",\"schema\""),
    ] {
        assert!(whole.contains(from), "{from}");
        let error = Record::decode("k", Kind::Run, whole.replacen(from, to, 1).into_bytes()).unwrap_err();
        assert!(error.is_about_one_record(), "{error}");
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }
    for end in 0..whole.len() - 2 {
        assert!(Record::decode("k", Kind::Run, whole.as_bytes()[..end].to_vec()).is_err());
    }
}

#[test]
fn bombs_are_refused() {
    // 1 GiB of blanks in a few kilobytes.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let blanks = vec![b' '; 1 << 20];
    for _ in 0..1024 {
        encoder.write_all(&blanks).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    let error = Record::decode("k", Kind::Run, bomb).unwrap_err();
    assert!(matches!(error, StateError::TooLarge { bytes_max, .. } if bytes_max == Kind::Run.bytes_max()), "{error}");
    // A window that would take gigabytes to undo.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&stored(Kind::Run)).unwrap();
    let wide = encoder.finish().unwrap();
    let error = Record::decode("k", Kind::Run, wide).unwrap_err();
    assert!(error.to_string().contains("does not decompress"), "{error}");
    let deep = format!("{{\"schema\":\"walproof.state/1\",\"body\":{}", "[".repeat(500_000));
    assert!(Record::decode("k", Kind::Run, deep.into_bytes()).is_err());
}

#[test]
fn nothing_is_written_that_could_not_be_read() {
    let long = "x".repeat(Kind::Restore.bytes_max() as usize);
    let error = encode("k", &head(Kind::Restore), &long).unwrap_err();
    assert!(matches!(error, StateError::TooLarge { .. }), "{error}");
    assert!(encode("k", &head(Kind::Proofs), &long).unwrap().len() < 10_000);
}

#[test]
fn mutated_records_never_panic() {
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for round in 0..3000 {
        let mut bytes = stored(Kind::ALL[round % Kind::ALL.len()]);
        for _ in 0..1 + next(4) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] ^= 1 << next(8),
                1 => bytes[at] = b"{}[]\",:\\0e-"[next(11)],
                2 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, next(256) as u8),
            }
        }
        fuzz_one(&bytes);
    }
}
