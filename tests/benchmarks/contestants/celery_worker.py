"""The upsert as a Celery task: what the deferring Flask view leaves to a worker process."""

import os
from functools import cache

import psycopg
from celery import Celery

from tests.benchmarks.contestants.plain import CART, ITEM, Fields

celery = Celery("carts", broker=os.environ["BENCH_BROKER_URL"])
celery.conf.task_ignore_result = True


@cache
def connection() -> psycopg.Connection:
    """Return this process's connection."""
    return psycopg.connect(os.environ["DATABASE_URL"])


@celery.task(name="store")
def store(item: Fields) -> None:
    """Store an item."""
    with connection().transaction():
        connection().execute(CART, item)
        connection().execute(ITEM, item)
