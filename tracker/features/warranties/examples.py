"""Examples of the warranties for the API's document."""

from typing import Final

import msgspec

from tracker.features.warranties.domain import COST_RULE
from tracker.features.warranties.dto import WarrantyIn, WarrantyOut
from tracker.features.warranties.service import KEY_REUSED, NO_SUCH_WARRANTY
from tracker.web.openapi.examples import AT, Examples
from tracker.web.query_parameters import limit_rule

EXAMPLES: Final = Examples(
    tags={"warranties": "What stores buy for the items that they sell."},
    tag_places={"warranties": 6},
    bodies=[
        WarrantyIn("b21ad0676f26439", "furniture", "986kjeo8fy9qhu", msgspec.Raw(b"150.0"), "Amy's Sectional Sofa"),
        WarrantyOut(
            id="019a9f0e-6a5f-7c2b-8d11-3f6a2b9c0d4e",
            store_uuid="b21ad0676f26439",
            item_type="furniture",
            item_sku="986kjeo8fy9qhu",
            item_cost=150.0,
            item_title="Amy's Sectional Sofa",
            term_months=24,
            price=1500,
            terms_version="2026-11-72ecde5a",
            created_at=AT,
        ),
    ],
    fields={"createWarranty": ("item_cost", COST_RULE), "listWarranties": ("limit", limit_rule())},
    problems={("createWarranty", 422): KEY_REUSED, ("showWarranty", 404): NO_SUCH_WARRANTY},
)
