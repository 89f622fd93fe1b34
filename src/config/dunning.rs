//! How failed renewals are chased, judged: days in order, and the last step last.

use bursar_jobs::dunning::{Dunning, Final, MOST_DAYS, Schedule};

use super::{SettingsError, number, raw};

const FINAL_DAY: &str = "dunning.final_day";
const FINAL: &str = "dunning.final";
const PORTAL: &str = "letters.portal_url";

/// `portal`: where users see to their payments, which letters of any kind lead to.
pub(super) fn read(raw: &raw::Dunning, portal: Option<&raw::Text>) -> Result<Dunning, SettingsError> {
    let retry_days = days("dunning.retry_days", &raw.retry_days.0, 1)?;
    let letter_days = days("dunning.letter_days", &raw.letter_days.0, 0)?;
    let final_day = day(FINAL_DAY, &raw.final_day.0, 1)?;
    for (what, days) in [("retry", &retry_days), ("letter", &letter_days)] {
        if let Some(last) = days.last().filter(|last| **last > final_day) {
            let problem = format!("is {final_day}, and the last {what} is on day {last}");
            return Err(SettingsError::new(FINAL_DAY, problem, "Write a day that is not before any retry or letter."));
        }
    }
    let last = match raw.last.0.as_str() {
        "pause" => Final::Pause,
        "cancel" => Final::Cancel,
        "none" => Final::None,
        other => return Err(SettingsError::new(FINAL, format!("is {other:?}"), "Write pause, cancel or none.")),
    };
    let portal_url = portal.map(|url| url.0.clone()).filter(|url| !url.is_empty());
    let is_page = |url: &String| {
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        host.is_some_and(|host| !host.is_empty()) && url.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if let Some(url) = portal_url.as_ref().filter(|url| !is_page(url)) {
        let remedy =
            "Write the page where users look after their cards, like https://example.com/billing, or unset it.";
        return Err(SettingsError::new(PORTAL, format!("is {url:?}, not an http(s) URL"), remedy));
    }
    Ok(Dunning { schedule: Schedule { retry_days, letter_days, final_day, last }, portal_url })
}

/// Days in order, none twice. A variable that is empty is a list of none.
fn days(key: &str, texts: &[String], first: u32) -> Result<Vec<u32>, SettingsError> {
    let texts = texts.iter().filter(|text| !text.is_empty());
    let days = texts.map(|text| day(key, text, first)).collect::<Result<Vec<u32>, _>>()?;
    match days.windows(2).find(|two| two[0] >= two[1]) {
        Some(two) => {
            let problem = format!("has {} before {}", two[0], two[1]);
            Err(SettingsError::new(key, problem, "Write each day once, in ascending order."))
        }
        None => Ok(days),
    }
}

fn day(key: &str, text: &str, first: u32) -> Result<u32, SettingsError> {
    let wanted = format!("whole numbers of days from {first} to {MOST_DAYS}");
    match number::<u32>(key, text, &wanted)? {
        day if (first..=MOST_DAYS).contains(&day) => Ok(day),
        day => Err(SettingsError::new(key, format!("has {day}"), format!("Write {wanted}."))),
    }
}
