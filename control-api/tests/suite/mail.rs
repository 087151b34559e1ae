//! Mail: queued with its cause, sent once, given up honestly.

use control_api::{NewMail, Queued, now_ms, queue_mail};

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
    let mut tx = db.raw.begin().await.unwrap();
    let queued = queue_mail(&mut tx, mail).await.unwrap();
    tx.commit().await.unwrap();
    queued
}

on_both! {
    async fn two_mails_of_one_reason_are_one_mail_and_one_job(db) {
        let Queued::New(id) = queue(&db, mail(&db, "welcome:1")).await else { panic!("not queued") };
        assert_eq!(queue(&db, mail(&db, "welcome:1")).await, Queued::Known(id));
        assert!(matches!(queue(&db, mail(&db, "welcome:2")).await, Queued::New(_)));
        assert_eq!(db.number("SELECT COUNT(*) FROM emails WHERE state = 'queued' AND body_text = 'Hello Ann'").await, 2);
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs WHERE kind = 'mail.send' AND state = 'queued'").await, 2);
        invariants::hold(&db).await;
    }

    async fn a_mail_leaves_with_its_transaction_or_not_at_all(db) {
        let mut tx = db.raw.begin().await.unwrap();
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
