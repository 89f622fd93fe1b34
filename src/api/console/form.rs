//! What a form or a query says.

use std::collections::BTreeMap;

use bursar_jobs::desk::access::{Role, Signed};
use hyper::{Request, StatusCode, body::Incoming};

use super::Trouble;
use crate::{api::Api, http::body};

/// The fields of a form or a query. Of one that is there twice, the last counts; an empty one is none.
#[derive(Debug, Default, Clone)]
pub(super) struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Reads them.
    pub(super) fn of(text: &[u8]) -> Self {
        // The one letter that no text of the database holds.
        let storable = |text: &str| text.trim().replace('\0', "\u{fffd}");
        let all = form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), storable(&value)));
        Self(all.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// One of them.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Those that are none of these: a mistyped filter must not match everything.
    pub(super) fn unknown(&self, known: &[&str]) -> Option<&str> {
        self.0.keys().map(String::as_str).find(|name| !known.contains(name))
    }
}

/// Reads a form that an operator sent: theirs by its token, and theirs to send by their role.
pub(super) async fn read(
    api: &Api,
    signed: &Signed,
    needed: Role,
    request: Request<Incoming>,
) -> Result<Fields, Trouble> {
    let (head, stream) = request.into_parts();
    let bytes = body::read(&head, stream, &api.settings.limits).await.map_err(|_| {
        Trouble::new(StatusCode::BAD_REQUEST, "The form did not arrive whole. Go back and send it again.")
    })?;
    let fields = Fields::of(&bytes);
    // Both are random and of one length; the comparison gives away nothing that could be used twice within a session's rate.
    let carried = fields.get("csrf").unwrap_or_default();
    if !super::session::is_same(carried, &signed.csrf) {
        return Err(Trouble::new(
            StatusCode::FORBIDDEN,
            "This form is not of your session: nothing was changed. Go back, reload the page, and send it again.",
        ));
    }
    may(signed, needed)?;
    Ok(fields)
}

/// Whether somebody may.
pub(super) fn may(signed: &Signed, needed: Role) -> Result<(), Trouble> {
    if signed.role >= needed { Ok(()) } else { Err(refusal(signed, needed)) }
}

/// Why somebody may not.
pub(super) fn refusal(signed: &Signed, needed: Role) -> Trouble {
    let detail = format!(
        "You are signed in as a {}, and this takes a{} {}: nothing was changed.",
        signed.role.word(),
        if needed == Role::Operator { "n" } else { "" },
        needed.word()
    );
    Trouble::new(StatusCode::FORBIDDEN, &detail)
}
