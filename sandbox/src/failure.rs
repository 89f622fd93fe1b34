//! What is refused, in the shape of Stripe's errors (Stripe: errors, error codes).

use serde_json::{Map, Value, json};

use super::store::with;

/// What a resource answers: an object, or a refusal.
pub(super) type Answer = Result<Value, Failure>;

/// An error as Stripe says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub status: u16,
    kind: &'static str,
    code: Option<&'static str>,
    message: String,
    param: Option<String>,
    /// What else the error says: of a declined payment, the decline code and the objects it left behind.
    more: Map<String, Value>,
}

impl Failure {
    pub fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, code: None, message: message.into(), param: None, more: Map::new() }
    }

    /// A 402 `card_error`: the card, its bank or its owner said no.
    pub fn card(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(402, "card_error", message).code(code)
    }

    /// A further field of the error; an object as it is to be shown.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.more.insert(field.to_owned(), value.into());
        self
    }

    /// What stands under `error`, and in the `last_payment_error` of an intent.
    pub fn body(&self) -> Value {
        let mut error = json!({ "type": self.kind, "message": self.message });
        if let Some(code) = self.code {
            error["code"] = json!(code);
            error["doc_url"] = json!(format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-")));
        }
        if let Some(param) = &self.param {
            error["param"] = json!(param);
        }
        with(error, self.more.clone().into())
    }

    /// A 400 `invalid_request_error`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The object of the path is not there.
    pub fn no_such(noun: &str, id: &str) -> Self {
        let message = format!("No such {noun}: '{id}'");
        Self::new(404, "invalid_request_error", message).code("resource_missing").param("id")
    }

    /// A parameter names an object that is not there: a 400, where the path's own object is a 404.
    pub fn no_such_param(noun: &str, id: &str, param: &str) -> Self {
        Self { status: 400, ..Self::no_such(noun, id) }.param(param)
    }

    /// An unsaved or saved 500; which of both is the fault's matter.
    pub fn internal() -> Self {
        Self::new(500, "api_error", "An unknown error occurred; the sandbox was told to answer so.")
    }

    pub fn in_use(key: &str) -> Self {
        let message = format!(
            "There is currently another in-progress request using this Idempotent Key (that probably means you \
             submitted twice, and the other request is still going through): {key}. Please try again later."
        );
        Self::new(409, "idempotency_error", message).code("idempotency_key_in_use")
    }

    /// `url` for a 404 on a path that Stripe does not have either, or that the sandbox does not have yet.
    pub fn unrecognized(method: &str, path: &str) -> Self {
        let message = format!(
            "Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at \
             https://support.stripe.com/."
        );
        Self::new(404, "invalid_request_error", message)
    }

    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(401, "invalid_request_error", message)
    }

    /// There is not enough to send.
    pub fn insufficient() -> Self {
        let message = "You have insufficient available funds in your Stripe account. Try adding funds directly to your available \
                       balance by creating Charges using the 4000000000000077 test card. See: \
                       https://stripe.com/docs/testing#available-balance";
        Self::invalid(message).code("balance_insufficient")
    }

    /// The destination may not receive.
    pub fn incapable(destination: &str) -> Self {
        let message = format!(
            "Your destination account needs to have at least one of the following capabilities enabled: transfers, \
             crypto_transfers, legacy_payments ({destination} has none)"
        );
        Self::invalid(message).code("insufficient_capabilities_for_transfer")
    }
}
