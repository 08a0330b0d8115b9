"""Plays the shared scenarios with both clients: python scenarios.py FILE…

The server and an API key with scope admin come from HOOKTRAIL_URL and HOOKTRAIL_API_KEY. What a
scenario is says sdk/scenarios/README.md.
"""

import asyncio
import inspect
import json
import re
import sys
import uuid
from pathlib import Path

import hooktrail
from hooktrail import AsyncHooktrail, Hooktrail

CLASSES = {
    "not_found": hooktrail.NotFoundError,
    "validation": hooktrail.ValidationError,
    "authentication": hooktrail.AuthenticationError,
    "permission": hooktrail.PermissionDeniedError,
    "rate_limited": hooktrail.RateLimitError,
    "conflict": hooktrail.ConflictError,
    "server": hooktrail.ServerError,
    "connection": hooktrail.APIConnectionError,
}
MISSING = object()


class Failed(Exception):
    pass


def fill(value, saved):
    """Put what was saved in the places that name it, at any depth."""
    if isinstance(value, dict):
        return {name: fill(entry, saved) for name, entry in value.items()}
    if isinstance(value, list):
        return [fill(entry, saved) for entry in value]
    if not isinstance(value, str):
        return value
    if value == "$unique":
        return uuid.uuid4().hex
    whole = re.fullmatch(r"\$(\w+)", value)
    if whole:
        return named(saved, whole[1])
    return re.sub(r"\$\{(\w+)\}", lambda place: str(named(saved, place[1])), value)


def named(saved, name):
    if name not in saved:
        raise Failed(f"no step before has saved {name}")
    return saved[name]


def at(result, path):
    for name in path.split("."):
        if isinstance(result, dict):
            result = result.get(name, MISSING)
        elif isinstance(result, list) and name.isdecimal():
            result = result[int(name)] if int(name) < len(result) else MISSING
        else:
            return MISSING
    return result


def same(found, wanted):
    """Equality of JSON values; Python's own takes True for 1."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(wanted, dict):
        return (
            isinstance(found, dict) and found.keys() == wanted.keys() and all(same(found[n], wanted[n]) for n in wanted)
        )
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(same, found, wanted))
    return found == wanted


MATCHERS = {
    "matches": lambda found, pattern: isinstance(found, str) and re.search(pattern, found) is not None,
    "absent": lambda found, wanted: (found is MISSING or found is None) is wanted,
    "present": lambda found, wanted: (found is not MISSING and found is not None) is wanted,
    "length": lambda found, wanted: isinstance(found, list) and len(found) == wanted,
    "at_least": lambda found, least: isinstance(found, (int, float)) and found >= least,
    "contains": lambda found, part: isinstance(found, str) and part in found,
}


def check(result, expected):
    for path, wanted in expected.items():
        found = at(result, path)
        if isinstance(wanted, dict) and len(wanted) == 1 and set(wanted) <= set(MATCHERS):
            ((matcher, argument),) = wanted.items()
            fits = MATCHERS[matcher](found, argument)
        else:
            fits = same(found, wanted)
        if not fits:
            raise Failed(f"{path} is {'missing' if found is MISSING else json.dumps(found)}, not {json.dumps(wanted)}")


def check_error(error, fails):
    unknown = fails.keys() - {"status", "code", "error", "details"}
    if unknown:
        raise Failed(f"fails has fields that are not known: {unknown}")
    for name in ("status", "code"):
        if name in fails and getattr(error, name, None) != fails[name]:
            raise Failed(f"the {name} is {getattr(error, name, None)!r}, not {fails[name]!r}: {error}")
    if "error" in fails and not isinstance(error, CLASSES[fails["error"]]):
        raise Failed(f"the error is {type(error).__name__}, not of {fails['error']}")
    if "details" in fails and fails["details"] not in getattr(error, "details", {}):
        raise Failed(f"the details do not name {fails['details']}: {error}")


async def call(client, name, arguments):
    """Call a method of either client, and give its result as data."""
    if name in ("sign", "verify"):
        return {"value": getattr(hooktrail, name)(**arguments)}
    method = client
    for part in name.split("."):
        method = getattr(method, part)
    # "from" is a word of the language.
    result = method(**{"from_" if name == "from" else name: value for name, value in arguments.items()})
    if inspect.isawaitable(result):
        return await result
    if hasattr(result, "__anext__"):
        return {"items": [entry async for entry in result]}
    if hasattr(result, "__next__"):
        return {"items": list(result)}
    return result


async def play(scenario, clients):
    saved = {}
    for number, step in enumerate(scenario["steps"], 1):
        try:
            unknown = step.keys() - {"call", "with", "as", "expect", "save", "fails"}
            if unknown:
                raise Failed(f"it has fields that are not known: {unknown}")
            client = clients(fill(step.get("as"), saved))
            try:
                result = await call(client, step["call"], fill(step.get("with", {}), saved))
            except hooktrail.HooktrailError as error:
                if "fails" not in step:
                    raise Failed(f"{type(error).__name__}: {error}") from error
                check_error(error, step["fails"])
                continue
            if "fails" in step:
                raise Failed(f"it does not fail, and gives {json.dumps(result)}")
            check(result, fill(step.get("expect", {}), saved))
            for name, path in step.get("save", {}).items():
                if at(result, path) is MISSING:
                    raise Failed(f"there is no {path} to save")
                saved[name] = at(result, path)
        except Failed as why:
            raise Failed(f"step {number}, {step['call']}: {why}") from None


async def play_all(kind, scenarios):
    """Play the scenarios with one kind of client, all of which share its connections by key."""
    made = {}

    def clients(key):
        if key not in made:
            made[key] = kind() if key is None else kind(api_key=key)
        return made[key]

    failed = 0
    for scenario in scenarios:
        try:
            await play(scenario, clients)
            print(f"ok      {kind.__name__}: {scenario['name']}")
        except Exception as error:  # of whatever kind, it is told with the scenario's name
            failed += 1
            why = str(error) if isinstance(error, Failed) else repr(error)
            print(f"FAILED  {kind.__name__}: {scenario['name']}: {why}")
    for client in made.values():
        closed = client.close()
        if inspect.isawaitable(closed):
            await closed
    return failed


def main(files):
    scenarios = [scenario for file in files for scenario in json.loads(Path(file).read_text(encoding="utf-8"))]
    if not scenarios:
        print("there are no scenarios", file=sys.stderr)
        return 1
    failed = 0
    for kind in (Hooktrail, AsyncHooktrail):
        failed += asyncio.run(play_all(kind, scenarios))
    print(f"{2 * len(scenarios) - failed} of {2 * len(scenarios)} passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
