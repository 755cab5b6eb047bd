"""Flows of a shop that the pages are shown and tested with: tasks that depend on each other, retries, a cache, a subflow, artifacts."""
import time
from datetime import timedelta

from sluice import flow, get_run_logger, task
from sluice.artifacts import create_link, create_markdown, create_table
from sluice.tasks import task_input_hash

REGIONS = ["north", "south", "east", "west"]


@task(retries=2, retry_delay_seconds=0)
def extract_orders(region, attempts=[]):
    log = get_run_logger()
    attempts.append(region)
    if region == "south" and attempts.count(region) == 1:
        log.warning("the shop's API answered 503, this will be tried again")
        raise ConnectionError("503 Service Unavailable")
    time.sleep(0.05)
    rows = 1200 + 37 * len(region)
    log.info("%s orders from %s", rows, region)
    return rows


@task(cache_key_fn=task_input_hash, cache_expiration=timedelta(hours=6))
def exchange_rates(day):
    return {"EUR": 1.0, "USD": 1.09}


@task(tags=["database"])
def load_into_warehouse(rows, rates):
    time.sleep(0.1)
    return rows


@flow
def refresh_dashboard(day: str):
    get_run_logger().info("dashboard of %s refreshed", day)


@flow
def daily_sales(day: str = "2026-03-01", regions: list = REGIONS, full: bool = False, after_order: int = 0):
    """Collects the day's orders of all regions and loads them into the warehouse."""
    log = get_run_logger()
    rates = exchange_rates(day)
    loaded = [load_into_warehouse(extract_orders(region), rates) for region in regions]
    counts = [future.result() for future in loaded]
    create_table("orders-by-region", [{"region": r, "orders": n, "revenue": round(n * 31.4, 2), "complete": True} for r, n in zip(regions, counts)], "what came in on " + day)
    create_markdown(
        "summary",
        f"## Sales of {day}\n\n**{sum(counts)} orders** from {len(regions)} regions, loaded into `warehouse.sales`.\n\n- North is ahead of last week\n- South answered late: see the log\n\n1. Check the rates\n2. Close the day\n\n| region | orders |\n|---|---:|\n| north | 1,385 |\n| south | 1,385 |\n\n> Figures are not final before noon.\n",
        "for the morning's mail",
    )
    create_link("warehouse", "https://warehouse.example.com/sales?day=" + day, "Sales in the warehouse", "where the rows are")
    refresh_dashboard(day)
    log.info("done: %s orders", sum(counts))
    return sum(counts)


@flow
def audit_stock(shelf: str = "A1"):
    get_run_logger().error("shelf %s: 3 of 20 items are missing", shelf)
    raise ValueError(f"shelf {shelf} has 17 items, the books say 20")
