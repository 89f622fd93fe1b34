"""Stripe's official Python SDK, as it is, against the sandbox. Run by tests/sdk.rs: sdk.py BASE_URL KEY.

Each check says whether it held, on a line of its own; the exit code is how many did not.
"""

import json
import sys
import threading
import time
import traceback
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer

import stripe
from stripe import _http_client

BASE, KEY = sys.argv[1:3]
stripe.api_base = BASE
stripe.api_key = KEY
stripe.max_network_retries = 0
stripe.enable_telemetry = False
# Half a second between two tries is for the network's sake, and there is none.
_http_client.HTTPClient.INITIAL_DELAY = 0.01
_http_client.HTTPClient.MAX_DELAY = 0.05

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def admin(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(BASE + "/_sandbox/" + path, data=data, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def fault(route, name, **more):
    admin("POST", "faults", {"route": route, "fault": name, **more})


def raises(error, call, **wanted):
    """The error that the call raises, which is of this class and has these fields."""
    try:
        call()
    except error as raised:
        assert type(raised) is error, f"{type(raised).__name__}: {raised}"
        for name, value in wanted.items():
            assert getattr(raised, name) == value, f"{name} is {getattr(raised, name)!r}, not {value!r}: {raised}"
        return raised
    raise AssertionError(f"no {error.__name__}")


def receiver():
    account = stripe.Account.create(type="express", capabilities={"transfers": {"requested": True}})
    admin("POST", f"accounts/{account.id}", {"state": "active"})
    return account.id


def price(**more):
    product = stripe.Product.create(name="Pro")
    return stripe.Price.create(product=product.id, currency="usd", unit_amount=1900, **more)


@check
def the_version_is_the_sandboxs():
    assert stripe.api_version == "2026-09-30.endive", stripe.api_version
    assert stripe.Balance.retrieve().last_response.headers["Stripe-Version"] == stripe.api_version


@check
def customers_are_made_changed_and_deleted():
    customer = stripe.Customer.create(email="a@example.com", metadata={"user_id": "alice", "gone": "soon"})
    assert customer.metadata.user_id == "alice" and customer.livemode is False
    changed = stripe.Customer.modify(customer.id, name="Alice", metadata={"gone": ""})
    assert (changed.name, changed.metadata.to_dict()) == ("Alice", {"user_id": "alice"})
    assert stripe.Customer.delete(customer.id).deleted
    assert stripe.Customer.retrieve(customer.id).deleted


@check
def prices_and_products_are_expanded():
    made = price(recurring={"interval": "month"}, expand=["product"])
    assert made.product.name == "Pro" and made.recurring.interval == "month"
    assert isinstance(stripe.Price.retrieve(made.id).product, str)


@check
def a_checkout_session_is_opened_and_completed():
    session = stripe.checkout.Session.create(
        mode="payment",
        line_items=[{"price": price().id, "quantity": 2}],
        success_url="https://shop.example/done",
        client_reference_id="alice",
        expand=["line_items"],
    )
    assert (session.amount_total, session.status, session.url.startswith(BASE)) == (3800, "open", True)
    assert session.line_items.data[0].quantity == 2
    admin("POST", f"checkout/{session.id}/complete")
    session = stripe.checkout.Session.retrieve(session.id, expand=["payment_intent.latest_charge"])
    assert (session.payment_status, session.client_reference_id) == ("paid", "alice")
    assert session.payment_intent.latest_charge.amount == 3800


@check
def a_subscription_has_its_items_and_its_invoice():
    customer = stripe.Customer.create(email="b@example.com", payment_method="pm_card_visa",
                                      invoice_settings={"default_payment_method": "pm_card_visa"})
    subscription = stripe.Subscription.create(
        customer=customer.id,
        items=[{"price": price(recurring={"interval": "month"}).id}],
        expand=["latest_invoice", "customer"],
    )
    item = subscription["items"].data[0]
    assert subscription.status == "active" and subscription.customer.email == "b@example.com"
    assert item.current_period_end > item.current_period_start
    invoice = subscription.latest_invoice
    assert (invoice.status, invoice.billing_reason, invoice.amount_paid) == ("paid", "subscription_create", 1900)
    assert invoice.parent.subscription_details.subscription == subscription.id


@check
def transfers_are_sent_listed_and_reversed():
    to = receiver()
    sent = stripe.Transfer.create(amount=700, currency="usd", destination=to, transfer_group="g1", metadata={"job_id": "j"})
    found = stripe.Transfer.list(destination=to, transfer_group="g1").data
    assert [transfer.id for transfer in found] == [sent.id]
    back = stripe.Transfer.create_reversal(sent.id, amount=200)
    assert (back.amount, stripe.Transfer.retrieve(sent.id).amount_reversed) == (200, 200)


@check
def lists_page_by_themselves():
    made = [stripe.Customer.create(email="page@example.com").id for _ in range(7)]
    pages = stripe.Customer.list(email="page@example.com", limit=3)
    assert pages.has_more and len(pages.data) == 3
    assert [customer.id for customer in pages.auto_paging_iter()] == made[::-1]
    older = stripe.Customer.list(email="page@example.com", limit=3, ending_before=made[0])
    assert [customer.id for customer in older.auto_paging_iter()] == made[1:]


@check
def what_is_wrong_raises_the_class_it_has_at_stripe():
    unknown = raises(stripe.InvalidRequestError, lambda: stripe.Customer.create(emial="a"),
                     http_status=400, param="emial", code="parameter_unknown")
    assert unknown.request_id.startswith("req_")
    raises(stripe.InvalidRequestError, lambda: stripe.Customer.retrieve("cus_no"), http_status=404, code="resource_missing")
    raises(stripe.AuthenticationError, lambda: stripe.Balance.retrieve(api_key="nonsense"), http_status=401)
    fault("GET /v1/balance", "limit_429", retry_after=3)
    limited = raises(stripe.RateLimitError, stripe.Balance.retrieve, http_status=429)
    assert limited.headers["Retry-After"] == "3"
    fault("GET /v1/balance", "lose_answer")
    raises(stripe.APIConnectionError, stripe.Balance.retrieve)
    # The SDK does not repeat what ends in the middle, however often it may.
    fault("GET /v1/balance", "truncated_200")
    raises(stripe.APIConnectionError, lambda: stripe.Balance.retrieve(max_network_retries=3))
    for name in ["unsaved_500", "garbage_200", "html_502"]:
        fault("GET /v1/balance", name)
        raises(stripe.APIError, stripe.Balance.retrieve)


@check
def keys_replay_and_refuse():
    key = str(uuid.uuid4())
    first = stripe.Customer.create(email="k@example.com", idempotency_key=key)
    again = stripe.Customer.create(email="k@example.com", idempotency_key=key)
    assert (first.id, again.last_response.headers["Idempotent-Replayed"]) == (again.id, "true")
    assert again.last_response.headers["Original-Request"] == first.last_response.request_id
    raises(stripe.IdempotencyError, lambda: stripe.Customer.create(email="other", idempotency_key=key), http_status=400)
    fault("POST /v1/customers", "conflict_409")
    busy = raises(stripe.APIError, lambda: stripe.Customer.create(email="busy"), http_status=409)
    assert busy.error.code == "idempotency_key_in_use"


@check
def its_own_retries_get_past_what_passes():
    client = stripe.StripeClient(KEY, base_addresses={"api": BASE}, max_network_retries=3)
    for name in ["lose_answer", "reset_before", "reset_after", "unsaved_500", "conflict_409", "html_502"]:
        fault("POST /v1/customers", name, times=2)
        email = f"{name}@example.com"
        client.v1.customers.create({"email": email})
        assert len(stripe.Customer.list(email=email).data) == 1, name


def surely(email):
    """A customer for this address, by the rules: the same key while the outcome is unknown, a look once it is saved as a failure."""
    key = str(uuid.uuid4())
    for _ in range(50):
        try:
            return stripe.Customer.create(email=email, idempotency_key=key, max_network_retries=3)
        except stripe.StripeError as error:
            if (error.headers or {}).get("Idempotent-Replayed") != "true":
                continue
        for _ in range(50):
            try:
                found = stripe.Customer.list(email=email, max_network_retries=3).data
                break
            except stripe.StripeError:
                continue
        if found:
            return found[0]
        key = str(uuid.uuid4())
    raise AssertionError("chaos has no end")


@check
def a_correct_client_comes_through_chaos():
    admin("POST", "chaos", {"rate": 0.3, "seed": 7})
    try:
        emails = [f"chaos{n}@example.com" for n in range(40)]
        for email in emails:
            surely(email)
    finally:
        chaos = admin("DELETE", "chaos")
    assert all(len(stripe.Customer.list(email=email).data) == 1 for email in emails)
    assert admin("GET", "chaos")["rate"] == 0, chaos


class Received(BaseHTTPRequestHandler):
    events = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.events.append((self.headers["Stripe-Signature"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@check
def its_signatures_are_verified_and_what_was_tampered_with_is_not():
    server = HTTPServer(("127.0.0.1", 0), Received)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    endpoint = stripe.WebhookEndpoint.create(url=url, enabled_events=["customer.created"])
    customer = stripe.Customer.create(email="event@example.com", metadata={"user_id": "ünï"})
    deadline = time.monotonic() + 20
    while not Received.events and time.monotonic() < deadline:
        time.sleep(0.02)
    stripe.WebhookEndpoint.delete(endpoint.id)
    server.shutdown()
    (signature, body), *_ = Received.events
    event = stripe.Webhook.construct_event(body, signature, endpoint.secret)
    assert (event.type, event.data.object.id) == ("customer.created", customer.id)
    assert event.data.object.metadata.user_id == "ünï" and event.api_version == stripe.api_version
    for tampered, secret in [(body.replace(b"event@", b"thief@"), endpoint.secret), (body, "whsec_other")]:
        raises(stripe.SignatureVerificationError, lambda: stripe.Webhook.construct_event(tampered, signature, secret))


@check
def usage_is_metered():
    customer = stripe.Customer.create().id
    meter = stripe.billing.Meter.create(display_name="Calls", event_name="calls", default_aggregation={"formula": "sum"})
    for value in ["5", "7"]:
        stripe.billing.MeterEvent.create(event_name="calls", payload={"stripe_customer_id": customer, "value": value})
    stripe.billing.MeterEvent.create(event_name="calls", identifier="oops", payload={"stripe_customer_id": customer, "value": "9"})
    stripe.billing.MeterEventAdjustment.create(event_name="calls", type="cancel", cancel={"identifier": "oops"})
    now = int(time.time())
    start = now - now % 60 - 60
    summaries = stripe.billing.Meter.list_event_summaries(meter.id, customer=customer, start_time=start, end_time=start + 180)
    assert summaries.data[0].aggregated_value == 12
    assert stripe.billing.Meter.deactivate(meter.id).status == "inactive"


@check
def a_payment_is_taken_and_refunded():
    intent = stripe.PaymentIntent.create(amount=1000, currency="usd", payment_method="pm_card_visa", confirm=True,
                                         automatic_payment_methods={"enabled": True, "allow_redirects": "never"})
    assert (intent.status, intent.amount_received) == ("succeeded", 1000)
    refund = stripe.Refund.create(payment_intent=intent.id, amount=400)
    assert (refund.status, refund.charge) == ("succeeded", intent.latest_charge)
    assert stripe.Charge.retrieve(intent.latest_charge).amount_refunded == 400
    raises(stripe.InvalidRequestError, lambda: stripe.Refund.create(payment_intent=intent.id, amount=601), http_status=400)


@check
def a_declined_card_is_a_card_error_and_is_saved():
    key = str(uuid.uuid4())

    def pay():
        stripe.PaymentIntent.create(amount=1000, currency="usd", payment_method="pm_card_visa_chargeDeclinedInsufficientFunds",
                                    confirm=True, payment_method_types=["card"], idempotency_key=key)

    for replayed in [None, "true"]:
        declined = raises(stripe.CardError, pay, http_status=402, code="card_declined")
        assert declined.error.decline_code == "insufficient_funds", declined.error
        assert declined.headers.get("Idempotent-Replayed") == replayed
        assert declined.error.payment_intent.status == "requires_payment_method"


@check
def payment_methods_are_attached_and_listed():
    customer = stripe.Customer.create()
    method = stripe.PaymentMethod.attach("pm_card_visa", customer=customer.id)
    assert (method.customer, method.card.last4) == (customer.id, "4242")
    assert [found.id for found in stripe.PaymentMethod.list(customer=customer.id, type="card").data] == [method.id]
    assert stripe.PaymentMethod.detach(method.id).customer is None


failed = 0
for run in CHECKS:
    try:
        run()
        print(f"ok    {run.__name__}", flush=True)
    except Exception as error:
        failed += 1
        print(f"FAIL  {run.__name__}: {type(error).__name__}: {error}", flush=True)
        traceback.print_exc()
    finally:
        admin("DELETE", "faults")
sys.exit(failed)
