"""Requests on many topics, made from templates: what simulated traffic says.

A topic is a set of phrasings with slots. Two texts of a topic share its sense
and few of their words; the same seed gives the same texts. `USUAL` is what the
traffic is about; each of `NEW` may turn up one day.
"""

from __future__ import annotations

import random
import re
from typing import Final

_SLOT: Final = re.compile(r"\{(\w+)\}")

WORDS: Final[dict[str, tuple[str, ...]]] = {
    "open": (
        "",
        "",
        "",
        "Hi, ",
        "Hello, ",
        "Quick question: ",
        "Hey there, ",
        "Please help: ",
        "Good morning. ",
    ),
    "close": (
        "",
        "",
        "",
        " Thanks!",
        " Any idea?",
        " It is urgent.",
        " I already tried twice.",
        " Thank you.",
    ),
    "item": (
        "jacket",
        "pair of boots",
        "desk lamp",
        "coffee grinder",
        "backpack",
        "phone case",
        "blender",
        "bookshelf",
        "headset",
        "tent",
        "winter coat",
        "keyboard",
        "garden hose",
        "frying pan",
    ),
    "when": (
        "last Monday",
        "two days ago",
        "in March",
        "yesterday",
        "a week ago",
        "on the 4th",
        "this morning",
        "before the holidays",
        "three weeks ago",
    ),
    "city": (
        "Lisbon",
        "Hamburg",
        "Toronto",
        "Osaka",
        "Nairobi",
        "Denver",
        "Lyon",
        "Kraków",
        "Seville",
        "Leeds",
    ),
    "lang": ("Python", "Go", "TypeScript", "Rust", "Java", "C#", "Kotlin", "Ruby"),
    "thing": (
        "list of orders",
        "JSON document",
        "CSV file",
        "log line",
        "date string",
        "binary tree",
        "matrix",
        "queue of jobs",
        "dictionary of users",
        "sorted array",
    ),
    "plan": ("basic plan", "team plan", "annual subscription", "trial", "premium tier", "student discount"),
    "amount": ("12", "19.90", "49", "120", "8.50", "230", "75"),
    "device": ("laptop", "phone", "tablet", "work computer", "old iPad", "Android phone", "desktop"),
    "dish": (
        "lentil soup",
        "lasagne",
        "chicken curry",
        "risotto",
        "pancakes",
        "ratatouille",
        "ramen",
        "paella",
    ),
    "food": ("eggs", "cream", "garlic", "flour", "tofu", "butter", "peppers", "rice"),
    "doc": ("contract", "quarterly report", "meeting transcript", "research paper", "press release", "lease"),
    "who": ("my manager", "a client", "our landlord", "the whole team", "a supplier", "my professor"),
    "subject": (
        "a missed deadline",
        "a price increase",
        "next week's workshop",
        "a delayed delivery",
        "my sick leave",
        "the new office",
        "a job application",
    ),
    "sport": ("running", "cycling", "swimming", "rowing", "climbing", "yoga"),
    "pain": ("knee", "lower back", "shoulder", "ankle", "wrist", "neck"),
    "animal": ("dog", "cat", "rabbit", "parrot", "puppy", "kitten", "horse"),
    "math": (
        "a quadratic equation",
        "the integral of x squared",
        "a system of two equations",
        "compound interest",
        "the area of a trapezoid",
        "a geometric series",
        "a standard deviation",
    ),
    "plant": ("basil", "monstera", "tomato seedlings", "orchid", "lavender", "lemon tree", "roses"),
    "card": ("credit card", "debit card", "gift card", "company card"),
    "metal": ("lithium", "copper", "nickel", "cobalt"),
}

USUAL: Final[dict[str, tuple[str, ...]]] = {
    "delivery": (
        "Where is the {item} that I ordered {when}?",
        "My {item} has not arrived yet, it was sent {when}.",
        "The tracking page has shown no movement for my {item} since {when}.",
        "Can you tell me when my parcel with the {item} gets to {city}?",
        "I was promised the {item} by {when}, what happened to the shipment?",
    ),
    "returns": (
        "How do I send back the {item} I bought {when}?",
        "The {item} is too small, I want to return it.",
        "Can I exchange my {item} for another colour?",
        "What is the return window for a {item}?",
        "The {item} arrived broken, I need a replacement or my money back.",
    ),
    "billing": (
        "Why was I charged {amount} dollars {when}?",
        "There are two charges of {amount} on my {card}.",
        "Please send me the invoice for the {plan}.",
        "My {card} was declined when I paid for the {plan}.",
        "I need a receipt with our VAT number for {amount} euros.",
    ),
    "account": (
        "I cannot log in on my {device}.",
        "The password reset mail never comes.",
        "How do I change the email address of my account?",
        "My account got locked {when}.",
        "Two-factor codes do not work on my new {device}.",
    ),
    "plans": (
        "What is the difference between the {plan} and the {plan}?",
        "How can I cancel my {plan}?",
        "Can I upgrade from the {plan} in the middle of the month?",
        "Does the {plan} include support by phone?",
        "How many people can use one {plan}?",
    ),
    "code": (
        "Write a function in {lang} that parses a {thing}.",
        "Why does my {lang} program crash on a {thing}?",
        "How do I sort a {thing} in {lang}?",
        "Refactor this {lang} code that reads a {thing}.",
        "Give me unit tests in {lang} for a function that filters a {thing}.",
        "Convert this loop over a {thing} from {lang} to {lang}.",
    ),
    "writing": (
        "Write an email to {who} about {subject}.",
        "Make this message to {who} sound friendlier.",
        "Draft a short note to {who} concerning {subject}.",
        "How do I politely tell {who} about {subject}?",
        "Shorten my letter to {who}, it is about {subject}.",
    ),
    "summary": (
        "Summarise this {doc} in five bullet points.",
        "What are the main obligations in the attached {doc}?",
        "Give me the key numbers of the {doc}.",
        "Which risks does the {doc} mention?",
        "Turn this {doc} into one paragraph for {who}.",
    ),
    "cooking": (
        "How long do I cook {dish}?",
        "What can I use instead of {food} in {dish}?",
        "Give me a recipe for {dish} without {food}.",
        "Which wine goes with {dish}?",
        "My {dish} turned out too salty, how can I save it?",
    ),
    "travel": (
        "What should I see in {city} in two days?",
        "Is it safe to walk around {city} at night?",
        "Plan a weekend in {city} with children.",
        "What is the cheapest way from {city} to {city}?",
        "Do I need a visa for {city}?",
    ),
    "maths": (
        "Explain how to solve {math}.",
        "Check my solution of {math}.",
        "Show me {math} step by step.",
        "Why do I get a negative number when I compute {math}?",
        "Give me three exercises about {math}.",
    ),
    "plants": (
        "Why are the leaves of my {plant} turning yellow?",
        "How often should I water {plant}?",
        "When do I repot {plant}?",
        "There are little flies around my {plant}.",
        "Can {plant} survive the winter outside?",
    ),
}

NEW: Final[dict[str, tuple[str, ...]]] = {
    "health": (
        "My {pain} hurts after {sport}, what can it be?",
        "Which exercises help against {pain} pain?",
        "Should I see a doctor for a swollen {pain}?",
        "How long should I pause {sport} with a sore {pain}?",
        "Is it normal that the {pain} cracks while {sport}?",
    ),
    "pets": (
        "My {animal} does not eat since {when}.",
        "How often must a {animal} be vaccinated?",
        "Can a {animal} have {food}?",
        "The {animal} scratches itself all day, does it have fleas?",
        "What does it cost to neuter a {animal}?",
    ),
    "law": (
        "Can {who} sue me because of {subject}?",
        "How do I contest a parking fine from {city}?",
        "What are my rights if {who} breaks a contract?",
        "Do I need a lawyer for a divorce in {city}?",
        "Is a verbal agreement with {who} binding before a court?",
    ),
    "markets": (
        "Will the price of {metal} rise this year?",
        "Should I buy shares of a {metal} mine?",
        "What moved the {metal} futures {when}?",
        "How do interest rates affect {metal} stocks?",
        "Explain a covered call on a {metal} fund.",
    ),
}


def text(topic: str, roll: random.Random) -> str:
    """One request on a topic of either table."""
    phrasing = roll.choice(USUAL.get(topic) or NEW[topic])
    body = _SLOT.sub(lambda found: roll.choice(WORDS[found[1]]), phrasing)
    return roll.choice(WORDS["open"]) + body + roll.choice(WORDS["close"])
