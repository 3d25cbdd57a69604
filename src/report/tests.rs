//! One report in every output. The sample holds what an archive's owner may have put into names.

use serde_json::json;

use super::{Format, NagiosState, Report, Style, nagios_failure, nagios_state, render};
use crate::checks::Severity;

fn sample() -> Report {
    let finding = |code: &str, name: &str, severity: &str, subject: &str, message: &str| {
        json!({ "code": code, "name": name, "severity": severity, "subject": subject, "message": message, "facts": {},
            "objects": [subject], "count": 1, "advice": "take a new base backup", "waived": null,
            "fingerprint": "00" })
    };
    let rule = |code: &str, outcome: &str, why: Option<&str>, blocking: bool| json!({ "code": code, "outcome": outcome, "count": 0, "why": why, "blocking": blocking });
    let mut waived =
        finding("WAL006", "foreign-segment", "critical", "wal_005/00000001", "was written by system 7, known");
    waived["waived"] = json!({ "reason": "migrated | in <2025>", "until": "2027-03-31" });
    let archive = |name: &str, status: &str| {
        json!({ "name": name, "url": format!("s3://b/{name}"), "layout": "wal-g", "provider": "s3", "status": status,
            "worst_severity": null, "error": null, "system_identifier": null, "wal_segment_size": 16777216,
            "wal_segment_size_source": "backup", "pg_major": 15, "listing": { "objects": 2, "bytes": 3, "requests": 1,
            "duration_s": 0.5, "source": "list", "changed_during_audit": 0 }, "time_source": "last_modified",
            "recovery_window": { "timeline": 1, "from_lsn": "0/2000100", "to_lsn": "0/5000000",
                "from": "2026-11-01T02:14:00Z", "to": "2026-11-20T23:10:00Z", "to_estimated": true,
                "seconds": 1716960, "holes": [] } })
    };
    let mut good = archive("good", "ok");
    good["rules"] = json!([rule("WAL001", "passed", None, false), rule("RET001", "not_run", Some("no policy"), false)]);
    let mut bad = archive("b|ad <@team>\u{1b}[2J", "critical");
    bad["rules"] = json!([
        rule("WAL001", "found", None, false),
        rule("WAL006", "waived", None, false),
        rule("WAL008", "found", None, false),
        rule("BKP010", "found", None, false),
        rule("LFC001", "not_run", Some("grant s3:GetLifecycleConfiguration"), true)
    ]);
    bad["findings"] = json!([
        finding("WAL001", "segment-gap", "critical", "wal_005/A3", "5 segments missing: `A3` .. A7 | \"x\" & <y>"),
        finding("WAL001", "segment-gap", "critical", "wal_005/B0", "1 segment missing: B0\u{7}\u{202e}"),
        waived,
        finding("BKP010", "permanent-chain", "warning", "base_1", "stands on base_0"),
        finding("WAL008", "stray-object", "info", "https://evil.example/#1", "1 object belongs to no known kind"),
    ]);
    bad["not_checked"] = json!(["rto: no policy key"]);
    let mut denied = archive("denied", "incomplete");
    denied["error"] = json!("listing s3://b/denied: access denied\nsecond line");
    denied["recovery_window"] = json!(null);
    serde_json::from_value(json!({ "schema": "walproof.report/1", "tool": { "name": "walproof", "version": "0.0.0" },
        "started_at": "2026-11-21T00:00:00Z", "duration_s": 1.5, "as_of": "2026-11-21T00:00:00Z",
        "status": "incomplete", "worst_severity": "critical", "archives": [good, bad, denied] }))
    .unwrap()
}

fn rendered(format: Format, report: &Report) -> String {
    let mut out = Vec::new();
    render(format, report, &Style::default(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn each_output_of_one_report() {
    for (format, name) in Format::ALL {
        let text = rendered(*format, &sample());
        let raw = text.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(raw, None, "{name} lets a control character through");
        if matches!(format, Format::Junit | Format::Nagios | Format::Markdown) {
            insta::assert_snapshot!(*name, text);
        }
    }
}

#[test]
fn monitoring_states() {
    let report = sample();
    let only = |at: usize| Report { archives: vec![report.archives[at].clone()], ..report.clone() };
    assert_eq!(nagios_state(&report, Severity::Error), NagiosState::Critical);
    assert_eq!(nagios_state(&only(0), Severity::Warning), NagiosState::Ok);
    assert_eq!(nagios_state(&only(2), Severity::Error), NagiosState::Unknown);
    assert_eq!(nagios_state(&Report { archives: vec![], ..report.clone() }, Severity::Error), NagiosState::Unknown);
    let mut warned = only(1);
    warned.archives[0].findings.retain(|finding| finding.severity == Severity::Warning);
    warned.archives[0].status = super::data::Status::Warning;
    // A warning fails a build that asks for it, but it stays a warning.
    assert_eq!(nagios_state(&warned, Severity::Warning), NagiosState::Warning);
    assert_eq!(rendered(Format::Nagios, &report).lines().count(), 1);
    assert_eq!(rendered(Format::Nagios, &report).matches('|').count(), 1);
    assert_eq!(nagios_failure("a|b\nc"), "WALPROOF UNKNOWN - a/b c");
}
