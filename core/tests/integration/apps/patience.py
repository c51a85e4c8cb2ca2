"""For `currant dev`: a run that waits across a restart, and a task without a queue of its own."""

from __future__ import annotations

from currant import task, wait_for_signal, workflow


@task
async def note(text: str) -> str:
    return f"noted {text}"


@workflow(queue="patience")
async def wait_for_word() -> list[str]:
    before = await note.run("before")
    word = await wait_for_signal("word", type=str)
    return [before, await note.run(word)]
