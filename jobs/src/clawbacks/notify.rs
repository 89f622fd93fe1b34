//! Who is told of a clawback: the team by its webhook and by letter, the user by letter; each once.

use serde_json::json;

use super::claw_back::{ClawBack, Disputed, Facts, Grant};
use crate::{
    base::{credits::Credits, money},
    clawbacks::amounts::{Refund, Stage},
    engine::job::NewJob,
    notifications::{
        notify_team::NotifyTeam,
        send_email::{self, SendLetter},
    },
};

impl ClawBack {
    pub(super) fn tell_refund(&self, facts: &Facts, grant: &Grant, refund: &str, micros: i64) -> NewJob {
        let data = json!({
            "user_id": grant.user, "refund": refund, "charge": self.charge, "paid_for": grant.reference,
            "amount": facts.amounts.get(refund), "currency": facts.currency,
            "credits": Credits::from_micros(micros),
        });
        NotifyTeam::of("refund.clawed_back", &format!("refund:{refund}"), &data, self.event.as_deref())
    }

    pub(super) fn refund_letter(&self, facts: &Facts, grant: &Grant, refund: &Refund, taken: Option<i64>) -> NewJob {
        let letter = SendLetter::to_user("refund_made", &grant.user, &refund.id)
            .with("amount", money::format(refund.amount, &facts.currency));
        let letter = match taken.filter(|micros| *micros > 0) {
            Some(micros) => letter.with("credits", Credits::from_micros(micros).to_string()),
            None => letter,
        };
        letter.job(format!("refund_made:{}", refund.id), self.event.clone())
    }

    pub(super) fn dispute_letter(&self, grant: &Grant, dispute: &Disputed) -> NewJob {
        let mut letter = SendLetter::to_team("dispute_opened", &dispute.of.id)
            .with("amount", money::format(dispute.amount, &dispute.currency))
            .with("user_id", &grant.user)
            .with("charge", &self.charge)
            .with("paid_for", &grant.reference);
        if let Some(reason) = &dispute.reason {
            letter = letter.with("reason", reason);
        }
        if let Some(due_by) = dispute.due_by {
            letter = letter.with("deadline", send_email::moment(due_by));
        }
        letter.job(format!("dispute_opened:{}", dispute.of.id), self.event.clone())
    }

    pub(super) fn tell_dispute(&self, grant: &Grant, dispute: &Disputed, stage: Stage) -> NewJob {
        let told = dispute.told.as_deref().map_or_else(String::new, |before| format!(":after_{before}"));
        let data = json!({
            "user_id": grant.user, "dispute": dispute.of.id, "charge": self.charge, "paid_for": grant.reference,
            "amount": dispute.amount, "currency": dispute.currency, "reason": dispute.reason,
            "status": dispute.of.status, "due_by": dispute.due_by,
        });
        let key = format!("dispute:{}:{}{told}", dispute.of.id, stage.word());
        NotifyTeam::of(&format!("dispute.{}", stage.word()), &key, &data, self.event.as_deref())
    }
}
