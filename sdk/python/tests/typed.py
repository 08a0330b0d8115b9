"""A program as users write it. It is never run: mypy says whether it is typed as it should be."""

from typing import Optional

from hooktrail import AsyncHooktrail, Hooktrail, Page, RateLimitError, sign, verify
from hooktrail.types import Agent, Event, Execution, IssuedTrigger, Rejection, TestOutcome, Trigger


def main(client: Hooktrail) -> Optional[float]:
    issued: IssuedTrigger = client.webhook_triggers.create(agent_id="a", name="n", generate_secret=True)["data"]
    token: str = issued["token"]
    page: Page[Trigger] = client.webhook_triggers.list(is_active=True)
    total: int = page["meta"]["total"]
    cursor: Optional[str] = page.next_cursor
    names: list[str] = [trigger["name"] for trigger in page["data"]]
    used: Optional[str] = page["data"][0].get("last_used_at")
    agents: list[Agent] = list(client.agents.list_all())
    executed: Execution = client.executions.wait(client.fire(token, {"n": 1})["data"]["id"], timeout=5)["data"]
    for event in client.events.tail(after=0, stop_after=1):
        position: int = event["position"]
    run: Execution = client.webhook_triggers.run(issued["id"], payload={"n": 1})["data"]
    tried: TestOutcome = client.webhook_triggers.test(issued["id"], payload={"n": 1})["data"]
    refused: list[Rejection] = client.rejections.list(reason="invalid_signature")["data"]
    tokens: int = run["token_usage"]["total_tokens"]
    removed: None = client.webhook_triggers.delete(trigger_id=issued["id"])  # type: ignore[func-returns-value]
    valid: bool = verify(b"{}", sign(b"{}", "a secret"), "a secret")
    try:
        client.me()
    except RateLimitError as error:
        return error.retry_after
    client.webhook_triggers.update("t", is_activ=False)  # type: ignore[call-arg]
    wrong: int = issued["token"]  # type: ignore[assignment]
    print(tried["status"], refused, tokens)
    print(total, cursor, names, used, agents, executed, position, removed, valid, wrong)
    return None


async def main_async(client: AsyncHooktrail) -> Event:
    async with client:
        triggers: list[Trigger] = [trigger async for trigger in client.webhook_triggers.list_all()]
        print(triggers, (await client.agents.get("a"))["data"]["version"] + 1)
        return await client.events.tail().__anext__()
