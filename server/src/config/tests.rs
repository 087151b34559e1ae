use super::*;

fn load(environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(None, environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

#[test]
fn defaults_can_be_used() {
    let config = load(&[]).unwrap();
    let checked = config.check().unwrap();
    assert_eq!(checked.rtp_ports, 16384..=32767);
    assert_eq!(checked.http.port(), 8080);
}

#[test]
fn calls_may_go_to_this_machine_only_while_the_api_is_on_it_alone() {
    let private = |environment: &[(&str, &str)]| load(environment).unwrap().check().unwrap().private.len();
    assert_eq!(private(&[]), 2);
    assert_eq!(private(&[("SIDETONE__HTTP__LISTEN", "0.0.0.0:8080")]), 0);
    let named = ("SIDETONE__ROUTING__PRIVATE_NETWORKS", "[\"10.1.0.0/16\"]");
    assert_eq!(private(&[("SIDETONE__HTTP__LISTEN", "0.0.0.0:8080"), named]), 1);
}

#[test]
fn the_shipped_file_holds_every_key_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/sidetone.toml");
    let shipped = Config::load(Some(&path), std::iter::empty()).unwrap();
    assert_eq!(format!("{shipped:?}"), format!("{:?}", Config::default()));
}

#[test]
fn the_environment_overrides_in_the_right_type() {
    let config = load(&[
        ("SIDETONE__SIP__UDP", "127.0.0.1:5070"),
        ("SIDETONE__DEV__BENCH", "true"),
        ("SIDETONE__LIMITS__CALLS", "3"),
        ("SIDETONE__HTTP__BOOTSTRAP_KEY", "123"),
        ("HOME", "/x"),
    ])
    .unwrap();
    assert_eq!(config.sip.udp, "127.0.0.1:5070");
    assert!(config.dev.bench);
    assert_eq!(config.limits.calls, 3);
    assert_eq!(config.http.bootstrap_key, "123");
}

#[test]
fn a_wrong_key_is_named() {
    let error = load(&[("SIDETONE__SIP__UPD", "x")]).unwrap_err().to_string();
    assert!(error.contains("upd") && error.contains("sip"), "{error}");
    // The right ones beside it are not blamed for it.
    let both = [("SIDETONE__DEV__BENCH", "true"), ("SIDETONE__RECORDING__FOLDER", "x")];
    let error = load(&both).unwrap_err().to_string();
    assert!(error.contains("SIDETONE__RECORDING__FOLDER") && !error.contains("bench"), "{error}");
}

#[test]
fn a_malformed_file_is_one_line_with_its_number() {
    let text = "[sip]\nudp = \"x\n";
    let reason = toml_reason(text, &text.parse::<toml::Table>().unwrap_err());
    assert!(reason.starts_with("line 2: ") && !reason.contains('\n'), "{reason}");
}

#[test]
fn a_wrong_type_is_named() {
    let error = load(&[("SIDETONE__LIMITS__CALLS", "many")]).unwrap_err().to_string();
    assert!(error.contains("calls"), "{error}");
}

#[test]
fn a_wrong_value_names_key_value_and_reason() {
    for (name, text, key) in [
        ("SIDETONE__SIP__UDP", "nowhere", "sip.udp"),
        ("SIDETONE__SIP__TLS", "0.0.0.0:5061", "sip.tls_certificate"),
        ("SIDETONE__SIP__TLS_KEY", "key.pem", "sip.tls_key"),
        ("SIDETONE__SIP__HEP", "homer", "sip.hep"),
        ("SIDETONE__SIP__REALM", "a \"b\"", "sip.realm"),
        ("SIDETONE__SIP__DIGEST_ALGORITHMS", "[\"MD4\"]", "sip.digest_algorithms"),
        ("SIDETONE__STIR__KEY", "key.pem", "stir.certificate_url"),
        ("SIDETONE__STIR__FRESHNESS_S", "0", "stir.freshness_s"),
        ("SIDETONE__GUARD__BAN_AFTER", "1", "guard.ban_after"),
        ("SIDETONE__RTP__PORTS", "5-3", "rtp.ports"),
        ("SIDETONE__HTTP__LISTEN", "8080", "http.listen"),
        ("SIDETONE__STORE__URL", "mysql://x", "store.url"),
        ("SIDETONE__AGENTS__TRUSTED", "[\"10.0.0.0/99\"]", "agents.trusted"),
        ("SIDETONE__ROUTING__PRIVATE_NETWORKS", "[\"home\"]", "routing.private_networks"),
        ("SIDETONE__STORE__DOWN", "shrug", "store.down"),
        ("SIDETONE__RECORDING__STORAGE", "s3", "recording.s3.bucket"),
        ("SIDETONE__RECORDING__S3__BUCKET", "calls", "recording.s3.access_key"),
    ] {
        let error = load(&[(name, text)]).unwrap().check().unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}
