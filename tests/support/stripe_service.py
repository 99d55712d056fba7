"""Stripe for tests: localstripe, behind a proxy of ours that adds what it lacks and loses what it is told to lose.

`python -m tests.support.stripe_service --port 9200 --upstream http://127.0.0.1:8420`; `stripe_api` starts both.

localstripe's: payment methods, intents, charges, their states, webhooks and their signatures.

The proxy's, as Stripe documents them:
- `Idempotency-Key`: the same key gets the same answer, 409 while the first is in progress, 400 with other
  parameters; what was turned down before it was executed (400, 401, 404, 409, 429) is not kept.
- `automatic_payment_methods` is left out, because localstripe does not know it.
- `error_on_requires_action`: a payment that would need the customer fails with 402 `authentication_required`.
- A payment method that does not exist: 400 `resource_missing` with `param`. `pm_card_visa_chargeDeclined`
  is declined when it is charged; localstripe declines it only when it is attached to a customer.
- An intent in another state than the call needs: 400 `payment_intent_unexpected_state`.

`PUT /_proxy/rules` tells what to do to calls from now on and lets go of those that are held, `GET
/_proxy/calls` how often each was made and executed, and how many are held now.
"""

import argparse
import asyncio
import re
from collections import Counter
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlencode

import aiohttp
import msgspec
from aiohttp import web
from msgspec import Struct

NOT_KEPT: Final = frozenset({400, 401, 404, 409, 429})


class Rule(Struct):
    """What to do to calls."""

    call: str
    """A regular expression for `POST /v1/payment_intents/pi_…/confirm`."""

    then: Literal["hold", "drop", "answer"]
    """Hold it until there are other rules, or cut the connection, or answer with `status` and `body`."""

    when: Literal["before", "during", "after"] = "before"
    """On the way to Stripe, while Stripe works on it, or on the way back."""

    status: int = 500
    body: str = '{"error": {"type": "api_error", "message": "told to fail"}}'
    times: int = 1_000_000


class Calls(Struct):
    """What was called, by method and path."""

    made: dict[str, int]
    executed: dict[str, int]
    held: int
    traceparents: dict[str, str]


class _Answer(Struct):
    status: int
    body: bytes


class _Kept(Struct):
    request: tuple[str, bytes]
    answer: _Answer | None = None


class StripeProxy:
    """The aiohttp application's only handler."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self._upstream = upstream
        self._session = session
        self._rules: list[Rule] = []
        self._released = asyncio.Event()
        self._made: Counter[str] = Counter()
        self._executed: Counter[str] = Counter()
        self._held = 0
        self._kept: dict[str, _Kept] = {}
        self._traceparents: dict[str, str] = {}

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        body = await request.read()
        match request.method, request.path:
            case "PUT", "/_proxy/rules":
                self._rules = msgspec.json.decode(body, type=list[Rule])
                self._released.set()
                self._released = asyncio.Event()
                return web.Response(status=204)
            case "GET", "/_proxy/calls":
                calls = Calls(dict(self._made), dict(self._executed), self._held, self._traceparents)
                return web.Response(body=msgspec.json.encode(calls))
        call = f"{request.method} {request.path}"
        self._made[call] += 1
        self._traceparents[call] = request.headers.get("traceparent", "")
        answer = await self._told(call, "before", request) or await self._answer(call, request, body)
        answer = await self._told(call, "after", request) or answer
        return web.Response(status=answer.status, body=answer.body, content_type="application/json")

    async def _told(self, call: str, when: str, request: web.Request) -> _Answer | None:
        """Do what a rule says, if there is one for it; None lets the call go on."""
        for rule in self._rules:
            if rule.when == when and rule.times > 0 and re.search(rule.call, call):
                rule.times -= 1
                if rule.then == "hold":
                    self._held += 1
                    await self._released.wait()
                    self._held -= 1
                    return None
                if rule.then == "drop" and request.transport is not None:
                    request.transport.abort()
                return _Answer(rule.status, rule.body.encode())
        return None

    async def _answer(self, call: str, request: web.Request, body: bytes) -> _Answer:
        key = request.headers.get("Idempotency-Key")
        if key is None or request.method != "POST":
            return await self._execute(call, request, body)
        if kept := self._kept.get(key):
            if kept.request != (call, body):
                return _error(400, "idempotency_error", "Keys for idempotent requests can only be used once.")
            return kept.answer or _error(409, "idempotency_error", "There is another request in progress.")
        kept = self._kept[key] = _Kept((call, body))
        kept.answer = await self._execute(call, request, body)
        if kept.answer.status in NOT_KEPT:
            del self._kept[key]
        return kept.answer

    async def _execute(self, call: str, request: web.Request, body: bytes) -> _Answer:
        if told := await self._told(call, "during", request):
            return told
        self._executed[call] += 1
        authorization = request.headers.get("Authorization", "")
        form = dict(parse_qsl(body.decode()))
        if call == "POST /v1/payment_intents":
            return await self._create(request.path, authorization, form)
        if call.endswith(("/confirm", "/cancel")):
            return await self._change(request.path, authorization, form)
        return await self._forward(request.method, str(request.rel_url), authorization, form)

    async def _create(self, path: str, authorization: str, form: dict[str, str]) -> _Answer:
        sent = {name: value for name, value in form.items() if not name.startswith("automatic_payment_methods")}
        if sent.get("payment_method") == "pm_card_visa_chargeDeclined":
            sent["payment_method"] = "pm_card_chargeCustomerFail"
        answer = await self._forward("POST", path, authorization, sent)
        method = sent.get("payment_method", "")
        if answer.status == 404 or (answer.status == 400 and not method.startswith("pm_")):
            message = f"No such PaymentMethod: '{method}'"
            return _error(400, "invalid_request_error", message, code="resource_missing", param="payment_method")
        return answer

    async def _change(self, path: str, authorization: str, form: dict[str, str]) -> _Answer:
        refuses = form.pop("error_on_requires_action", "false").lower() == "true"
        answer = await self._forward("POST", path, authorization, form)
        if answer.status == 400:
            message = "This PaymentIntent has another status."
            return _error(400, "invalid_request_error", message, code="payment_intent_unexpected_state")
        if answer.status == 402:
            return _error(402, "card_error", "Your card was declined.", code="card_declined")
        intent = msgspec.json.decode(answer.body)
        if not refuses or intent.get("status") != "requires_action":
            return answer
        failed = {"client_secret": intent["client_secret"], "success": "false"}
        await self._forward("POST", path.replace("/confirm", "/_authenticate"), authorization, failed)
        message = "This payment required an authentication action to complete, but `error_on_requires_action` was set."
        return _error(402, "card_error", message, code="authentication_required")

    async def _forward(self, method: str, path: str, authorization: str, form: dict[str, str]) -> _Answer:
        headers = {"Authorization": authorization, "Content-Type": "application/x-www-form-urlencoded"}
        try:
            async with self._session.request(
                method, self._upstream + path, data=urlencode(form) or None, headers=headers
            ) as answer:
                return _Answer(answer.status, await answer.read())
        except aiohttp.ClientConnectionError as error:
            return _error(502, "api_error", f"localstripe does not answer: {error}")


def _error(status: int, kind: str, message: str, **more: str) -> _Answer:
    return _Answer(status, msgspec.json.encode({"error": {"type": kind, "message": message, **more}}))


async def _application(upstream: str) -> web.Application:
    session = aiohttp.ClientSession()
    proxy = StripeProxy(upstream, session)
    app = web.Application(client_max_size=16 * 1024 * 1024)  # a rule may hold a large answer
    app.router.add_route("*", "/{path:.*}", proxy.__call__)

    async def close(_: Any) -> None:  # noqa: ANN401  # the application itself
        await session.close()

    app.on_cleanup.append(close)
    return app


def main() -> None:
    """Serve on 127.0.0.1 until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True, help="where localstripe listens")
    arguments = parser.parse_args()
    web.run_app(_application(arguments.upstream), host="127.0.0.1", port=arguments.port, print=None)


if __name__ == "__main__":
    main()
