//! What letters say: templates, languages, and what hostile fields cannot do.

use std::{fs, path::Path};

use bursar_jobs::{
    letters::{Maildir, Smtp, Way},
    notifications::send_email::SendLetter,
};

use super::{
    ask, customer, job, refund, retry,
    sink::{Sink, postbox_of},
    step, world,
};
use crate::{
    clawbacks::world::World,
    support::{self, bursar, database},
};

fn write(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A worker with a folder of templates: it must not start. What it says.
async fn refused(folder: &Path) -> String {
    let db = database().await;
    let ended =
        bursar(&["worker"]).env("DATABASE_URL", &db.url).env("BURSAR_LETTERS__TEMPLATES", folder).output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    String::from_utf8(ended.stderr).unwrap()
}

#[tokio::test]
async fn a_template_with_an_unknown_field_keeps_the_worker_from_starting() {
    let folder = support::scratch();
    write(&folder, "refund_made.txt", "Subject: x\n\nYou get {amuont}.\n");
    let said = refused(&folder).await;
    for part in ["refund_made.txt", "{amuont}", "{amount}", "{credits}", "letters.templates"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    write(&folder, "refund_made.txt", "Subject: x\n\nYou get {amount}.\n");
    write(&folder, "de/refund_made.html", "<p>{amount}</p>");
    assert!(refused(&folder).await.contains("no text beside it"));
    fs::remove_dir_all(folder.join("de")).unwrap();
    write(&folder, "refund_mad.txt", "Subject: x\n\nx\n");
    assert!(refused(&folder).await.contains("no letter of this version"));
    fs::remove_file(folder.join("refund_mad.txt")).unwrap();
    write(&folder, "german/refund_made.txt", "Subject: x\n\nx\n");
    assert!(refused(&folder).await.contains("no folder of a language"));
    assert!(refused(Path::new("/nowhere/at/all")).await.contains("/nowhere/at/all"));
}

#[tokio::test]
async fn a_letter_that_lacks_a_field_is_dead_until_its_template_is_mended() {
    let folder = support::scratch();
    let sink = Sink::start().await;
    write(&folder, "refund_made.txt", "Subject: x\n\n{amount}\n");
    let way = || Way::Smtp(Smtp::new(&sink.url(), None).unwrap());
    let world = World::new().await.with_letters(postbox_of(way(), Some(&folder)));
    customer(&world, "cus_1", "alice", Some("alice@example.com"), None).await;
    ask(&world, &SendLetter::to_user("refund_made", "alice", "re_1"), "k").await;
    step(&world).await;
    let (state, why) = job(&world, "k").await;
    assert!(state == "dead" && why.contains("{amount}") && why.contains("refund_made"), "{state}: {why}");
    assert_eq!(sink.state.lock().unwrap().connections, 0);
    write(&folder, "refund_made.txt", "Subject: About {about}\n\nRefunded.\n");
    let world = world.with_letters(postbox_of(way(), Some(&folder)));
    retry(&world).await;
    step(&world).await;
    assert_eq!(sink.taken()[0].header("Subject"), "About re_1");
    assert!(!sink.taken()[0].data.contains("text/html"), "the built-in HTML would say something else");
}

#[tokio::test]
async fn a_letter_is_in_its_readers_language() {
    let sink = Sink::start().await;
    let world = world(&sink).await;
    for (key, locales) in [("none", None), ("german", Some("de-AT,en")), ("french", Some("fr"))] {
        customer(&world, "cus_1", "alice", Some("alice@example.com"), locales).await;
        ask(&world, &refund(), key).await;
        step(&world).await;
    }
    let subjects: Vec<String> = sink.taken().iter().map(|one| one.header("Subject")).collect();
    assert_eq!(subjects[0], "Your refund of 9.99 USD");
    assert!(subjects[1].contains("Ihre") && subjects[1].contains("9.99"), "{subjects:?}");
    assert_eq!(subjects[2], subjects[0]);
    assert!(sink.taken()[1].text().contains("Der Betrag geht an das Zahlungsmittel zurück"));
}

#[tokio::test]
async fn hostile_fields_stay_words() {
    let sink = Sink::start().await;
    let world = world(&sink).await;
    let hostile =
        "9.99 USD\r\nBcc: eve@example.com\r\n\r\n<script>alert(1)</script>\r\n.\r\nMAIL FROM:<eve@example.com>\r\n";
    ask(&world, &SendLetter::to_user("refund_made", "alice", "re_1").with("amount", hostile), "k").await;
    step(&world).await;
    let taken = sink.taken();
    assert_eq!((taken.len(), taken[0].to.len()), (1, 1));
    let (head, body) = taken[0].data.split_once("\r\n\r\n").unwrap();
    assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
    assert_eq!(sink.state.lock().unwrap().commands, ["EHLO", "MAIL", "RCPT", "DATA"]);
    let html = &body[body.find("text/html").unwrap()..];
    assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"), "{html}");
}

#[tokio::test]
async fn a_link_that_is_none_is_not_sent() {
    let sink = Sink::start().await;
    let world = world(&sink).await;
    let letter = SendLetter::to_user("payment_failed_first", "alice", "in_1").with("amount", "9.99 USD");
    ask(&world, &letter.clone().with("invoice_url", "javascript:alert(1)"), "k").await;
    step(&world).await;
    let (state, why) = job(&world, "k").await;
    assert!(state == "dead" && why.contains("{invoice_url}"), "{state}: {why}");
    let letter = letter.with("portal_url", "https://elsewhere.example/").with("deadline", "2027-01-31");
    ask(&world, &letter, "good").await;
    step(&world).await;
    let text = sink.taken()[0].text();
    assert!(
        text.contains("https://elsewhere.example/") && text.contains("2027-01-31"),
        "the job's word counts: {text}"
    );
    assert!(!text.contains("invoice"), "a line whose field is not known is left out: {text}");
}

#[tokio::test]
async fn every_letter_that_jobs_ask_for_can_be_sent_with_what_they_give() {
    let sink = Sink::start().await;
    let world = world(&sink).await;
    let names = [
        "payment_failed_first",
        "payment_failed_again",
        "payment_failed_last",
        "card_needed",
        "access_paused",
        "access_ended",
    ];
    for name in names {
        let letter = SendLetter::to_user(name, "alice", "in_1").with("amount", "9.99 USD");
        let letter = letter.with("portal_url", "https://acme.example/pay").with("deadline", "2027-01-31");
        ask(&world, &letter.with("invoice_url", "https://invoice.stripe.com/i/x"), name).await;
        step(&world).await;
        assert_eq!(job(&world, name).await.0, "done", "{name}");
    }
    for one in sink.taken() {
        assert!(one.text().contains("https://acme.example/pay") && one.text().contains("9.99 USD"), "{}", one.text());
    }
}

#[tokio::test]
async fn without_a_mail_server_letters_are_files_for_their_readers_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = support::scratch();
    let world = World::new().await.with_letters(postbox_of(Way::Maildir(Maildir::new(folder.join("mail"))), None));
    customer(&world, "cus_1", "alice", Some("alice@example.com"), None).await;
    ask(&world, &refund(), "k").await;
    step(&world).await;
    let new: Vec<_> = fs::read_dir(folder.join("mail/new")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(new.len(), 1);
    let letter = fs::read_to_string(&new[0]).unwrap();
    assert!(letter.contains("Subject: Your refund of 9.99 USD\n") && !letter.contains('\r'), "{letter}");
    assert_eq!(fs::metadata(&new[0]).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.join("mail/tmp")).unwrap().count(), 0);
    // A folder that cannot be written to is said, and tried again.
    fs::write(folder.join("file"), "").unwrap();
    let world = world.with_letters(postbox_of(Way::Maildir(Maildir::new(folder.join("file/mail"))), None));
    ask(&world, &refund(), "l").await;
    step(&world).await;
    let (state, why) = job(&world, "l").await;
    assert!(state == "scheduled" && why.contains("cannot be written to"), "{state}: {why}");
}
