"""The catalog's route: some products by their SKUs, or page by page all that are sold."""

from typing import Annotated, Final

from litestar import get
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.params import SkipValidation

from tracker.errors import InvalidInputError
from tracker.features.catalog.domain import MAX_SEARCH_BYTES, MAX_SKU_BYTES, SEARCH_PATTERN, check_sku, words_of
from tracker.features.catalog.dto import (
    MAX_SKUS,
    CatalogOut,
    catalog_out,
    check_skus,
)
from tracker.features.catalog.service import Catalog
from tracker.kit.text_rules import NO_NUL_PATTERN
from tracker.web.problems import ADDRESS_PROBLEMS, AnyRequest, problem_spec
from tracker.web.query_parameters import check_parameters, limit_of, limit_parameter, text_parameter

_PARAMETERS: Final = ("sku", "q", "after", "limit")

_SKU: Final = Schema(
    type=OpenAPIType.STRING, min_length=1, max_length=MAX_SKU_BYTES, pattern=NO_NUL_PATTERN, examples=["LMP-1"]
)


@get(
    "/catalog",
    summary="Show products",
    responses={
        400: problem_spec("A parameter breaks its rule; the answer names both"),
        **ADDRESS_PROBLEMS,
        503: problem_spec("Try again after Retry-After seconds"),
    },
    tags=["catalog"],
)
async def show_catalog(
    request: AnyRequest,
    catalog: NamedDependency[SkipValidation[Catalog]],
    sku: Annotated[
        list[str] | None,
        text_parameter(
            "Show these products, in this order, also those that are not sold any more; not with the others.",
            type=OpenAPIType.ARRAY,
            items=_SKU,
            max_items=MAX_SKUS,
            examples=[["LMP-1", "TK-100"]],
        ),
    ] = None,
    q: Annotated[
        str | None,
        text_parameter(
            "Each word of it begins a word of the title.",
            type=OpenAPIType.STRING,
            min_length=1,
            max_length=MAX_SEARCH_BYTES,
            pattern=SEARCH_PATTERN,
            examples=["reading lamp"],
        ),
    ] = None,
    after: Annotated[
        str | None,
        text_parameter(
            "Show the page behind this SKU: `next` of the page before.",
            type=OpenAPIType.STRING,
            min_length=1,
            max_length=MAX_SKU_BYTES,
            pattern=NO_NUL_PATTERN,
        ),
    ] = None,
    limit: Annotated[str | None, limit_parameter("Products of a page.")] = None,
) -> CatalogOut:
    """Show the products with the SKUs asked for, or else a page of those that are sold, by SKU."""
    check_parameters(request.scope["query_string"], _PARAMETERS, repeatable=["sku"])
    if sku is not None:
        if (q, after, limit) != (None, None, None):
            raise InvalidInputError("sku", "does not go together with q, after or limit")
        check_skus(sku)
        described, unknown = await catalog.describe(sku)
        return catalog_out(described, unknown=unknown)
    words = [] if q is None else words_of("q", q)
    if after is not None:
        check_sku("after", after)
    products, following = await catalog.page(after=after or "", limit=limit_of(limit), words=words)
    return catalog_out(products, following=following)
