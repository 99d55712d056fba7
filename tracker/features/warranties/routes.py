"""The routes of the warranties: HTTP in, `Warranties` calls, HTTP out."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import urlencode

import msgspec
from litestar import Response, get, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIFormat, OpenAPIType
from litestar.params import JSONBody, PathParameter, SkipValidation
from litestar.response import Stream

from tracker.errors import InvalidInputError
from tracker.features.warranties.domain import (
    MAX_TEXT_BYTES,
    STORE_PATTERN,
    Selection,
    Warranty,
    check_store,
    parse_warranty_id,
)
from tracker.features.warranties.dto import WarrantyIn, WarrantyOut, sale_of, warranty_out
from tracker.features.warranties.service import Warranties
from tracker.kit.text_rules import NO_NUL_PATTERN, check_text
from tracker.web.idempotency_key import IdempotencyKey, check_key, describe_key
from tracker.web.middleware.responses import CutOff
from tracker.web.problems import ADDRESS_PROBLEMS, BODY_PROBLEMS, AnyRequest, problem_spec
from tracker.web.query_parameters import DEFAULT_LIMIT, check_parameters, limit_of, limit_parameter, text_parameter
from tracker.web.strict_json import JSONOperation, StrictJSON

AllWarranties = NamedDependency[SkipValidation[Warranties]]

_UNAVAILABLE: Final = {503: problem_spec("The database does not answer; try again after Retry-After seconds")}

PIECE_BYTES: Final = 65_536
"""Bytes of a piece of a list: the memory that a slow reader takes, beside a page of warranties."""

_PARAMETERS: Final = ("sku", "item_type", "store_uuid", "after", "limit")

_TOGETHER: Final = "sku, item_type and store_uuid go together"


@dataclass
class CreateOperation(JSONOperation):
    """Adds the Idempotency-Key to the OpenAPI description of creating a warranty."""

    def __post_init__(self) -> None:
        """Describe the Idempotency-Key."""
        super().__post_init__()
        describe_key(self, required=False)


@post(
    "/warranties",
    dto=StrictJSON[WarrantyIn],
    return_dto=None,
    summary="Create a warranty",
    responses={
        **BODY_PROBLEMS,
        **_UNAVAILABLE,
        403: problem_spec("A browser sent it, for a page whose origin is not listed"),
        422: problem_spec("The Idempotency-Key was used for another warranty of this store"),
    },
    operation_class=CreateOperation,
    tags=["warranties"],
)
async def create_warranty(
    data: JSONBody[WarrantyIn], warranties: AllWarranties, idempotency_key: IdempotencyKey = None
) -> Response[WarrantyOut]:
    """Create the warranty for an item that a store sells, at the price and for the term of the rate table.

    The same Idempotency-Key of the same store gives the same warranty.
    """
    key = None if idempotency_key is None else check_key(idempotency_key)
    warranty = await warranties.create(sale_of(data, key))
    return Response(warranty_out(warranty), headers={"Location": f"/warranties/{warranty.id}"})


def _text(description: str) -> object:
    return text_parameter(
        f"{description}; {_TOGETHER}.",
        type=OpenAPIType.STRING,
        min_length=1,
        max_length=MAX_TEXT_BYTES,
        pattern=NO_NUL_PATTERN,
    )


@get(
    "/warranties",
    summary="List warranties",
    responses={
        200: ResponseSpec(
            list[WarrantyOut], description="The warranties, first created first", generate_examples=False
        ),
        400: problem_spec("A parameter is missing or breaks its rule; the answer names both"),
        **ADDRESS_PROBLEMS,
        **_UNAVAILABLE,
    },
    response_headers=[
        ResponseHeader(name="Link", description='The next page, `rel="next"`', documentation_only=True, required=False)
    ],
    middleware=[CutOff],
    tags=["warranties"],
)
async def list_warranties(
    request: AnyRequest,
    warranties: AllWarranties,
    sku: Annotated[str | None, _text("Those for this item")] = None,
    item_type: Annotated[str | None, _text("Those for items of this type")] = None,
    store_uuid: Annotated[
        str | None,
        text_parameter(f"Those of this store; {_TOGETHER}.", type=OpenAPIType.STRING, pattern=STORE_PATTERN),
    ] = None,
    after: Annotated[
        str | None,
        text_parameter(
            "Show the page behind this id. For some seconds, what other workers create may still come before it.",
            type=OpenAPIType.STRING,
            format=OpenAPIFormat.UUID,
        ),
    ] = None,
    limit: Annotated[
        str | None,
        limit_parameter(f"Warranties of a page; without it all, or {DEFAULT_LIMIT} behind `after`.", default=None),
    ] = None,
) -> Response[list[WarrantyOut]] | Stream:
    """List all warranties, or those of one item at one store, first created first: all at once, or by pages."""
    check_parameters(request.scope["query_string"], _PARAMETERS)
    selection = _selection(sku, item_type, store_uuid)
    if limit is None and after is None:
        return Stream(_encoded(await warranties.stream(selection)), media_type="application/json")
    behind = None if after is None else parse_warranty_id(after)
    if after is not None and behind is None:
        raise InvalidInputError("after", "must be the id of a warranty")
    found, last = await warranties.page(selection, after=behind, limit=limit_of(limit))
    headers = {}
    if last is not None:
        query = {name: value for name, value in request.query_params.multi_items() if name != "after"}
        headers["Link"] = f'</warranties?{urlencode({**query, "after": last})}>; rel="next"'
    return Response([warranty_out(warranty) for warranty in found], headers=headers)


@get(
    "/warranties/{warranty_id:str}",
    summary="Show a warranty",
    responses={404: problem_spec("There is no such warranty"), **_UNAVAILABLE},
    tags=["warranties"],
)
async def show_warranty(
    warranty_id: Annotated[str, PathParameter(description="A warranty")], warranties: AllWarranties
) -> WarrantyOut:
    """Show a warranty."""
    return warranty_out(await warranties.find(warranty_id))


def _selection(sku: str | None, item_type: str | None, store_uuid: str | None) -> Selection | None:
    """Return the selection that restricts the list, or None if there is none.

    Raises InvalidInputError unless all three are valid.
    """
    given = {"sku": sku, "item_type": item_type, "store_uuid": store_uuid}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if sku is None or item_type is None or store_uuid is None:
        raise InvalidInputError(missing[0], f"is required: {_TOGETHER}; missing: {', '.join(missing)}")
    check_text("sku", sku, MAX_TEXT_BYTES, required=True)
    check_text("item_type", item_type, MAX_TEXT_BYTES, required=True)
    check_store("store_uuid", store_uuid)
    return Selection(store_uuid, item_type, sku)


async def _encoded(pages: AsyncIterator[list[Warranty]]) -> AsyncIterator[bytes]:
    """Yield the JSON array of all warranties in pieces of about PIECE_BYTES."""
    piece = bytearray(b"[")
    begins = True
    async for page in pages:
        for warranty in page:
            if not begins:
                piece += b","
            piece += msgspec.json.encode(warranty_out(warranty))
            begins = False
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
    yield bytes(piece + b"]")
