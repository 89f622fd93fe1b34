//! The packages there are, as the database has them.
//!
//! They come from the configuration and are then the operators': a row that somebody edited stays. Where the table holds none at all,
//! because nothing was seeded yet, the configuration's count.

use serde::Serialize;
use sqlx::PgConnection;

use crate::{
    base::credits::Credits,
    terms::{Package, Terms},
};

#[derive(Serialize)]
struct Seed<'a> {
    name: &'a str,
    credits: Credits,
    amount: i64,
    currency: &'a str,
    stripe_price_id: Option<&'a str>,
}

/// Takes the configuration's packages over, without overwriting what somebody wrote. What comes back are names of those that collide
/// with a row that is there.
pub async fn seed(db: &mut PgConnection, packages: &[Package]) -> Result<Vec<String>, sqlx::Error> {
    let seeds: Vec<Seed<'_>> = packages
        .iter()
        .map(|package| Seed {
            name: &package.name,
            credits: package.credits,
            amount: package.amount,
            currency: &package.currency,
            stripe_price_id: package.price.as_deref(),
        })
        .collect();
    sqlx::query_scalar!(
        r#"SELECT left_out AS "left_out!" FROM bursar.seed_packages($1) AS left_out"#,
        sqlx::types::Json(seeds) as _
    )
    .fetch_all(db)
    .await
}

/// All packages, those on sale first.
#[derive(Debug, Clone, Default)]
pub struct Packages {
    all: Vec<Package>,
    on_sale: usize,
}

impl Packages {
    /// Reads them.
    pub async fn load(db: &mut PgConnection, terms: Option<&Terms>) -> Result<Self, sqlx::Error> {
        let rows = sqlx::query!(
            r#"SELECT name, (credits * 1000000.0)::bigint AS "credits!", amount, currency, stripe_price_id, active
               FROM bursar.credit_packages ORDER BY active DESC, name"#
        )
        .fetch_all(db)
        .await?;
        if let (true, Some(terms)) = (rows.is_empty(), terms) {
            return Ok(Self::of(terms));
        }
        Ok(Self {
            on_sale: rows.iter().filter(|row| row.active).count(),
            all: rows
                .into_iter()
                .map(|row| Package {
                    name: row.name,
                    credits: Credits::from_micros(row.credits),
                    amount: row.amount,
                    currency: row.currency,
                    price: row.stripe_price_id,
                })
                .collect(),
        })
    }

    /// These, or the configuration's where there are none.
    #[must_use]
    pub fn or(&self, terms: &Terms) -> Self {
        if self.all.is_empty() { Self::of(terms) } else { self.clone() }
    }

    fn of(terms: &Terms) -> Self {
        Self { all: terms.packages.clone(), on_sale: terms.packages.len() }
    }

    /// Those on sale.
    pub fn on_sale(&self) -> &[Package] {
        &self.all[..self.on_sale]
    }

    /// The package that a Stripe price sells, or sold.
    pub fn of_price(&self, price: &str) -> Option<&Package> {
        self.all.iter().find(|package| package.price.as_deref() == Some(price))
    }

    /// The package that costs exactly this, before discounts and tax; one on sale before one that was.
    pub fn of_amount(&self, amount: i64, currency: &str) -> Option<&Package> {
        self.all.iter().find(|package| package.amount == amount && package.currency == currency)
    }
}
