//! What invoices granted before, under whatever name their tier had then.
//!
//! A refill's key holds the name that its tier has in the settings. Where a tier is renamed, or a price moved to another tier, the same
//! month of service would come to another key, and be granted twice: by a twin of its event, a replay, or a repair. So the books are asked
//! what an invoice has granted, too.

use std::collections::HashMap;

use sqlx::PgConnection;

/// One grant of an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    pub posting: i64,
    pub key: String,
    /// Whose account it went to.
    pub user: String,
    /// In millionths.
    pub amount: i64,
}

impl Granted {
    /// The tier's name as it was then.
    pub fn tier(&self) -> &str {
        tier_in(&self.key).unwrap_or(&self.key)
    }
}

/// What each of these invoices has granted as a refill or a trial, oldest first.
pub(crate) async fn by_invoice(
    db: &mut PgConnection,
    invoices: &[String],
) -> Result<HashMap<String, Vec<Granted>>, sqlx::Error> {
    if invoices.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        r#"SELECT p.ref AS "invoice!", p.id, p.key, p.amount, u.name FROM bursar.posting p JOIN bursar.account u ON u.id = p.credit
           WHERE p.ref = ANY ($1) AND p.kind = 'refill' AND p.reverses IS NULL ORDER BY p.id"#,
        invoices
    );
    let mut all: HashMap<String, Vec<Granted>> = HashMap::new();
    for row in rows.fetch_all(db).await? {
        let user = row.name.strip_prefix("user:").unwrap_or_default().to_owned();
        let granted = Granted { posting: row.id, key: row.key, user, amount: row.amount };
        all.entry(row.invoice).or_default().push(granted);
    }
    Ok(all)
}

/// Those for the same service as one of the keys that are due, and under none of them.
pub(crate) fn otherwise_named<'a>(granted: &'a [Granted], due: &[&str]) -> Vec<&'a Granted> {
    let same = |one: &str, other: &str| service_in(one).is_some_and(|service| Some(service) == service_in(other));
    let named = |key: &str| due.contains(&key);
    granted.iter().filter(|of| !named(&of.key) && due.iter().any(|key| same(key, &of.key))).collect()
}

/// All that was granted for the services that are due, under whatever name, in millionths.
pub(crate) fn in_all(granted: &[Granted], due: &[&str]) -> i64 {
    let others = otherwise_named(granted, due);
    let named = granted.iter().filter(|of| due.contains(&of.key.as_str()));
    named.chain(others).fold(0, |sum, of| sum.saturating_add(of.amount))
}

/// The kind of grant, the subscription, and the start of the month, of a key `refill:sub:tier:start` or `trial:sub:tier`. A tier's name
/// may hold colons.
fn service_in(key: &str) -> Option<(&str, &str, &str)> {
    let (kind, rest) = key.split_once(':')?;
    let (subscription, rest) = rest.split_once(':')?;
    match kind {
        "trial" => Some((kind, subscription, "")),
        "refill" => Some((kind, subscription, rest.get(rest.len().checked_sub(START)?..)?)),
        _ => None,
    }
}

fn tier_in(key: &str) -> Option<&str> {
    let (kind, rest) = key.split_once(':')?;
    let (_, rest) = rest.split_once(':')?;
    if kind == "trial" { Some(rest) } else { rest.get(..rest.len().checked_sub(START + 1)?) }
}

/// The length of a moment in a key: `2026-11-01T00:00:00Z`.
const START: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(key: &str, amount: i64) -> Granted {
        Granted { posting: 1, key: key.into(), user: "alice".into(), amount }
    }

    #[test]
    fn the_same_month_under_another_name_is_known() {
        let pro = granted("refill:sub_1:pro:2026-11-01T00:00:00Z", 150);
        assert_eq!(pro.tier(), "pro");
        let others = |due: &[&str]| otherwise_named(std::slice::from_ref(&pro), due).len();
        assert_eq!(others(&["refill:sub_1:professional:2026-11-01T00:00:00Z"]), 1);
        assert_eq!(others(&["refill:sub_1:a:b:2026-11-01T00:00:00Z"]), 1, "a name with a colon");
        assert_eq!(others(&["refill:sub_1:pro:2026-11-01T00:00:00Z"]), 0, "it is the same");
        assert_eq!(others(&["refill:sub_1:pro:2026-12-01T00:00:00Z"]), 0, "another month");
        assert_eq!(others(&["refill:sub_2:team:2026-11-01T00:00:00Z"]), 0, "another subscription");
        assert_eq!(others(&["trial:sub_1:pro", "purchase:cs_1", "nonsense"]), 0);
    }

    #[test]
    fn a_trial_under_another_name_is_known_and_two_tiers_of_one_month_are_two() {
        let trial = [granted("trial:sub_1:pro", 10)];
        assert_eq!(otherwise_named(&trial, &["trial:sub_1:professional"]).len(), 1);
        let two = [
            granted("refill:sub_1:pro:2026-11-01T00:00:00Z", 150),
            granted("refill:sub_1:more:2026-11-01T00:00:00Z", 5),
        ];
        let due = ["refill:sub_1:pro:2026-11-01T00:00:00Z", "refill:sub_1:more:2026-11-01T00:00:00Z"];
        assert!(otherwise_named(&two, &due).is_empty());
        assert_eq!(in_all(&two, &due), 155);
        assert_eq!(in_all(&two, &due[..1]), 155, "the other is for the same month");
    }
}
