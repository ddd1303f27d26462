# ruff: noqa: E501 - a table: one row a line reads best
"""What the adversarial pairs are made of: questions with their phrasings, and words to fill them.

A frame is one question. Its phrasings mean the same; its `opposite` words turn
it around; its `negated` phrasings deny it. `{topic}` and its like are slots,
filled from `FILLERS`; a number slot says in which range.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """A question in several phrasings."""

    name: str
    phrasings: tuple[str, ...]
    opposite: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    """Words for `{act}`, and words for its opposite; the words of one side mean the same."""
    negated: tuple[str, ...] = ()
    """Phrasings that deny it or ask for the contrary by a negation."""
    units: tuple[tuple[str, ...], ...] = ()
    """Units for `{unit}`: spellings of one unit stand together."""


FILLERS: Final[dict[str, tuple[str, ...]]] = {
    "city": (
        "Lisbon", "Oslo", "Nairobi", "Quito", "Hanoi", "Tallinn", "Porto", "Lima", "Cairo", "Osaka", "Turin",
        "Gdansk", "Dakar", "Perth", "Leeds", "Bilbao", "Accra", "Graz", "Malmo", "Varna", "Cork", "Basel",
    ),
    "country": (
        "Portugal", "Norway", "Kenya", "Ecuador", "Vietnam", "Estonia", "Peru", "Egypt", "Japan", "Italy",
        "Poland", "Senegal", "Australia", "Ghana", "Austria", "Sweden", "Bulgaria", "Ireland", "Chile",
    ),
    "person": (
        "Marie Curie", "Alan Turing", "Ada Lovelace", "Niels Bohr", "Rosa Parks", "Frida Kahlo", "Leo Tolstoy",
        "Isaac Newton", "Emmy Noether", "Grace Hopper", "Johannes Kepler", "Clara Schumann", "Max Planck",
    ),
    "company": (
        "Acme", "Globex", "Initech", "Umbrella", "Hooli", "Vandelay", "Stark Freight", "Wonka Foods",
        "Tyrell Labs", "Soylent", "Cyberdyne", "Wayne Bank", "Duff Retail",
    ),
    "language": ("python", "rust", "java", "ruby", "kotlin", "swift", "perl", "scala", "haskell", "elixir"),
    "service": (
        "postgres", "redis", "kafka", "nginx", "grafana", "jenkins", "rabbitmq", "vault", "consul", "haproxy",
        "prometheus", "cassandra", "memcached", "envoy",
    ),
    "feature": (
        "dark mode", "two-factor authentication", "push notifications", "auto renewal", "email alerts",
        "location tracking", "read receipts", "data roaming", "safe search", "cloud backup", "screen lock",
    ),
    "food": ("rice", "salmon", "lentils", "beef", "oats", "tofu", "chicken", "quinoa", "potatoes", "eggs"),
    "animal": ("dogs", "cats", "rabbits", "hamsters", "parrots", "ferrets", "turtles", "horses", "goats"),
    "drug": ("ibuprofen", "paracetamol", "aspirin", "amoxicillin", "loratadine", "omeprazole", "metformin"),
    "file": ("report.csv", "config.yaml", "main.go", "index.html", "notes.md", "data.json", "Makefile"),
    "account": ("savings account", "checking account", "credit card", "mortgage", "pension plan", "brokerage"),
    "metal": ("copper", "iron", "silver", "gold", "aluminium", "lead", "tin", "zinc", "nickel", "titanium"),
}  # fmt: skip
"""Words by the slot they fill; two fillers of one slot are never the same thing."""

NUMBERS: Final[dict[str, tuple[int, int]]] = {
    "n": (2, 60), "amount": (20, 900), "year": (1900, 2024), "percent": (3, 95), "port": (1024, 9999),
}  # fmt: skip

FRAMES: Final[tuple[Frame, ...]] = (
    Frame(
        name="setting",
        phrasings=(
            "How do I {act} {feature}?", "How can I {act} {feature}?", "What is the way to {act} {feature}?",
            "Show me how to {act} {feature}", "I want to {act} {feature}, how?",
            "Please explain how to {act} {feature}", "Steps to {act} {feature}",
        ),
        opposite=(("enable", "turn on", "activate", "switch on"), ("disable", "turn off", "deactivate", "switch off")),
    ),
    Frame(
        name="setting_on_device",
        phrasings=(
            "How do I {act} {feature} on my phone?", "On my phone, how do I {act} {feature}?",
            "I use a phone, how do I {act} {feature} on it?", "What's the way to {act} {feature} on a phone?",
        ),
        opposite=(("enable", "activate"), ("disable", "deactivate")),
    ),
    Frame(
        name="service_process",
        phrasings=(
            "How do I {act} {service} on Linux?", "How to {act} {service} on Linux",
            "What command will {act} {service} on Linux?", "Command to {act} {service} on a Linux machine",
            "On Linux, how would I {act} {service}?",
        ),
        opposite=(("start", "launch"), ("stop", "shut down")),
    ),
    Frame(
        name="service_package",
        phrasings=(
            "How do I {act} {service} with apt?", "How can I {act} {service} using apt?",
            "What's the apt command to {act} {service}?", "{act} {service} via apt, how?",
        ),
        opposite=(("install", "set up"), ("uninstall", "remove")),
    ),
    Frame(
        name="service_port",
        phrasings=(
            "How do I make {service} listen on port {port}?", "Configure {service} to listen on port {port}",
            "How can I have {service} listen on port {port}?", "What setting makes {service} use port {port}?",
            "I need {service} to listen on port {port}",
        ),
        negated=(
            "How do I make {service} not listen on port {port}?", "Configure {service} to never use port {port}",
        ),
    ),
    Frame(
        name="capital",
        phrasings=(
            "What is the capital of {country}?", "What's the capital of {country}?",
            "Which city is the capital of {country}?", "Name the capital of {country}",
            "Tell me the capital city of {country}", "{country} capital?",
        ),
    ),
    Frame(
        name="travel",
        phrasings=(
            "How long is the train from {city} to {city2}?", "How long does the train from {city} to {city2} take?",
            "What is the duration of the train from {city} to {city2}?", "Train time from {city} to {city2}",
            "How much time does the train from {city} to {city2} need?",
        ),
    ),
    Frame(
        name="visit",
        phrasings=(
            "What are the best museums in {city}?", "Which museums in {city} are the best?",
            "Best museums in {city}", "Recommend the best museums in {city}", "Top museums to see in {city}",
        ),
        negated=("What museums in {city} are not worth it?", "Which museums in {city} should I never visit?"),
    ),
    Frame(
        name="born",
        phrasings=(
            "When was {person} born?", "What is the birth date of {person}?", "{person} date of birth",
            "In which year was {person} born?", "Tell me when {person} was born",
        ),
    ),
    Frame(
        name="life",
        phrasings=("Where was {person} {act}?", "In which place was {person} {act}?", "{person} was {act} where?"),
        opposite=(("born",), ("buried",)),
    ),
    Frame(
        name="convert",
        phrasings=(
            "Convert {n} {unit} to metres", "What is {n} {unit} in metres?", "How many metres are {n} {unit}?",
            "{n} {unit} in metres", "Express {n} {unit} in metres",
        ),
        units=(("miles", "mi"), ("feet", "ft"), ("yards", "yd"), ("inches", "in")),
    ),
    Frame(
        name="weight",
        phrasings=(
            "How much protein is in {n} {unit} of {food}?", "Protein content of {n} {unit} of {food}",
            "How much protein do {n} {unit} of {food} have?", "What amount of protein is in {n} {unit} of {food}?",
        ),
        units=(("grams", "g"), ("ounces", "oz"), ("pounds", "lb"), ("kilograms", "kg")),
    ),
    Frame(
        name="safe_pet",
        phrasings=(
            "Can {animal} eat {food}?", "Is {food} okay for {animal}?", "May {animal} eat {food}?",
            "Is it fine for {animal} to eat {food}?", "Are {animal} allowed to have {food}?",
        ),
        negated=("Why can't {animal} eat {food}?", "Is it true that {animal} must not eat {food}?"),
    ),
    Frame(
        name="dose",
        phrasings=(
            "Can I take {amount} mg of {drug}?", "Is it okay to take {amount} mg of {drug}?",
            "May I take {amount} mg of {drug}?", "Is {amount} mg of {drug} alright to take?",
        ),
        negated=("Why should I not take {amount} mg of {drug}?", "Is it okay to take no {drug} instead of {amount} mg?"),
    ),
    Frame(
        name="storage",
        phrasings=(
            "How long can I keep {food} in the fridge?", "How long does {food} last in the fridge?",
            "What's the fridge life of {food}?", "How many days does {food} stay good in the fridge?",
        ),
    ),
    Frame(
        name="money_move",
        phrasings=(
            "How do I {act} {amount} dollars {side} my {account}?", "How can I {act} {amount} dollars {side} my {account}?",
            "What's the way to {act} {amount} dollars {side} my {account}?",
            "I need to {act} {amount} dollars {side} my {account}",
        ),
        opposite=(("deposit|into",), ("withdraw|from",)),
    ),
    Frame(
        name="account_state",
        phrasings=(
            "How do I {act} a {account}?", "What do I need to {act} a {account}?",
            "Steps to {act} a {account}", "How can I {act} a {account} online?", "I would like to {act} a {account}",
        ),
        opposite=(("open", "start"), ("close", "terminate")),
    ),
    Frame(
        name="sort",
        phrasings=(
            "How do I sort a list in {act} order in {language}?", "Sort a list in {act} order in {language}",
            "In {language}, how do I sort a list in {act} order?", "{language}: sort a list in {act} order",
            "How can I sort a list in {act} order using {language}?",
        ),
        opposite=(("ascending", "increasing"), ("descending", "decreasing")),
    ),
    Frame(
        name="string_case",
        phrasings=(
            "How do I convert a string to {act} in {language}?", "Convert a string to {act} in {language}",
            "In {language}, how can I make a string {act}?", "Make a string {act} using {language}",
        ),
        opposite=(("uppercase",), ("lowercase",)),
    ),
    Frame(
        name="first_lines",
        phrasings=(
            "Print the {act} {n} lines of {file}", "How do I print the {act} {n} lines of {file}?",
            "Show the {act} {n} lines of {file}", "How can I see the {act} {n} lines of {file}?",
        ),
        opposite=(("first",), ("last",)),
    ),
    Frame(
        name="git",
        phrasings=(
            "How do I {act} {file} in git?", "How can I {act} {file} in git?", "Git command to {act} {file}",
            "What's the git command to {act} {file}?",
        ),
        opposite=(("stage",), ("unstage",)),
    ),
    Frame(
        name="stock",
        phrasings=(
            "Should I {act} {company} shares now?", "Is it a good time to {act} {company} shares?",
            "Is now the time to {act} {company} shares?", "Would you {act} {company} shares now?",
        ),
        opposite=(("buy", "purchase"), ("sell",)),
        negated=("Why should I not {act} {company} shares now?", "Is it a bad idea to never {act} {company} shares?"),
    ),
    Frame(
        name="revenue",
        phrasings=(
            "What was the revenue of {company} in {year}?", "How much revenue did {company} have in {year}?",
            "{company} revenue in {year}", "Tell me {company}'s revenue in {year}",
        ),
    ),
    Frame(
        name="discount",
        phrasings=(
            "How do I apply a {percent}% discount to an order?", "How can I give an order a {percent}% discount?",
            "Apply a {percent}% discount to an order", "What's the way to put a {percent}% discount on an order?",
        ),
        negated=("How do I not apply a {percent}% discount to an order?",),
    ),
    Frame(
        name="subscription",
        phrasings=(
            "How do I {act} my {company} subscription?", "How can I {act} my {company} subscription?",
            "I want to {act} my {company} subscription", "Where do I {act} my {company} subscription?",
            "Please help me {act} my {company} subscription",
        ),
        opposite=(("cancel", "end"), ("renew", "extend")),
    ),
    Frame(
        name="melting",
        phrasings=(
            "What is the {act} point of {metal}?", "At what temperature is the {act} point of {metal}?",
            "{metal} {act} point", "Tell me the {act} point of {metal}",
        ),
        opposite=(("melting",), ("boiling",)),
    ),
    Frame(
        name="timer",
        phrasings=(
            "Set a timer for {n} {unit}", "Start a timer of {n} {unit}", "Please set a {n} {unit} timer",
            "I need a timer for {n} {unit}",
        ),
        units=(("minutes", "min"), ("seconds", "sec"), ("hours", "h")),
    ),
    Frame(
        name="weather",
        phrasings=(
            "What will the weather be in {city} {act}?", "How will the weather be in {city} {act}?",
            "Weather in {city} {act}", "Weather forecast for {city} {act}", "{act}'s weather in {city}?",
        ),
        opposite=(("tomorrow",), ("today",)),
    ),
)  # fmt: skip
