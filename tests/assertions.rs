//! Assertions against a real PostgreSQL: what holds, what does not, what cannot be judged, and damage on disk.
#![cfg(feature = "restore")]
#![allow(clippy::disallowed_methods)]

#[path = "assertions/beyond.rs"]
mod beyond;
#[path = "assertions/dumps.rs"]
mod dumps;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use walproof::policy::config::{Assertion, AssertionCheck, CHECKSUM_QUERY, Expect};
use walproof::policy::{Percent, Sample, Span};
use walproof::postgres::{
    ClusterOptions, Identity, Installation, Sandbox, Server, ServerOptions, StopMode, choose, create_cluster,
    installations,
};
use walproof::restore::assert::{Asked, Assessment, Options, Outcome, Then, run};
use walproof::run::{Cancel, RunContext};

const PAGE: u64 = 8192;

/// The newest that has all its programs, which downloaded ones lack.
fn installation() -> Option<Installation> {
    const PROGRAMS: &[&str] = &["initdb", "psql", "pg_dump", "pg_dumpall", "pg_restore"];
    newest(PROGRAMS)
}

fn newest(programs: &[&str]) -> Option<Installation> {
    let mut found = installations(&[]).unwrap();
    found.retain(|one| programs.iter().all(|program| one.has(program)));
    match choose(&found, None) {
        Ok(installation) => Some(installation.clone()),
        Err(_) if std::env::var_os("WALPROOF_REQUIRE_GOLDEN").is_some() => {
            panic!("no whole PostgreSQL on this machine")
        }
        Err(_) => {
            let _ = writeln!(std::io::stdout(), "SKIPPED: no PostgreSQL with {} on this machine", programs.join(", "));
            None
        }
    }
}

struct Cluster {
    base: tempfile::TempDir,
    sandbox: Sandbox,
    installation: Installation,
    data: PathBuf,
}

impl Cluster {
    async fn new(installation: Option<Installation>, checksums: bool) -> Option<Self> {
        let installation = installation?;
        let base = tempfile::tempdir().unwrap();
        std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let sandbox = Sandbox::create(Some(base.path()), Identity::resolve(None).unwrap()).unwrap();
        let mut options = ClusterOptions::default();
        options.segment_mib = 1;
        options.checksums = checksums;
        let data = create_cluster(&sandbox, &installation, "data", &options, &Cancel::default()).await.unwrap();
        Some(Cluster { base, sandbox, installation, data })
    }

    async fn start(&self) -> Server {
        let mut options = ServerOptions::default()
            .set("fsync", "off")
            .set("shared_buffers", "8MB")
            .set("max_connections", "8")
            .set("autovacuum", "off");
        options.time_limit = Duration::from_secs(300);
        let mut server = Server::start(&self.sandbox, &self.installation, &self.data, options).unwrap();
        server.ready("postgres", "postgres", &Cancel::default(), |_| {}).await.unwrap();
        server
    }
}

async fn sql(server: &Server, database: &str, text: &str) {
    server.connect("postgres", database).await.unwrap().batch_execute(text).await.unwrap();
}

async fn one(server: &Server, database: &str, text: &str) -> String {
    let client = server.connect("postgres", database).await.unwrap();
    client.query_one(&format!("select ({text})::text"), &[]).await.unwrap().get(0)
}

fn ctx() -> RunContext {
    RunContext::new("2026-11-28T12:00:00Z".parse().unwrap())
}

fn assertion(name: &str, database: Option<&str>, check: AssertionCheck) -> Assertion {
    Assertion { name: name.into(), database: database.map(str::to_owned), check }
}

fn query(name: &str, sql: &str, expect: &str) -> Assertion {
    assertion(name, Some("app"), AssertionCheck::Sql { sql: sql.into(), expect: Expect::parse(expect) })
}

fn rows(table: &str, min: Option<u64>, drop: Option<u32>) -> Assertion {
    let max_drop = drop.map(|percent| Percent::from_millionths(percent * 10_000));
    let check = AssertionCheck::Rows { table: table.into(), min, max: None, max_drop, max_drift: None };
    assertion(&format!("rows of {table}"), None, check)
}

async fn assess(server: &Server, assertions: Vec<Assertion>, options: &Options) -> Assessment {
    let asked = Asked { assertions, ..Asked::default() };
    run(server, &asked, options, &ctx()).await.unwrap()
}

fn of<'a>(assessment: &'a Assessment, name: &str) -> &'a Outcome {
    let names: Vec<&str> = assessment.outcomes.iter().map(|outcome| outcome.name.as_str()).collect();
    assessment
        .outcomes
        .iter()
        .find(|outcome| outcome.name == name)
        .unwrap_or_else(|| panic!("{name} is not in {names:?}"))
}

fn why(outcome: &Outcome) -> &str {
    outcome.why.as_deref().unwrap_or_default()
}

const TABLES: &str = "create table orders (id int primary key, created_at timestamptz, note text);
    insert into orders select i, timestamptz '2026-11-28 11:00:00+00' - i * interval '1 min', 'n' || i
    from generate_series(1, 1000) i;
    create table \"Odd \"\"Name\" (x int); insert into \"Odd \"\"Name\" values (1), (2);
    create table backup_checksums (table_name text, row_count bigint, checksum text, q text)";

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_holds_falls_and_cannot_be_judged() {
    let Some(cluster) = Cluster::new(installation(), true).await else { return };
    let server = cluster.start().await;
    sql(&server, "postgres", "create database app").await;
    sql(&server, "postgres", "create database other").await;
    sql(&server, "app", TABLES).await;
    sql(&server, "other", "create table orders (id int)").await;

    values_and_moments(&server).await;
    files(&server).await;
    counts(&server).await;
    checksums(&server).await;
    relations(&server).await;
    commands(&cluster, &server).await;
    server.stop(StopMode::Fast, Duration::from_secs(30)).await.unwrap();
    pages_with_wrong_checksums(&cluster).await;
}

async fn values_and_moments(server: &Server) {
    let fresh = |name: &str, sql: &str, within: &str| {
        let check = AssertionCheck::Fresh { sql: sql.into(), within: within.parse::<Span>().unwrap() };
        assertion(name, Some("app"), check)
    };
    let assertions = vec![
        query("count", "select count(*) from orders", ">= 1000"),
        query("between", "select count(*) from orders", "between 999 and 1000"),
        query("regex", "select note from orders where id = 7;", "~ ^n[0-9]$"),
        query("bool", "select exists (select from orders)", "true"),
        query("null", "select max(id) from orders where id < 0", "null"),
        query("wrong", "select count(*) from orders", "> 1000"),
        query("no match", "select 'x'", "~ y"),
        query("no row", "select 1 where false", "1"),
        query("many rows", "select id from orders", "1"),
        query("no table", "select count(*) from nowhere", "> 0"),
        query("slow", "select pg_sleep(30)", ""),
        query("writes", "delete from orders", "0"),
        query("nothing left behind", "select count(*) from orders", "1000"),
        assertion(
            "no database",
            Some("gone"),
            AssertionCheck::Sql { sql: "select 1".into(), expect: Expect::parse("1") },
        ),
        assertion("everywhere", None, AssertionCheck::Sql { sql: "select 1".into(), expect: Expect::parse("1") }),
        fresh("fresh", "select max(created_at) from orders", "2h"),
        fresh("stale", "select max(created_at) from orders", "30m"),
        fresh("date", "select date '2026-11-27'", "2d"),
        fresh("no moment", "select 'soon'", "2d"),
        fresh("empty", "select max(created_at) from orders where false", "2d"),
    ];
    let options = Options {
        at: Some("2026-11-28T12:00:00Z".parse().unwrap()),
        statement_time: Duration::from_secs(2),
        ..Options::default()
    };
    let got = assess(server, assertions.clone(), &options).await;
    for name in ["count", "between", "regex", "bool", "null", "nothing left behind", "fresh", "date"] {
        assert_eq!(of(&got, name).ok, Some(true), "{:?}", of(&got, name));
    }
    for name in ["wrong", "no match", "no row", "many rows", "no table", "no database", "stale", "no moment", "empty"] {
        assert_eq!(of(&got, name).ok, Some(false), "{:?}", of(&got, name));
    }
    for name in ["slow", "writes"] {
        assert_eq!(of(&got, name).ok, None, "{:?}", of(&got, name));
    }
    assert!(got.outcomes.iter().all(|outcome| !outcome.corruption));
    assert_eq!(of(&got, "wrong").actual.as_deref(), Some("1000"));
    assert!(why(of(&got, "no table")).contains("nowhere") && why(of(&got, "slow")).contains("timeout"));
    assert_eq!(of(&got, "stale").actual.as_deref(), Some("2026-11-28 10:59:00+00, 61m before it"));
    // Two databases hold tables; `postgres` holds none.
    assert_eq!(of(&got, "everywhere (database app)").ok, Some(true));
    assert_eq!(of(&got, "everywhere (database other)").ok, Some(true));
    assert!(!got.all_hold());

    // Without a moment nothing can be fresh.
    let got = assess(server, assertions[15..16].to_vec(), &Options::default()).await;
    assert_eq!(of(&got, "fresh").ok, None);
}

async fn files(server: &Server) {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(
        "good.sql",
        "set search_path = public;\nselect count(*) = 1000, true from orders;\ndo $$ begin perform 1; end $$;",
    );
    write("tap.sql", "select 'ok 1 - there' union all select 'ok 2 - too';");
    write(
        "tap-bad.sql",
        "select * from (values ('ok 1'), ('not ok 2 - missing'), ('# Looks like you failed 1 test of 2')) v",
    );
    write(
        "bad.sql",
        "select true;\n\nselect id > 5 from orders where id < 9;\nselect null::bool;\nselect true where false;\nselect 1/0;",
    );
    write("raise.sql", "do $$ begin raise exception 'too few'; end $$");
    write("temp.sql", "begin read write; create temp table t as select 1; select true; rollback;");
    write("psql.sql", "\\set ON_ERROR_STOP on\nselect true;");
    write("empty.sql", "-- nothing");
    let names = [
        "good.sql",
        "tap.sql",
        "tap-bad.sql",
        "bad.sql",
        "raise.sql",
        "temp.sql",
        "psql.sql",
        "empty.sql",
        "missing.sql",
    ];
    let assertions =
        names.iter().map(|name| assertion(name, Some("app"), AssertionCheck::File((*name).into()))).collect();
    let options = Options { base_dir: Some(dir.path().to_owned()), ..Options::default() };
    let got = assess(server, assertions, &options).await;
    let oks: Vec<Option<bool>> = names.iter().map(|name| of(&got, name).ok).collect();
    let (yes, no) = (Some(true), Some(false));
    assert_eq!(oks, [yes, yes, no, no, no, yes, None, None, None], "{got:?}");
    assert_eq!(of(&got, "good.sql").actual.as_deref(), Some("3 of 3 statements hold, 2 values are true"));
    let bad = why(of(&got, "bad.sql"));
    for part in
        ["statement 2 (bad.sql, line 3) returned false", "line 4) returned null", "line 5) returned no row", "division"]
    {
        assert!(bad.contains(part), "{bad}");
    }
    assert!(why(of(&got, "tap-bad.sql")).contains("not ok 2"));
    assert!(why(of(&got, "raise.sql")).contains("too few"));
    assert!(why(of(&got, "psql.sql")).contains("\\set is a command of psql"));
}

async fn counts(server: &Server) {
    let assertions = vec![
        rows("public.orders", Some(1000), None),
        rows("Odd \"Name", Some(3), None),
        rows("nowhere", Some(1), None),
        assertion("tables", None, AssertionCheck::TablesMin(4)),
        assertion("more tables", None, AssertionCheck::TablesMin(5)),
    ];
    let got = assess(server, assertions, &Options::default()).await;
    assert_eq!(of(&got, "rows of public.orders (database app)").ok, Some(true));
    assert_eq!(of(&got, "rows of public.orders (database other)").ok, Some(false));
    assert_eq!(of(&got, "rows of Odd \"Name (database app)").actual.as_deref(), Some("2"));
    assert_eq!(of(&got, "rows of nowhere").ok, Some(false));
    assert_eq!((of(&got, "tables").ok, of(&got, "more tables").ok), (Some(true), Some(false)));
    assert_eq!(got.row_counts.get("app.public.orders"), Some(&1000));

    // The next run compares with this one.
    let drift = |before: Option<u64>| Options {
        before: before.map(|count| ("app.Odd \"Name".to_owned(), count)).into_iter().collect::<BTreeMap<_, _>>(),
        ..Options::default()
    };
    let outcome = async |before, percent| {
        let got = assess(server, vec![rows("Odd \"Name", None, Some(percent))], &drift(before)).await;
        of(&got, "rows of Odd \"Name (database app)").clone()
    };
    assert_eq!(outcome(None, 10).await.ok, None);
    assert_eq!(outcome(Some(4), 50).await.ok, Some(true));
    let fell = outcome(Some(4), 40).await;
    assert_eq!((fell.ok, fell.expected.as_deref()), (Some(false), Some("at most 40% fewer than 4")));
}

async fn checksums(server: &Server) {
    let check = |query: Option<&str>, column: Option<&str>| AssertionCheck::Checksums {
        table: "backup_checksums".into(),
        query: query.map(str::to_owned),
        query_column: column.map(str::to_owned),
    };
    let empty = assess(server, vec![assertion("sums", None, check(None, None))], &Options::default()).await;
    assert_eq!(empty.outcomes[0].ok, Some(false), "{empty:?}");
    assert!(why(&empty.outcomes[0]).contains("nothing was compared"));

    let sum = CHECKSUM_QUERY.replace("{table}", "orders");
    sql(
        server,
        "app",
        &format!(
            "set timezone = 'UTC'; insert into backup_checksums select 'public.orders', 1000, ({sum});
             insert into backup_checksums values ('Odd \"Name', 2, null)"
        ),
    )
    .await;
    let got = assess(server, vec![assertion("sums", Some("app"), check(None, None))], &Options::default()).await;
    assert_eq!((got.outcomes.len(), got.outcomes[0].ok), (1, Some(true)), "{got:?}");
    assert_eq!(got.outcomes[0].actual.as_deref(), Some("2 of 2 tables agree"));

    // One value of one row differs: the count cannot tell.
    sql(server, "app", "update orders set note = 'changed' where id = 500").await;
    sql(server, "app", "insert into backup_checksums values ('dropped', 1, null)").await;
    let got = assess(server, vec![assertion("sums", Some("app"), check(None, None))], &Options::default()).await;
    assert_eq!(of(&got, "sums").actual.as_deref(), Some("1 of 3 tables agree, 2 differ"));
    assert_eq!(of(&got, "sums: dropped").ok, Some(false));
    let differs = of(&got, "sums: public.orders");
    assert!(differs.ok == Some(false) && differs.actual != differs.expected, "{differs:?}");
    sql(server, "app", "update orders set note = 'n500' where id = 500; delete from backup_checksums").await;

    // Other queries: one for all, and one in each row, which cannot be anything but a query.
    sql(
        server,
        "app",
        "insert into backup_checksums values ('orders', null, '500500', 'select sum(id) from orders'),
         ('Odd \"Name', null, '3', 'select 1) s(v); drop table orders; --')",
    )
    .await;
    let got = assess(server, vec![assertion("sums", Some("app"), check(None, Some("q")))], &Options::default()).await;
    assert_eq!(of(&got, "sums").actual.as_deref(), Some("1 of 2 tables agree, 1 differ"), "{got:?}");
    let all = check(Some("select count(*) from {table}"), None);
    let got = assess(server, vec![assertion("sums", Some("app"), all)], &Options::default()).await;
    assert_eq!(of(&got, "sums").actual.as_deref(), Some("0 of 2 tables agree, 2 differ"), "{got:?}");
    assert_eq!(one(server, "app", "select count(*) from orders").await, "1000");
}

fn everything() -> Asked {
    Asked { amcheck: true, full_read: true, ..Asked::default() }
}

/// Sound relations, indexes that this machine must not judge, and how much is covered.
async fn relations(server: &Server) {
    let sound = run(server, &everything(), &Options::default(), &ctx()).await.unwrap();
    for name in ["amcheck of indexes", "amcheck of tables", "full read"] {
        assert_eq!(of(&sound, name).ok, Some(true), "{:?}", of(&sound, name));
    }
    let damage = sound.outcomes.iter().filter(|outcome| outcome.corruption).count();
    assert_eq!(damage, 0);
    // In template1 the same; nothing of it stays.
    assert_eq!(one(server, "app", "select count(*) from pg_extension where extname = 'amcheck'").await, "0");

    let extensions =
        "create extension citext; create table words (w citext primary key); insert into words values ('a');
        create table docs (tags text[]); create index docs_tags on docs using gin (tags);
        create table sorted (s text);
        create collation moved (provider = icu, locale = 'de'); create index sorted_s on sorted (s collate moved);
        update pg_collation set collversion = 'of another machine' where collname = 'moved';
        update pg_proc set probin = '$libdir/not_here' where probin like '%citext%'";
    sql(server, "app", extensions).await;
    let got = run(server, &everything(), &Options::default(), &ctx()).await.unwrap();
    assert!(got.outcomes.iter().all(|outcome| !outcome.corruption && outcome.ok != Some(false)), "{got:?}");
    let skipped: String =
        got.outcomes.iter().filter(|o| o.ok.is_none()).map(|o| format!("{} {}\n", o.name, why(o))).collect();
    for part in ["public.sorted_s", "collation moved was version of another machine", "words_pkey", "not_here"] {
        assert!(skipped.contains(part), "{part}: {skipped}");
    }
    sql(server, "app", "drop extension citext cascade; drop table sorted; drop collation moved").await;

    // A part only: the seed decides which, and the report says how much.
    let sampled = Options { check_sample: Some(Sample::Slice { number: 1, of: 4 }), ..Options::default() };
    let got = run(server, &everything(), &sampled, &ctx()).await.unwrap();
    let read = of(&got, "full read");
    let actual = read.actual.as_deref().unwrap();
    let numbers: Vec<f64> = actual.split(' ').filter_map(|word| word.trim_end_matches(',').parse().ok()).collect();
    assert!(read.ok == Some(true) && (0.1..0.5).contains(&(numbers[0] / numbers[1])), "{actual}");
    assert!(actual.contains("sample 1/4, seed 0"), "{actual}");
    let hurried = Options { check_time: Some(Duration::ZERO), ..Options::default() };
    let got = run(server, &everything(), &hurried, &ctx()).await.unwrap();
    let read = of(&got, "full read");
    assert!(read.ok.is_none() && why(read).contains("the time limit of 0 s left"), "{read:?}");
}

async fn commands(cluster: &Cluster, server: &Server) {
    let dir = cluster.sandbox.dir("then").unwrap();
    let outcome = async |command: &str, limit: u64| {
        let then = Then {
            command: command.into(),
            identity: cluster.sandbox.identity().clone(),
            dir: dir.clone(),
            bin: None,
            time_limit: Duration::from_secs(limit),
        };
        let asked = Asked { then: Some(then), ..Asked::default() };
        run(server, &asked, &Options::default(), &ctx()).await.unwrap().outcomes.remove(0)
    };
    let psql = cluster.installation.program("psql");
    let good = outcome(&format!("{} -d app -Atc 'select count(*) from orders'", psql.display()), 60).await;
    assert_eq!((good.ok, why(&good)), (Some(true), "1000"));
    let bad = outcome("echo \"$PGUSER on $PGDATABASE: nothing\" >&2; exit 3", 60).await;
    assert_eq!((bad.ok, why(&bad)), (Some(false), "postgres on postgres: nothing"));
    assert_eq!(outcome("no-such-program", 60).await.ok, None);
    let slow = outcome("sleep 60", 1).await;
    assert!(slow.ok.is_none() && why(&slow).contains("longer than 1 s"), "{slow:?}");
    // Nothing of this process's environment.
    assert_eq!(outcome("test -z \"$CARGO_MANIFEST_DIR\"", 60).await.ok, Some(true));
}

/// Flips a byte in the middle of a page.
fn damage(file: &Path, block: u64, offset: u64) {
    let file = std::fs::File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, block * PAGE + offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x55], block * PAGE + offset).unwrap();
}

async fn pages_with_wrong_checksums(cluster: &Cluster) {
    let server = cluster.start().await;
    let file = async |relation: &str| {
        cluster.data.join(one(&server, "app", &format!("select pg_relation_filepath('{relation}')")).await)
    };
    let (table, index, gin) = (file("orders").await, file("orders_pkey").await, file("docs_tags").await);
    let missing = file("\"Odd \"\"Name\"").await;
    server.stop(StopMode::Fast, Duration::from_secs(30)).await.unwrap();
    damage(&table, 3, 5000);
    damage(&index, 2, 5000);
    damage(&gin, 1, 5000);
    std::fs::remove_file(missing).unwrap();
    let server = cluster.start().await;
    let assertions = vec![query("count", "select count(*) from orders", "1000"), rows("Odd \"Name", Some(1), None)];
    let got = run(&server, &Asked { assertions, ..everything() }, &Options::default(), &ctx()).await.unwrap();
    for (name, part) in [
        ("full read: table public.orders (database app)", "invalid page in block 3 of relation base/"),
        ("amcheck of tables: table public.orders (database app)", "block 3"),
        ("amcheck of indexes: index public.orders_pkey (database app)", "invalid page in block 2 of relation base/"),
        ("full read: index public.docs_tags (database app)", "invalid page in block 1 of relation base/"),
        ("full read: table public.Odd \"Name (database app)", "could not open file"),
    ] {
        let outcome = of(&got, name);
        assert!(outcome.ok == Some(false) && outcome.corruption, "{outcome:?}");
        assert!(outcome.actual.as_deref().unwrap_or_default().contains(part), "{outcome:?}");
    }
    for name in ["count", "rows of Odd \"Name (database app)"] {
        assert!(of(&got, name).corruption && of(&got, name).ok == Some(false), "{:?}", of(&got, name));
    }
    let damaged = got.outcomes.iter().filter(|outcome| outcome.corruption).count();
    // Three summaries, and one more: amcheck looks at the table without a file, too.
    assert_eq!(damaged, 5 + 2 + 3 + 1, "{got:?}");
}

/// Without checksums only those who look at what is in a page find anything.
#[tokio::test(flavor = "multi_thread")]
async fn damage_without_checksums_is_found() {
    // The newest of all, and the one that packages bring.
    let majors: Vec<Installation> = [newest(&["initdb"]), installation()].into_iter().flatten().collect();
    for (at, installation) in majors.iter().enumerate() {
        if majors[..at].iter().all(|before| before.version.major != installation.version.major) {
            damage_is_found_by(installation.clone()).await;
        }
    }
}

async fn damage_is_found_by(installation: Installation) {
    let Some(cluster) = Cluster::new(Some(installation), false).await else { return };
    let server = cluster.start().await;
    sql(
        &server,
        "postgres",
        "create table t (id int primary key, note text); insert into t select i, 'n' || i from generate_series(1, 2000) i;
         create table long (v text); alter table long alter v set storage external;
         insert into long select repeat('x', 9000 + i) from generate_series(1, 10) i; checkpoint",
    )
    .await;
    let file = async |relation: &str| {
        cluster.data.join(one(&server, "postgres", &format!("select pg_relation_filepath({relation})")).await)
    };
    let (table, index) = (file("'t'").await, file("'t_pkey'").await);
    let toast = file("(select reltoastrelid from pg_class where relname = 'long')").await;
    server.stop(StopMode::Fast, Duration::from_secs(30)).await.unwrap();

    // The header of a tuple says that its data begins behind its end.
    let bytes = std::fs::read(&table).unwrap();
    let page = &bytes[2 * 8192..3 * 8192];
    let item = u32::from_le_bytes(page[24..28].try_into().unwrap());
    damage(&table, 2, u64::from(item & 0x7FFF) + 22);
    // Two entries of a leaf page change places.
    let open = |path: &Path| std::fs::File::options().read(true).write(true).open(path).unwrap();
    let leaf = open(&index);
    let mut items = [0; 8];
    leaf.read_exact_at(&mut items, PAGE + 24 + 8).unwrap();
    items.rotate_left(4);
    leaf.write_all_at(&items, PAGE + 24 + 8).unwrap();
    // A page of zeros is a page without tuples: the values it held are gone.
    open(&toast).write_all_at(&[0; 8192], PAGE).unwrap();

    let server = cluster.start().await;
    let got = run(&server, &everything(), &Options::default(), &ctx()).await.unwrap();
    for (name, part) in [
        ("amcheck of tables: table public.t (database postgres)", "block 2, line pointer 1: "),
        ("amcheck of indexes: index public.t_pkey (database postgres)", "item order invariant violated"),
        ("full read: table public.long (database postgres)", "missing chunk number"),
        ("amcheck of tables: table public.long (database postgres)", "toast"),
    ] {
        let outcome = of(&got, name);
        assert!(outcome.ok == Some(false) && outcome.corruption, "{outcome:?}");
        assert!(outcome.actual.as_deref().unwrap_or_default().contains(part), "{outcome:?}");
    }
    assert_eq!(of(&got, "amcheck of indexes").ok, Some(false));
    // The server lives on, and so does everything that was sound.
    assert_eq!(one(&server, "postgres", "select count(*) from long").await, "10");
}
