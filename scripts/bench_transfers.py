"""Internal consistency at size: ten million transfers between ten accounts, out of order.

The balances are a full join of what each account got and what it gave; their sum is 0 as of every
time, so a query of it changes once: when the first transfer comes. The same at a tenth of the size
is tests/consistency.rs.
"""

import random

TRANSFERS = 10_000_000
ACCOUNTS = 10
DISORDER_MS = 10_000
START_MS = 1_704_067_200_000

SCRIPT = """
CREATE TABLE transfers (id BIGINT, from_account INT, to_account INT, amount BIGINT, ms BIGINT,
  ts AS TO_TIMESTAMP_LTZ(ms, 3), WATERMARK FOR ts AS ts - INTERVAL '10' SECOND)
WITH ('connector' = 'filesystem', 'format' = 'csv', 'csv.header' = 'true', 'path' = '{path}');
CREATE VIEW debits AS
SELECT from_account AS account, SUM(amount) AS debits FROM transfers GROUP BY from_account;
CREATE VIEW credits AS
SELECT to_account AS account, SUM(amount) AS credits FROM transfers GROUP BY to_account;
CREATE VIEW balance AS
SELECT COALESCE(c.account, d.account) AS account,
  COALESCE(credits, 0) - COALESCE(debits, 0) AS balance
FROM credits c FULL JOIN debits d ON c.account = d.account;
SELECT SUM(balance) AS total FROM balance;
"""


def generate(path):
    """Transfers as CSV, one a millisecond, each up to ten seconds late; the same every time."""
    if path.exists():
        return
    pick = random.Random(1).randrange
    part = path.with_suffix(".part")
    with open(part, "w") as out:
        out.write("id,from_account,to_account,amount,ms\n")
        for first in range(0, TRANSFERS, 100_000):
            out.writelines(
                f"{number},{pick(ACCOUNTS)},{pick(ACCOUNTS)},{pick(1, 1001)},"
                f"{START_MS + number + DISORDER_MS - pick(DISORDER_MS)}\n"
                for number in range(first, first + 100_000))
    part.rename(path)


def faults(printed):
    """What is wrong with the changes of the total; empty if it is 0 and stays so."""
    changes = printed.splitlines()[1:]
    if len(changes) == 1 and "+I" in changes[0] and changes[0].endswith(",0"):
        return ""
    return f"{len(changes)} changes of a total that is always 0: {changes[:3]}"
