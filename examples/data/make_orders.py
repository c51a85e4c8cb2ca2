"""Make orders.csv: 2,000 orders from a fixed seed, the same on every machine.

python examples/data/make_orders.py
"""

import csv
import io
import random
from pathlib import Path

PATH = Path(__file__).with_name("orders.csv")
COLUMNS = ["order_id", "customer", "sku", "quantity", "amount_cents", "card", "country"]
ORDERS = 2_000
SEED = 20_240_229

PRICES_CENTS = {
    "notebook": 450,
    "mug": 1_190,
    "lamp": 3_900,
    "headphones": 8_900,
    "backpack": 6_400,
    "kettle": 4_700,
    "desk": 32_000,
    "chair": 21_500,
    "bicycle": 89_900,
    "typewriter": 12_500,  # no longer made: never in stock
}
SKU_WEIGHTS = [18, 18, 12, 12, 10, 10, 6, 7, 5, 2]
CARDS = ["card-ok", "card-timeout-1", "card-timeout-2", "card-declined"]  # as a gateway's test cards
CARD_WEIGHTS = [85, 8, 3, 4]
COUNTRIES = ["DE", "FR", "NL", "PL", "ES", "AQ"]  # no carrier goes to AQ, Antarctica
COUNTRY_WEIGHTS = [30, 22, 20, 15, 11, 2]
CUSTOMERS = ["ann", "bob", "cleo", "dan", "eve", "finn", "gus", "hal", "ida", "jon", "kim", "lea", "max", "nia", "otto"]


def make_rows() -> list[list[str]]:
    """The rows of orders.csv without its header. `choices` with a seed gives the same on every Python version."""
    source = random.Random(SEED)
    rows = []
    for number in range(1, ORDERS + 1):
        sku = source.choices(list(PRICES_CENTS), SKU_WEIGHTS)[0]
        quantity = source.choices([1, 2, 3, 5, 10], [60, 20, 10, 7, 3])[0]
        card = source.choices(CARDS, CARD_WEIGHTS)[0]
        country = source.choices(COUNTRIES, COUNTRY_WEIGHTS)[0]
        customer = f"{source.choices(CUSTOMERS)[0]}-{source.randrange(100):02d}"
        amount = quantity * PRICES_CENTS[sku]
        rows.append([f"o-{number:04d}", customer, sku, str(quantity), str(amount), card, country])
    return rows


def make_csv() -> str:
    """The text of orders.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(make_rows())
    return text.getvalue()


if __name__ == "__main__":
    PATH.write_text(make_csv(), encoding="ascii")
    print(f"{PATH.name}: {ORDERS} orders")
