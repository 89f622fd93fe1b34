//! `bursar ledger verify` finds each kind of wrong that can be planted.

use serde_json::json;

use super::{ask, plant};
use crate::support::database;

/// Books in good order: grants, a reversal in two parts, a spend, payouts that are owed, of which one was skipped.
const BOOKS: &str = r#"
    SELECT bursar.post('[
        {"key": "g1", "kind": "purchase", "debit": "issuance", "credit": "user:u1", "unit": "credits", "amount": 50000000},
        {"key": "g2", "kind": "purchase", "debit": "issuance", "credit": "user:u2", "unit": "credits", "amount": 7000000},
        {"key": "payout:j1", "kind": "payout", "debit": "payable", "credit": "receiver:r1", "unit": "usd", "amount": 100},
        {"key": "payout:j2", "kind": "payout", "debit": "payable", "credit": "receiver:r1", "unit": "usd", "amount": 100}]');
    SELECT bursar.post(jsonb_build_array(
        jsonb_build_object('key', 'r1', 'kind', 'reversal', 'debit', 'user:u1', 'credit', 'issuance', 'unit', 'credits',
            'amount', 20000000, 'reverses', (SELECT id FROM bursar.posting WHERE key = 'g1')),
        jsonb_build_object('key', 'r2', 'kind', 'reversal', 'debit', 'user:u1', 'credit', 'issuance', 'unit', 'credits',
            'amount', 30000000, 'reverses', (SELECT id FROM bursar.posting WHERE key = 'g1'))));
    SELECT bursar.spend('u2', 2.5, 'k');
    INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state)
    VALUES ('j1', 'r1', 'research', 2000000, 100, 'usd', 'held'), ('j2', 'r1', 'research', 2000000, 100, 'usd', 'skipped');
    ALTER TABLE bursar.posting DISABLE TRIGGER posting_is_immutable;
"#;

/// Plants something wrong in good books; the kinds of what is found.
async fn found(wrong: &'static str) -> Vec<String> {
    let db = database().await;
    plant(&db, BOOKS).await;
    plant(&db, wrong).await;
    let verdict = ask(&db, &["ledger", "verify", "--json"]).ended(1).object();
    let violations = verdict["violations"].as_array().unwrap();
    assert!(violations.iter().all(|v| v["subject"].is_string() && v["detail"].is_string()), "{verdict}");
    violations.iter().map(|v| v["kind"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn books_in_good_order_have_no_violations() {
    let db = database().await;
    let empty = ask(&db, &["ledger", "verify", "--json"]).ended(0).object();
    assert_eq!(empty, json!({"postings": 0, "accounts": 5, "violations": []}));
    plant(&db, BOOKS).await;
    let verdict = ask(&db, &["ledger", "verify", "--json"]).ended(0).object();
    assert_eq!(verdict, json!({"postings": 7, "accounts": 8, "violations": []}));
    assert_eq!(ask(&db, &["ledger", "verify"]).ended(0).out, "7 postings over 8 accounts: the books agree\n");
}

#[tokio::test]
async fn a_balance_that_is_not_the_sum_is_found() {
    assert_eq!(found("UPDATE bursar.account SET balance = balance + 1 WHERE name = 'user:u2'").await, ["balance"]);
    assert_eq!(
        found("INSERT INTO bursar.account (name, unit, derived, balance) VALUES ('user:u3', 'credits', false, 5)")
            .await,
        ["balance"]
    );
    assert_eq!(found("UPDATE bursar.posting SET amount = amount + 1 WHERE key = 'g2'").await, ["balance"]);
    assert_eq!(found("DELETE FROM bursar.posting WHERE key = 'spend:u2:k'").await, ["balance"]);
}

#[tokio::test]
async fn an_account_that_is_missing_or_of_another_unit_is_found() {
    assert_eq!(found("UPDATE bursar.posting SET debit = 999 WHERE key = 'g2'").await, ["missing_account"]);
    assert_eq!(
        found("DELETE FROM bursar.account WHERE name = 'user:u2'").await,
        ["missing_account", "missing_account"]
    );
    let other =
        "UPDATE bursar.posting SET debit = (SELECT id FROM bursar.account WHERE name = 'payable') WHERE key = 'g2'";
    assert_eq!(found(other).await, ["unit"]);
}

#[tokio::test]
async fn a_reversal_of_nothing_of_another_or_of_too_much_is_found() {
    assert_eq!(found("UPDATE bursar.posting SET reverses = 999 WHERE key = 'r1'").await, ["reversal_of_nothing"]);
    let other = "UPDATE bursar.posting SET reverses = (SELECT id FROM bursar.posting WHERE key = 'spend:u2:k') WHERE key = 'r1'";
    assert_eq!(found(other).await, ["reversal_not_mirrored", "reversed_beyond"]);
    let more = "UPDATE bursar.posting SET amount = amount + 1 WHERE key = 'r1';
                UPDATE bursar.account SET balance = balance - 1 WHERE name = 'user:u1'";
    assert_eq!(found(more).await, ["reversed_beyond"]);
}

#[tokio::test]
async fn payouts_and_postings_that_do_not_agree_are_found() {
    let gone = "DELETE FROM bursar.posting WHERE key = 'payout:j2';
                UPDATE bursar.account SET balance = 100 WHERE name = 'receiver:r1'";
    assert_eq!(found(gone).await, ["payout_without_posting", "receiver_balance"]);
    assert_eq!(
        found("UPDATE bursar.payout SET amount = 101 WHERE job_id = 'j1'").await,
        ["payout_differs", "receiver_balance"]
    );
    assert_eq!(
        found("UPDATE bursar.payout SET receiver_id = 'r2' WHERE job_id = 'j1'").await,
        ["payout_differs", "receiver_balance"]
    );
    assert_eq!(
        found("UPDATE bursar.payout SET currency = 'eur' WHERE job_id = 'j1'").await,
        ["payout_differs", "receiver_balance"]
    );
    assert_eq!(
        found("DELETE FROM bursar.payout WHERE job_id = 'j1'").await,
        ["posting_without_payout", "receiver_balance"]
    );
}

/// A payout that was sent in part, and half of that reversed; one that settles a debt, and one that carries it.
const MONEY_OUT: &str = r#"
    SELECT bursar.post('[
        {"key": "payout:j3", "kind": "payout", "debit": "payable", "credit": "receiver:r3", "unit": "usd", "amount": 100},
        {"key": "transfer:j3", "kind": "transfer", "debit": "receiver:r3", "credit": "stripe", "unit": "usd", "amount": 70},
        {"key": "payout:j4", "kind": "payout", "debit": "payable", "credit": "receiver:r3", "unit": "usd", "amount": 30},
        {"key": "transfer:j4", "kind": "transfer", "debit": "receiver:r3", "credit": "stripe", "unit": "usd", "amount": 30},
        {"key": "netting:j3:1", "kind": "netting", "debit": "receiver:r3", "credit": "netting", "unit": "usd", "amount": 30, "ref": "j3"},
        {"key": "netting:j3:1:recovered", "kind": "netting", "debit": "netting", "credit": "receiver:r3", "unit": "usd", "amount": 30, "ref": "j4"}]');
    SELECT bursar.post(jsonb_build_array(
        jsonb_build_object('key', 'undo:reversal:j4:1', 'kind', 'reversal', 'debit', 'receiver:r3', 'credit', 'payable', 'unit', 'usd',
            'amount', 30, 'reverses', (SELECT id FROM bursar.posting WHERE key = 'payout:j4')),
        jsonb_build_object('key', 'transfer_reversal:trr_1', 'kind', 'transfer_reversal', 'debit', 'stripe', 'credit', 'receiver:r3', 'unit', 'usd',
            'amount', 35, 'reverses', (SELECT id FROM bursar.posting WHERE key = 'transfer:j3')),
        jsonb_build_object('key', 'undo:trr_1', 'kind', 'reversal', 'debit', 'receiver:r3', 'credit', 'payable', 'unit', 'usd',
            'amount', 35, 'reverses', (SELECT id FROM bursar.posting WHERE key = 'payout:j3'))));
    INSERT INTO bursar.payout (job_id, receiver_id, skill, credits, amount, currency, state, transfer_id, transfer_amount, netted,
                               returned, undone, carried, recovered)
    VALUES ('j3', 'r3', 'research', 2000000, 100, 'usd', 'paid', 'tr_3', 70, 30, 35, 35, 0, 0),
           ('j4', 'r3', 'research', 600000, 30, 'usd', 'reversed', 'tr_4', 30, 0, 0, 30, 30, 30);
    INSERT INTO bursar.reversal (job_id, n, amount, state, reversal_id) VALUES ('j3', 1, 35, 'made', 'trr_1');
"#;

/// The same, of books with money that left and came back.
async fn found_out(wrong: &'static str) -> Vec<String> {
    let db = database().await;
    plant(&db, BOOKS).await;
    plant(&db, MONEY_OUT).await;
    ask(&db, &["ledger", "verify"]).ended(0);
    plant(&db, wrong).await;
    let verdict = ask(&db, &["ledger", "verify", "--json"]).ended(1).object();
    verdict["violations"].as_array().unwrap().iter().map(|v| v["kind"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn money_out_that_the_postings_do_not_bear_out_is_found() {
    assert_eq!(
        found_out("UPDATE bursar.payout SET recovered = 29 WHERE job_id = 'j4'").await,
        ["receiver_balance"],
        "a debt that was settled is open again"
    );
    assert_eq!(found_out("UPDATE bursar.payout SET returned = 36 WHERE job_id = 'j3'").await, ["reversals_differ"]);
    assert_eq!(
        found_out("UPDATE bursar.payout SET state = 'reversed' WHERE job_id = 'j3'").await,
        ["reversed_in_part"]
    );
    assert_eq!(
        found_out("UPDATE bursar.payout SET netted = 20, transfer_amount = 80 WHERE job_id = 'j3'").await,
        ["netting_differs", "transfer_differs"]
    );
    assert_eq!(
        found_out("UPDATE bursar.payout SET state = 'held', transfer_id = NULL, undone = 0, carried = 0, recovered = 0 WHERE job_id = 'j4'").await,
        ["receiver_balance", "reversals_differ", "transfer_differs"]
    );
    assert_eq!(found_out("UPDATE bursar.reversal SET reversal_id = 'trr_2'").await, ["reversal_not_posted"]);
    assert_eq!(
        found_out(
            "UPDATE bursar.posting SET amount = 29 WHERE key = 'netting:j3:1:recovered';
                   UPDATE bursar.account SET balance = balance - 1 WHERE name = 'receiver:r3'"
        )
        .await,
        ["netting_open", "receiver_balance"]
    );
}
