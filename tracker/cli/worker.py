"""`tracker worker`: a process that runs the jobs alone."""

import asyncio
import contextlib
import os

import click
import uvloop

from tracker.cli.database import migrated_database
from tracker.metrics.scrape_port import metrics_on
from tracker.runtime.features import check_jobs, load_settings
from tracker.runtime.job_runners import JobRunners, run_jobs_until_signal
from tracker.runtime.metric_sources import database_sources, families_by_name
from tracker.runtime.tracer import tracer_of


@click.command()
@click.option(
    "--metrics-port", type=click.IntRange(1, 65535), help="Show the metrics of this process to Prometheus there."
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Address of the port.")
def worker(metrics_port: int | None, metrics_host: str) -> None:
    """Run the jobs alone, until Ctrl-C or SIGTERM.

    For who wants to scale them apart from `tracker serve`, which then has TRACKER_JOBS=off.
    """
    settings = load_settings(os.environ)
    check_jobs(settings)  # what is wrong with it is said before anything is promised
    with migrated_database(settings) as url:

        def beside(jobs: JobRunners) -> contextlib.AbstractAsyncContextManager[None]:
            if metrics_port is None:
                return contextlib.nullcontext()
            return metrics_on(
                jobs.samples,
                database_sources(),
                families=families_by_name(),
                url=url,
                host=metrics_host,
                port=metrics_port,
            )

        click.echo("Tracker runs the jobs\n  stop     Ctrl-C")
        with tracer_of(os.environ) as tracer, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run_jobs_until_signal(settings, url=url, tracer=tracer, beside=beside))
