//! Mail: queued with its cause, sent once, given up honestly.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use control_api::{
    Background, BackgroundSettings, Clock, MailSettings, NewMail, Queued, Sender, SmtpTls, now_ms, queue_mail,
};
use vendor_sim::{Fault, Knobs, Resend, SmtpSink};

use crate::{
    db::{Db, on_both},
    invariants,
};

fn mail(db: &Db, key: &str) -> NewMail {
    NewMail {
        tenant: Some(db.tenant),
        lead_id: None,
        template: "welcome".into(),
        to: "Ann@Example.com".to_owned().into(),
        subject: "Hello".into(),
        text: "Hello Ann".into(),
        html: None,
        dedupe_key: key.into(),
        send_at_ms: now_ms(),
    }
}

async fn queue(db: &Db, mail: NewMail) -> Queued {
    let mut tx = db.begin().await;
    let queued = queue_mail(&mut tx, mail).await.unwrap();
    tx.commit().await.unwrap();
    queued
}

/// Sends by the settings until it is dropped, at a time that the test moves.
async fn sender(db: &Db, settings: MailSettings) -> (Background, Arc<AtomicI64>) {
    let ahead = Arc::new(AtomicI64::new(0));
    let read = Arc::clone(&ahead);
    let settings = BackgroundSettings {
        node: "n1".into(),
        handlers: vec![Arc::new(Sender::new(&settings).unwrap())],
        clock: Clock::new(move || now_ms() + read.load(Ordering::Relaxed)),
        ..BackgroundSettings::default()
    };
    (Background::start(&db.store, settings).await.unwrap(), ahead)
}

fn by_smtp(sink: &SmtpSink) -> MailSettings {
    MailSettings {
        from: "Front desk <desk@clinic.example>".into(),
        gateway: "smtp".into(),
        smtp: sink.addr().to_string(),
        smtp_tls: SmtpTls::Off,
        ..MailSettings::default()
    }
}

/// Waits until a count is reached; what never comes fails the test.
pub(crate) async fn until(db: &Db, sql: &'static str, wanted: i64) {
    for _ in 0..400 {
        if db.number(sql).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{sql}: {} in place of {wanted}", db.number(sql).await);
}

on_both! {
    async fn a_mail_reaches_its_relay_and_its_words_are_forgotten(db) {
        let sink = SmtpSink::start().await.unwrap();
        let (_background, _) = sender(&db, by_smtp(&sink)).await;
        let words = NewMail { subject: "Grüße".into(), html: Some("<p>Hello</p>".into()), ..mail(&db, "welcome:1") };
        let Queued::New(id) = queue(&db, words).await else { panic!("not queued") };
        until(&db, "SELECT COUNT(*) FROM emails WHERE state = 'sent' AND sent_at > 0 AND body_text IS NULL", 1).await;
        let letters = sink.letters();
        assert_eq!((letters.len(), letters[0].from.as_str(), &letters[0].to[..]), (1, "desk@clinic.example", &["Ann@Example.com".to_owned()][..]));
        for part in ["From: \"Front desk\" <desk@clinic.example>", &format!("Message-ID: <{id}@clinic.example>"), "Hello Ann", "<p>Hello</p>", "=?utf-8?"] {
            assert!(letters[0].data.contains(part), "{part}: {}", letters[0].data);
        }
        until(&db, "SELECT COUNT(*) FROM events WHERE type = 'email.sent' AND data LIKE '%A•••@Example.com%' AND data NOT LIKE '%Ann@%'", 1).await;
        invariants::hold(&db).await;
    }

    async fn a_relay_that_is_busy_is_asked_again_later(db) {
        let sink = SmtpSink::start().await.unwrap();
        sink.refuse(&["451 4.3.0 try later", "451 4.3.0 try later"]);
        let (_background, ahead) = sender(&db, by_smtp(&sink)).await;
        queue(&db, mail(&db, "welcome:1")).await;
        until(&db, "SELECT COUNT(*) FROM jobs WHERE state = 'queued' AND attempts = 1 AND last_error LIKE '%try later%'", 1).await;
        ahead.store(3_600_000, Ordering::Relaxed);
        until(&db, "SELECT COUNT(*) FROM jobs WHERE state = 'queued' AND attempts = 2", 1).await;
        ahead.store(7_200_000, Ordering::Relaxed);
        until(&db, "SELECT COUNT(*) FROM emails WHERE state = 'sent'", 1).await;
        assert_eq!(sink.letters().len(), 1);
    }

    async fn an_address_that_does_not_exist_gets_no_further_mail(db) {
        let sink = SmtpSink::start().await.unwrap();
        sink.refuse(&["550 5.1.1 no such user"]);
        let (_background, _) = sender(&db, by_smtp(&sink)).await;
        queue(&db, mail(&db, "welcome:1")).await;
        until(&db, "SELECT COUNT(*) FROM emails WHERE state = 'failed' AND error LIKE '%no such user%' AND body_text IS NULL", 1).await;
        until(&db, "SELECT COUNT(*) FROM events WHERE type = 'email.failed'", 1).await;
        assert_eq!(queue(&db, mail(&db, "welcome:2")).await, Queued::Suppressed);
        assert!(sink.letters().is_empty());
    }

    async fn without_a_gateway_a_mail_fails_with_that_reason_and_no_job_dies(db) {
        let (_background, _) = sender(&db, MailSettings::default()).await;
        queue(&db, mail(&db, "welcome:1")).await;
        until(&db, "SELECT COUNT(*) FROM emails WHERE state = 'failed' AND error = 'no mail gateway is configured'", 1).await;
        until(&db, "SELECT COUNT(*) FROM jobs WHERE state = 'done'", 1).await;
    }

    async fn resend_takes_each_mail_once(db) {
        let fault = Fault::Refuse { status: 429, retry_after: None, code: "rate_limit_exceeded".into() };
        let resend = Resend::start(Knobs { key: Some("re_key".into()), fault, times: 1, ..Knobs::default() }).await.unwrap();
        let settings = MailSettings {
            gateway: "resend".into(), resend_key: "re_key".into(), resend_url: format!("http://{}", resend.addr()), ..MailSettings::default()
        };
        let (_background, ahead) = sender(&db, settings).await;
        queue(&db, NewMail { html: Some("<p>Hello</p>".into()), ..mail(&db, "welcome:1") }).await;
        until(&db, "SELECT COUNT(*) FROM jobs WHERE attempts = 1 AND last_error LIKE 'resend 429%'", 1).await;
        ahead.store(3_600_000, Ordering::Relaxed);
        until(&db, "SELECT COUNT(*) FROM emails WHERE state = 'sent' AND gateway_ref = 'sim-1'", 1).await;
        assert_eq!((resend.seen().len(), &resend.seen()[0]["to"][0], &resend.seen()[0]["html"]), (1, &"Ann@Example.com".into(), &"<p>Hello</p>".into()));
    }

    async fn two_mails_of_one_reason_are_one_mail_and_one_job(db) {
        let Queued::New(id) = queue(&db, mail(&db, "welcome:1")).await else { panic!("not queued") };
        assert_eq!(queue(&db, mail(&db, "welcome:1")).await, Queued::Known(id));
        assert!(matches!(queue(&db, mail(&db, "welcome:2")).await, Queued::New(_)));
        assert_eq!(db.number("SELECT COUNT(*) FROM emails WHERE state = 'queued' AND body_text = 'Hello Ann'").await, 2);
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs WHERE kind = 'mail.send' AND state = 'queued'").await, 2);
        invariants::hold(&db).await;
    }

    async fn a_mail_leaves_with_its_transaction_or_not_at_all(db) {
        let mut tx = db.begin().await;
        queue_mail(&mut tx, mail(&db, "welcome:1")).await.unwrap();
        tx.rollback().await.unwrap();
        assert_eq!(db.number("SELECT COUNT(*) FROM emails").await + db.number("SELECT COUNT(*) FROM jobs").await, 0);
    }

    async fn who_wants_no_mail_gets_none_and_no_words_are_kept(db) {
        sqlx::query("INSERT INTO email_suppressions (tenant_id, address, reason, created_at) VALUES ($1, 'ann@example.com', 'asked', 1)")
            .bind(db.tenant.to_string()).execute(&db.raw).await.unwrap();
        assert_eq!(queue(&db, mail(&db, "welcome:1")).await, Queued::Suppressed);
        assert_eq!(db.number("SELECT COUNT(*) FROM emails WHERE state = 'suppressed' AND body_text IS NULL AND subject IS NULL").await, 1);
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs").await, 0);
        // What the installation itself has to say is not the tenant's to suppress.
        assert!(matches!(queue(&db, NewMail { tenant: None, ..mail(&db, "reset:1") }).await, Queued::New(_)));
    }
}
