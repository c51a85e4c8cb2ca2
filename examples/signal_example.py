"""A workflow that waits for a person: an approval by signal, with a time-out.

python -m currant worker -q approvals -m examples.signal_example
currant queue examples.signal_example.approve_expense '{"args": ["exp-1", 90000]}'
currant signal ID approval '{"approved": true, "by": "ann"}'
"""

from typing import TypedDict

from currant import SignalTimeout, task, wait_for_signal, workflow

LIMIT_CENTS = 50_000


class Decision(TypedDict):
    approved: bool
    by: str


@task(queue="approvals")
async def ask_manager(expense_id: str, amount: int) -> str:
    """Pretend to send the manager a message with a link that sends the signal."""
    return f"please approve {expense_id} over {amount / 100:.2f}"


@task(queue="approvals")
async def pay_out(expense_id: str, amount: int) -> str:
    return f"paid {amount / 100:.2f} for {expense_id}"


@workflow(queue="approvals")
async def approve_expense(expense_id: str, amount: int, wait_seconds: float = 86_400) -> str:
    """Pay small expenses at once, larger ones after a signal `approval`; refuse them after a day of silence."""
    if amount > LIMIT_CENTS:
        await ask_manager.run(expense_id, amount)
        try:
            # The workflow takes no slot while it waits, and a restart does not reset the time-out.
            decision: Decision = await wait_for_signal("approval", timeout=wait_seconds)
        except SignalTimeout:
            return f"refused {expense_id}: nobody answered"
        if not decision["approved"]:
            return f"refused {expense_id}: {decision['by']} said no"
    return await pay_out.run(expense_id, amount)
