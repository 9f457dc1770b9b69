"""Judges for tests: an engine that answers each call by a function of what it was shown."""

from __future__ import annotations

import json
import re

from retort.engines.base import Response

PARTS = re.compile(r"<<<([A-Z ]+?) ([0-9a-f]{12})>>>\n(.*?)\n<<<END OF \1 \2>>>", re.DOTALL)


class Scripted:
    """A judge whose output is `say(system, user)`; it sees what a model would see."""

    model, parameters = "scripted", None

    def __init__(self, say):
        self.say, self.seen = say, []

    def count(self, requests):
        return len(requests)

    def generate(self, requests, sampling, done=()):
        for one in requests:
            if one.key in done:
                continue
            system, user = (message["content"] for message in json.loads(one.prompt))
            self.seen.append((system, user))
            text = self.say(system, user)
            yield [Response(one.prompt_id, one.sample, self.model, one.temperature, one.seed, text, "stop", 9, 3)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def material(user):
    """What stands between the fences, by name, and the code."""
    found = {name: text for name, _, text in PARTS.findall(user)}
    return found, PARTS.search(user)[2]


def verdict(user, word):
    return f"I have compared them.\n[[{material(user)[1]}: {word}]]"


def prefers(key):
    """A pairwise judge that prefers the response for which `key` is greater; equal ones tie."""

    def say(_, user):
        parts, _ = material(user)
        a, b = key(parts["RESPONSE A"]), key(parts["RESPONSE B"])
        return verdict(user, "tie" if a == b else "A" if a > b else "B")

    return say


def grades(key):
    """A rubric judge that gives each response the grade `key` of it."""
    return lambda _, user: verdict(user, key(material(user)[0]["RESPONSE"]))
