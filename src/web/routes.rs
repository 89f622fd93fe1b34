//! From a request to an event on disk: route, read, verify, open the envelope, store, answer.

use bursar_jobs::{
    base::clock,
    engine::kind,
    inbox::{
        self, Received,
        envelope::{Envelope, EnvelopeError},
    },
};
use hyper::{HeaderMap, Method, Request, StatusCode, body::Incoming};

use super::{
    HEALTH, READY, VERIFICATIONS, Web,
    hmac::SignatureError,
    reply,
    standard_webhooks::{self, Signed},
    stripe_signature,
};
use crate::{
    http::{
        body,
        reply::{Problem, Reply, only},
    },
    telemetry::{counts::Refused, quiet, traces},
};

/// Answers one request.
pub(super) async fn answer(web: &Web, request: Request<Incoming>) -> Reply {
    route(web, request).await.unwrap_or_else(Reply::from)
}

async fn route(web: &Web, request: Request<Incoming>) -> Result<Reply, Problem> {
    let path = request.uri().path();
    if web.settings.webhook_paths.iter().any(|webhook| webhook == path) {
        only(request.method(), "POST", &[Method::POST])?;
        return webhook(web, request).await;
    }
    let read = [Method::GET, Method::HEAD];
    match path {
        VERIFICATIONS => {
            only(request.method(), "POST", &[Method::POST])?;
            verification(web, request).await
        }
        HEALTH => {
            only(request.method(), "GET, HEAD", &read)?;
            Ok(reply::well())
        }
        READY => {
            only(request.method(), "GET, HEAD", &read)?;
            if web.stop.is_said() {
                return Err(Problem::unavailable("This process is stopping: ask another."));
            }
            web.readiness.check(&web.pool).await.map(|()| reply::well())
        }
        _ => {
            let detail = "There is nothing at this path. Events go to POST /api/stripe/webhook or POST /api/verifications, or \
                          where `[web] webhook_paths` says.";
            Err(Problem::new(StatusCode::NOT_FOUND, detail))
        }
    }
}

/// An event from Stripe.
async fn webhook(web: &Web, request: Request<Incoming>) -> Result<Reply, Problem> {
    let Some(secrets) = &web.settings.stripe else {
        let detail = "Stripe is off here (`[stripe] provider`), and no STRIPE_WEBHOOK_SECRET is set.";
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    };
    let (head, stream) = request.into_parts();
    // Before the body: a stranger without a signature gets none of our memory, and at most hears that it sends too much.
    let signature = header(&head.headers, stripe_signature::HEADER);
    if let Err(error) = &signature
        && !body::declares_too_much(&stream, &web.settings.limits)
    {
        return Err(unsigned(web, "stripe", *error));
    }
    let bytes = body::read(&head, stream, &web.settings.limits)
        .await
        .inspect_err(|_| web.counters.rejected("stripe", Refused::Body))?;
    signature
        .and_then(|signature| secrets.verify(signature, &bytes, clock::now().timestamp()))
        .map_err(|error| unsigned(web, "stripe", error))?;
    let envelope = Envelope::stripe(&bytes).map_err(|error| not_an_event(web, "stripe", &error))?;
    reply::received(StatusCode::OK, store(web, &envelope, &bytes, None).await?, true)
}

/// One of the application's own events.
async fn verification(web: &Web, request: Request<Incoming>) -> Result<Reply, Problem> {
    let Some(secrets) = &web.settings.verifications else {
        let detail = "Verifications are off here: set `[web] verifications = true` and VERIFICATION_SECRET.";
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    };
    let (head, stream) = request.into_parts();
    let signed = || {
        Ok(Signed {
            id: header(&head.headers, standard_webhooks::ID)?,
            timestamp: header(&head.headers, standard_webhooks::TIMESTAMP)?,
            signature: header(&head.headers, standard_webhooks::SIGNATURE)?,
        })
    };
    let signed = signed().map_err(|error| unsigned(web, "verification", error))?;
    let bytes = body::read(&head, stream, &web.settings.limits)
        .await
        .inspect_err(|_| web.counters.rejected("verification", Refused::Body))?;
    secrets.verify(signed, &bytes, clock::now().timestamp()).map_err(|error| unsigned(web, "verification", error))?;
    let envelope =
        Envelope::verification(signed.id, &bytes).map_err(|error| not_an_event(web, "verification", &error))?;
    let acted_on = kind::of_event(&envelope) != kind::NOTE_EVENT;
    if !acted_on && web.settings.refuse_unknown_types {
        web.counters.rejected("verification", Refused::NotAnEvent);
        return Err(unknown_type(&envelope.kind));
    }
    let sender = traces::Context::of(&head.headers);
    reply::received(StatusCode::ACCEPTED, store(web, &envelope, &bytes, sender).await?, acted_on)
}

/// A header that must be there once.
fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, SignatureError> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (Some(value), None) => value.to_str().map_err(|_| SignatureError::Malformed(name)),
        _ => Err(SignatureError::Missing(name)),
    }
}

fn unknown_type(kind: &str) -> Problem {
    let known: Vec<&str> = kind::APPLICATION_EVENTS.iter().map(|(known, _)| *known).collect();
    let detail = format!(
        "Nothing acts on the type {kind:?} (`[web] unknown_types`): send one of {}. Nothing was stored.",
        known.join(", ")
    );
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}

fn unsigned(web: &Web, source: &'static str, error: SignatureError) -> Problem {
    // Strangers can send these as fast as they like: a line a second is enough to be seen.
    if let Some(unsaid) = web.counters.rejected_and_due(source) {
        tracing::warn!(source, reason = %error, unsaid, "an event was refused: its signature is not accepted");
    }
    Problem::bad_request(format!("The signature is not accepted: {error}."))
}

fn not_an_event(web: &Web, source: &'static str, error: &EnvelopeError) -> Problem {
    web.counters.rejected(source, Refused::NotAnEvent);
    tracing::warn!(source, reason = quiet(&error.to_string()), "an event was refused: it is signed, and yet no event");
    Problem::bad_request(format!("The body is signed, and yet no event: {error}. Send the event as it was made."))
}

/// Returns once the event is on disk. Anything else is a 503, and the sender's retry finds it stored, or stores it.
async fn store(
    web: &Web,
    envelope: &Envelope,
    bytes: &[u8],
    sender: Option<traces::Context>,
) -> Result<Received, Problem> {
    let begun = clock::monotonic();
    let stored = tokio::time::timeout(web.settings.limits.store, inbox::receive(&web.pool, envelope, bytes)).await;
    let (kind, id) = (envelope.kind.as_str(), envelope.id.as_str());
    match stored {
        Ok(Ok(received)) => {
            web.counters.stored(envelope.source.as_str(), kind, received);
            traces::received(envelope.source.as_str(), kind, id, received.word(), begun.elapsed(), sender);
            tracing::debug!(event = id, kind, ?received, "an event is stored");
            return Ok(received);
        }
        Ok(Err(error)) => {
            // Without the schema, or with an older one.
            let behind = matches!(&error, sqlx::Error::Database(e) if matches!(e.code().as_deref(), Some("3F000" | "42P01" | "42883")));
            let remedy = behind.then_some("run `bursar migrate`");
            tracing::error!(event = id, kind, %error, remedy, "an event could not be stored; its sender was told to try again");
        }
        Err(_) => {
            let limit = web.settings.limits.store;
            tracing::error!(
                event = id,
                kind,
                ?limit,
                "an event could not be stored in time; its sender was told to try again"
            );
        }
    }
    web.counters.unavailable(envelope.source.as_str());
    Err(Problem::unavailable("The event could not be stored. Send it again: it will be, once the database is back."))
}
