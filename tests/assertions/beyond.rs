//! What no amcheck of a major takes is said, and keeps nothing from being proven; what one could take does.

use std::io::Write;
use std::time::Duration;

use walproof::postgres::{Installation, StopMode, choose, installations};
use walproof::restore::assert::{Asked, Options, run};

use super::{Cluster, ctx, query, sql, why};

fn of_major(major: u32) -> Option<Installation> {
    let mut found = installations(&[]).unwrap();
    found.retain(|one| one.has("initdb"));
    let chosen = choose(&found, Some(major)).ok().cloned();
    if chosen.is_none() {
        let _ = writeln!(std::io::stdout(), "SKIPPED: no PostgreSQL {major} on this machine");
    }
    chosen
}

#[tokio::test(flavor = "multi_thread")]
async fn gin_indexes_are_checked_where_amcheck_can() {
    for major in [15, 18] {
        let Some(cluster) = Cluster::new(of_major(major), true).await else { continue };
        let server = cluster.start().await;
        sql(&server, "postgres", "create database app").await;
        let tables = "create table docs (tags text[]); insert into docs select array['a', i::text] from generate_series(1, 500) i;
            create index docs_tags on docs using gin (tags)";
        sql(&server, "app", tables).await;
        let asked = Asked {
            assertions: vec![query("docs", "select count(*) from docs", "500")],
            amcheck: true,
            full_read: true,
            then: None,
        };
        let got = run(&server, &asked, &Options::default(), &ctx()).await.unwrap();
        let unjudged: Vec<_> = got.outcomes.iter().filter(|outcome| outcome.ok.is_none()).collect();
        if major < 18 {
            let [gin] = unjudged[..] else { panic!("{unjudged:?}") };
            assert!(gin.beyond && why(gin).contains("from PostgreSQL 18 on: public.docs_tags"), "{gin:?}");
            let read = got.outcomes.iter().find(|outcome| outcome.name == "full read").unwrap();
            assert_eq!(read.ok, Some(true), "its pages are read all the same");
        } else {
            assert!(unjudged.is_empty(), "{unjudged:?}");
        }
        assert!(got.all_hold(), "{major}: {got:?}");

        // An index that amcheck knows and cannot judge here is another matter.
        let moved = "create table sorted (s text); create collation moved (provider = icu, locale = 'de');
            create index sorted_s on sorted (s collate moved);
            update pg_collation set collversion = 'of another machine' where collname = 'moved'";
        sql(&server, "app", moved).await;
        let got = run(&server, &asked, &Options::default(), &ctx()).await.unwrap();
        assert!(!got.all_hold() && got.outcomes.iter().all(|outcome| outcome.ok != Some(false)), "{got:?}");
        server.stop(StopMode::Immediate, Duration::from_secs(30)).await.unwrap();
    }
}
