//! The rooms where one looks: events, accounts, subscriptions; what is found, what a page says, what is refused.

use bursar_jobs::desk::access::Role;

use super::{Desk, Visitor};

/// Where the link to what comes next leads.
fn next(page: &str) -> Option<String> {
    let before = page.split("\" rel=\"next\"").next().filter(|before| before.len() < page.len())?;
    Some(before.rsplit("href=\"").next()?.replace("&amp;", "&"))
}

/// The names in the first column of a list, over all its pages.
async fn all(visitor: &Visitor, path: &str) -> Vec<String> {
    let (mut names, mut path) = (Vec::new(), path.to_owned());
    for _ in 0..20 {
        let page = visitor.sees(&path, &[]).await;
        let rows = page.split("<tr><td class=\"id\"><a href=\"").skip(1);
        names.extend(rows.map(|row| row.split("\">").nth(1).unwrap().split("</a>").next().unwrap().to_owned()));
        match next(&page) {
            Some(further) => path = further,
            None => return names,
        }
    }
    panic!("{path} never ends");
}

const EVENTS: &str = r#"
    SELECT bursar.receive('stripe', 'evt_' || lpad(n::text, 3, '0'), CASE n % 3 WHEN 0 THEN 'invoice.paid' ELSE 'x.y' END,
        '2026-09-01', false, '2026-09-30', NULL, 'obj_' || n % 4, convert_to('{"n": ' || n || '}', 'UTF8'), 'note_event', 3)
    FROM generate_series(1, 120) n;
    SELECT bursar.receive('verification', 'msg_1', 'job.verified', NULL, NULL, NULL, NULL, 'job_1', '{"data": "<b>bold</b>"}', 'record_payout', 3);
    -- Many at one moment: a place within it is told by the id.
    UPDATE bursar.event SET received_at = date_trunc('hour', received_at) - interval '2 hours' WHERE id LIKE 'evt_%';
    SELECT bursar.post('[{"key": "refill:1", "kind": "refill", "debit": "issuance", "credit": "user:anna", "unit": "credits",
        "amount": 2500000, "event_id": "evt_003", "ref": "obj_3"}]');
    INSERT INTO bursar.payout (job_id, receiver_id, sender_id, skill, credits, amount, currency, state, event_id)
    VALUES ('job_1', 'bob', 'anna', 'research', 2000000, 100, 'usd', 'paid', 'msg_1');
    INSERT INTO bursar.customer (id, user_id) VALUES ('obj_2', 'carl')"#;

#[tokio::test]
async fn events_are_found_by_id_type_object_user_source_and_age_page_by_page() {
    let desk = Desk::open().await;
    desk.plant(EVENTS).await;
    let vera = desk.visitor("vera", Role::Viewer).await;
    let ids = async |query: &str| all(&vera, &format!("/events?{query}")).await;
    let every = ids("").await;
    assert_eq!(every.len(), 121, "each once, over three pages");
    assert_eq!((every[0].as_str(), every[1].as_str(), every[120].as_str()), ("msg_1", "evt_120", "evt_001"));
    assert_eq!(ids("id=evt_007").await, ["evt_007"]);
    assert_eq!(ids("type=invoice.paid").await.len(), 40);
    assert_eq!(ids("object=obj_2").await.len(), 30);
    assert_eq!(ids("object=obj_2&type=invoice.paid").await.len(), 10, "all that is said holds");
    assert_eq!(ids("source=verification").await, ["msg_1"]);
    assert_eq!(ids("since=1h").await, ["msg_1"]);
    assert_eq!(ids("older=1h").await.len(), 120);
    // By what they caused of a user's, and by what they are about.
    assert_eq!(ids("user=bob").await, ["msg_1"]);
    assert_eq!(ids("user=carl").await.len(), 30);
    let anna = ids("user=anna").await;
    assert!(anna.len() == 31 && anna.contains(&"msg_1".to_owned()) && anna.contains(&"evt_003".to_owned()), "{anna:?}");
    assert!(ids("user=nobody").await.is_empty() && ids("id=evt_").await.is_empty());

    let types = vera.sees("/event-types", &["type=invoice.paid", "job.verified"]).await;
    for counted in ["<td class=\"n\">80</td>", "<td class=\"n\">40</td>", "<td class=\"n\">1</td>"] {
        assert!(types.contains(counted), "{counted} is missing in {types}");
    }
}

#[tokio::test]
async fn an_event_is_shown_with_its_body_and_all_that_it_caused() {
    let desk = Desk::open().await;
    desk.plant(EVENTS).await;
    desk.plant(
        r"SELECT bursar.receive('stripe', 'evt_long', 'x.y', NULL, true, NULL, 'acct_1', 'cus_1',
               convert_to(json_build_object('note', '</pre><script>', 'all', (SELECT json_agg(n) FROM generate_series(1, 60) n))::text, 'UTF8'), 'note_event', 3);
           SELECT bursar.enqueue(jsonb_build_array(jsonb_build_object('kind', 'k', 'key', 'first', 'args', '{}'::jsonb, 'max_attempts', 1, 'cause', 'evt_003')));
           SELECT bursar.enqueue(jsonb_agg(jsonb_build_object('kind', 'grandchild', 'key', 'second', 'args', '{}'::jsonb, 'max_attempts', 1, 'cause', id)))
           FROM apalis.jobs WHERE idempotency_key = 'first';
           INSERT INTO bursar.setting (name, value) VALUES ('stripe', 'test')",
    )
    .await;
    let vera = desk.visitor("vera", Role::Viewer).await;
    let page = vera
        .sees(
            "/events/evt_003",
            &[
                "invoice.paid",
                ">note_event</a>",
                ">grandchild</a>",
                "2.5 credits from issuance to",
                "/accounts/anna",
                "events?object=obj_3",
            ],
        )
        .await;
    assert!(page.contains("&quot;n&quot;: 3") && !page.contains("<details>"), "a short body is not folded: {page}");
    assert!(!page.contains("/replay"), "a viewer is offered nothing");
    let long =
        vera.sees("/events/evt_long", &["<details><summary>Show all", "&lt;/pre&gt;&lt;script&gt;", "live"]).await;
    assert!(!long.contains("</pre><script>"), "what an event says is text");
    assert!(long.contains("https://dashboard.stripe.com/test/customers/cus_1"), "{long}");
    desk.plant("UPDATE bursar.event SET body = NULL WHERE id = 'evt_003'").await;
    vera.sees("/events/evt_003", &["It was pruned"]).await;
}

#[tokio::test]
async fn accounts_are_found_by_the_beginning_of_their_id() {
    let desk = Desk::open().await;
    desk.plant(
        r"SELECT bursar.post(jsonb_agg(jsonb_build_object('key', 'g' || n, 'kind', 'admin_grant', 'debit', 'issuance',
               'credit', 'user:user_' || lpad(n::text, 3, '0'), 'unit', 'credits', 'amount', 1000000))) FROM generate_series(1, 110) n;
           INSERT INTO bursar.customer (id, user_id) VALUES ('cus_1', 'user_007'), ('cus_2', 'user_007'), ('cus_3', 'user_x'), ('cus_4', 'User_1');
           INSERT INTO bursar.receiver (user_id, state) VALUES ('user_y', 'restricted'), ('50%/a b', 'pending')",
    )
    .await;
    let vera = desk.visitor("vera", Role::Viewer).await;
    let found = all(&vera, "/accounts?user=user_").await;
    assert_eq!(found.len(), 112, "each once, over three pages: {found:?}");
    assert_eq!((found[0].as_str(), found[111].as_str()), ("user_001", "user_y"));
    assert_eq!(all(&vera, "/accounts").await.len(), 114);
    assert_eq!(all(&vera, "/accounts?user=user_00").await.len(), 9);
    assert_eq!(all(&vera, "/accounts?user=50%25").await, ["50%/a b"], "a sign of patterns is a letter");
    assert!(all(&vera, "/accounts?user=_").await.is_empty());
    vera.sees("/accounts?user=50", &["/accounts/50%25%2Fa%20b", "none</span>"]).await;
    vera.sees("/accounts/50%25%2Fa%20b", &["50%/a b has no connected account"]).await;
}

#[tokio::test]
async fn a_user_is_shown_with_where_each_credit_came_from_and_what_else_is_known() {
    let desk = Desk::open().await;
    desk.plant(
        r#"INSERT INTO bursar.setting (name, value) VALUES ('stripe', 'live');
           SELECT bursar.receive('stripe', 'evt_1', 'invoice.paid', NULL, true, NULL, NULL, 'in_1', '{}', 'refill_tier', 3);
           SELECT bursar.post(jsonb_build_array(jsonb_build_object('key', 'refill:1', 'kind', 'refill', 'debit', 'issuance', 'credit', 'user:anna',
               'unit', 'credits', 'amount', 150000000, 'event_id', 'evt_1', 'job_id', (SELECT id FROM apalis.jobs), 'ref', 'in_1')));
           SELECT bursar.post(jsonb_agg(jsonb_build_object('key', 's' || n, 'kind', 'admin_removal', 'debit', 'user:anna', 'credit', 'issuance',
               'unit', 'credits', 'amount', 1000000, 'actor', 'olga', 'why', 'by <hand> ' || n) ORDER BY n)) FROM generate_series(1, 60) n;
           INSERT INTO bursar.customer (id, user_id, email) VALUES ('cus_1', 'anna', 'anna@example.com');
           INSERT INTO bursar.subscription (id, user_id, customer_id, status, price, tier, quantity, interval, interval_count, plan_value,
               cancel_at_period_end, access_until, lapses_at, asked_at)
           VALUES ('sub_1', 'anna', 'cus_1', 'active', 'price_1', 'pro', 1, 'month', 3, 150000000, false, bursar.now() + interval '9 days',
                   bursar.now() + interval '10 days', bursar.now()),
                  ('sub_2', 'anna', 'cus_1', 'past_due', 'price_2', NULL, 1, 'month', 1, 0, false, NULL, NULL, bursar.now());
           INSERT INTO bursar.charge (id, amount, currency, asked_at) VALUES ('ch_1', 1900, 'usd', bursar.now());
           INSERT INTO bursar.dispute (id, charge, amount, currency, status, reason, due_by, created_at, user_id)
           VALUES ('du_1', 'ch_1', 1900, 'usd', 'needs_response', 'fraudulent', '2026-12-24 18:00Z', bursar.now(), 'anna');
           INSERT INTO bursar.receiver (user_id, account_id, state, requirements)
           VALUES ('anna', 'acct_1', 'restricted', '{"disabled_reason": "requirements.past_due", "past_due": ["individual.dob"]}');
           INSERT INTO bursar.payout (job_id, receiver_id, sender_id, skill, credits, amount, currency, state)
           VALUES ('job_1', 'anna', 'bob', 'research', 2000000, 100, 'usd', 'held'), ('job_2', 'anna', 'bob', 'research', 2000000, 250, 'usd', 'held'),
                  ('job_3', 'bob', 'anna', 'research', 2000000, 70, 'usd', 'paid');
           INSERT INTO bursar.service_month (subscription_id, start_at, end_at, user_id, value, left_over, extra, refill_key)
           VALUES ('sub_1', '2026-11-01Z', '2026-12-01Z', 'anna', 150000000, 0, 12500000, 'refill:1');
           INSERT INTO bursar.plan_change (subscription_id, at, old_value, new_value, event_id) VALUES ('sub_1', '2026-11-09Z', 50000000, 150000000, 'evt_1');
           INSERT INTO bursar.plan_change_paid (subscription_id, at, invoice, amount, value) VALUES ('sub_1', '2026-11-09Z', 'in_9', 900, 150000000)"#,
    )
    .await;
    let vera = desk.visitor("vera", Role::Viewer).await;
    let page = vera
        .sees(
            "/accounts/anna",
            &[
                "<b>90 credits</b>",
                "-1 credits",
                "by olga",
                "by &lt;hand&gt; 60",
                "a payment is disputed",
                "disputes/du_1",
                "needs_response</td>",
                "fraudulent",
                "2026-12-24 18:00:00 UTC",
                "subscribe more than once",
                "/subscriptions/sub_1",
                "https://dashboard.stripe.com/customers/cus_1",
                "anna@example.com",
                "Stripe restricts acct_1 (requirements.past_due), and wants: individual.dob",
                "2 <span class=\"state wait\">held</span>, 3.50 USD in all",
                "1 <span class=\"state good\">paid</span>, 0.70 USD in all",
            ],
        )
        .await;
    assert!(!page.contains("refill"), "it is on the next page: {page}");
    let older = next(&page).expect("there are more");
    vera.sees(
        &older,
        &["+150 credits", "/events/evt_1", "event ", "job <a href=\"/jobs/", "dashboard.stripe.com/invoices/in_1"],
    )
    .await;

    vera.sees("/subscriptions", &["sub_1", "sub_2", "/accounts/anna"]).await;
    assert_eq!(all(&vera, "/subscriptions?status=past_due").await, ["sub_2"]);
    assert_eq!(all(&vera, "/subscriptions?tier=pro&user=anna").await, ["sub_1"]);
    assert!(all(&vera, "/subscriptions?tier=pro&user=bob").await.is_empty());
    let lines = [
        "150 credits a month",
        "paid every 3 months",
        "12.5 credits",
        "/events/evt_1",
        "50 credits",
        "dashboard.stripe.com/invoices/in_9",
        "dashboard.stripe.com/subscriptions/sub_1",
        "<strong>until <time",
        "renews",
    ];
    vera.sees("/subscriptions/sub_1", &lines).await;
    vera.sees("/subscriptions/sub_2", &["its price sells no tier"]).await;
}

#[tokio::test]
async fn many_subscriptions_that_changed_at_one_moment_are_each_on_one_page() {
    let desk = Desk::open().await;
    desk.plant(
        "INSERT INTO bursar.subscription (id, user_id, status, quantity, plan_value, cancel_at_period_end, asked_at, changed_at)
         SELECT 'sub_' || n, 'anna', 'active', 1, 0, false, now(), '2026-11-01' FROM generate_series(1, 130) n",
    )
    .await;
    let vera = desk.visitor("vera", Role::Viewer).await;
    let mut found = all(&vera, "/subscriptions?user=anna").await;
    assert_eq!(found.len(), 130);
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 130);
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_refused_and_what_is_not_there_is_not_found_each_with_a_sentence() {
    let desk = Desk::open().await;
    let vera = desk.visitor("vera", Role::Viewer).await;
    for odd in [
        "/events?kind=x",
        "/events?source=paypal",
        "/events?since=yesterday",
        "/events?after=x",
        "/events?after=1.paypal.evt",
        "/accounts?users=x",
        "/accounts/x?before=1",
        "/accounts/x?after=y",
        "/subscriptions?status=failed",
        "/subscriptions?after=1",
        "/schedules?name=x",
        "/audit?via=x",
        "/audit?after=x",
        "/audit?since=1",
    ] {
        let page = vera.page(odd).await;
        assert_eq!(page.status, 400, "{odd}: {}", page.body);
        assert!(page.body.contains("role=\"alert\""), "{odd}");
    }
    for (missing, words) in [
        ("/events/evt_none", "There is no event evt_none in the inbox"),
        ("/accounts/nobody", "Nothing is known of a user nobody"),
        ("/accounts/%3Cb%3E", "a user &lt;b&gt;"),
        ("/accounts/a%00b", "There is no such page"),
        ("/subscriptions/sub_none", "There is no subscription sub_none"),
        ("/schedules/x", "There is no such page"),
        ("/events/x/y", "There is no such page"),
    ] {
        let page = vera.page(missing).await;
        assert_eq!(page.status, 404, "{missing}: {}", page.body);
        assert!(page.body.contains(words), "{missing}: {}", page.body);
    }
    for (room, name) in [
        ("/events?id=%00", "No such events"),
        ("/jobs?text=%00", "No such jobs"),
        ("/accounts?user=a%00", "No such users"),
        ("/subscriptions", "None."),
        ("/schedules", "There are none"),
        ("/audit", "No such acts"),
        ("/event-types", "No event has come yet"),
    ] {
        vera.sees(room, &[name]).await;
    }
}

/// What reads too long is given up, by the database too, and says how to ask for less.
#[tokio::test]
async fn a_page_that_would_read_for_ever_is_given_up() {
    let desk = Desk::open().await;
    let anna = desk.visitor("anna", Role::Viewer).await;
    let mut other = desk.db.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE apalis.jobs IN ACCESS EXCLUSIVE MODE").execute(&mut *other).await.unwrap();
    let reply = anna.page("/jobs?state=done").await;
    assert_eq!(reply.status, 503);
    assert!(reply.body.contains("Say more of what you look for"), "{}", reply.body);
    other.rollback().await.unwrap();
    assert_eq!(anna.page("/jobs?state=done").await.status, 200);
}
